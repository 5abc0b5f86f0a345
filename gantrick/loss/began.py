from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrick import papers, parallel
from gantrick.stages import Component
from gantrick.types import Fraction, Judged, NonNegative, Record, Scored, Targets


class Began(Component):
    """D: L(x) − k L(G); G: L(G); k ← clip(k + λ_k (γ L(x) − L(G)), 0, 1): the boundary equilibrium, L = −s an error.

    L is the error of D's autoencoder, k starts at 0 and moves after each turn of G, with the errors of D's last reals
    and of G's fakes. γ is `diversity` (0.3 to 0.7 in the paper), λ_k is `k_rate`. The rows have `k` and the measure of
    convergence M = L(x) + |γ L(x) − L(G)|. Source: Berthelot et al., arXiv 1703.10717.
    """

    paper = papers.BEGAN
    needs = frozenset({"d.energy"})
    boundary = None  # an energy has no zero between real and fake
    k: Tensor
    of_reals: Tensor

    def __init__(self, diversity: Fraction = 0.5, k_rate: NonNegative = 1e-3):
        super().__init__()
        self.diversity, self.k_rate = diversity, k_rate
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("of_reals", torch.zeros(()))  # L(x) of D's last turn

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        error, of_fakes = -real.scores.detach().mean(0), -fake.scores.detach().mean(0)
        measure = error + (self.diversity * error - of_fakes).abs()
        noted = {"convergence": measure, "k": self.k.expand_as(measure).clone()}
        return Scored({"real": -real.scores, "fake": self.k * fake.scores}, diagnostics=noted)

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -fake.scores})

    @torch.no_grad()
    def adapt(self, records: Sequence[Record]) -> None:
        if records[0].player == "discriminator":
            reals = [record.real.scores.mean() for record in records if record.real is not None]
            self.of_reals.copy_(-parallel.mean(torch.stack(reals).mean()))
            return
        error = -parallel.mean(torch.stack([record.fake.scores.mean() for record in records]).mean())
        self.k.add_(self.k_rate * (self.diversity * self.of_reals - error)).clamp_(0, 1)
