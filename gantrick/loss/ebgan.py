from __future__ import annotations

from torch.nn import functional as F

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Judged, Positive, Scored, Targets


class Ebgan(Component):
    """D: E e(x) + E max(0, m − e(G)); G: E e(G), with e = −s ≥ 0 the error of D's autoencoder; the maximum per sample.

    m is `margin`. It belongs to the data and to how the error is taken: with model.autoencoder's mean over all entries
    1 is a start, with sums the paper has 10 to 80. pulling_away with weight 0.1 makes it EBGAN-PT.
    Source: Zhao et al., arXiv 1609.03126.
    """

    paper = papers.EBGAN
    needs = frozenset({"d.energy"})
    provides = frozenset({"comparable_scores"})
    boundary = None  # an energy has no zero between real and fake

    def __init__(self, margin: Positive = 1.0):
        super().__init__()
        self.margin = margin

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return Scored({"real": -real.scores, "fake": F.relu(self.margin + fake.scores)})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -fake.scores})
