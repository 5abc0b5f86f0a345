from __future__ import annotations

from torch.nn import functional as F

from gantrick.layers.relativistic import PAPER, against_means
from gantrick.stages import Component
from gantrick.types import Judged, Scored, Targets


class Ragan(Component):
    """D: ½ [E sp(−(r − f̄)) + E sp(f − r̄)]; G: ½ [E sp(r − f̄) + E sp(−(f − r̄))]: RaSGAN, the relativistic average.

    sp is the softplus; r̄ and f̄ are the means of each score over the batch, and gradients flow through them. Scores
    (B, K) are defined up to a constant. G's turn scores reals of its own. Source: Jolicoeur-Martineau, arXiv
    1807.00734.
    """

    paper = PAPER
    needs = frozenset({"real_in_g"})
    boundary = None  # scores have no zero

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        r, f = against_means(real, fake)
        return Scored({"real": 0.5 * F.softplus(-r), "fake": 0.5 * F.softplus(f)})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert real is not None
        r, f = against_means(real, fake)
        return Scored({"real": 0.5 * F.softplus(r), "fake": 0.5 * F.softplus(-f)})
