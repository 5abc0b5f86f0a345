from __future__ import annotations

from torch.nn import functional as F

from gantrick import papers
from gantrick.layers.cross_entropy import judge_by_labels
from gantrick.stages import Component
from gantrick.types import Judged, Scored, Targets


class Minimax(Component):
    """D: E sp(−r) + E sp(f); G: −E sp(f), the saturating game.

    With sp the softplus and target probabilities t the terms of D are the cross entropy t·sp(−s) + (1 − t)·sp(s) of
    each score. Scores are logits (B, K). Source: Goodfellow et al., arXiv 1406.2661, equation 1.
    """

    paper = papers.GAN
    provides = frozenset({"targets", "comparable_scores", "probability_scores"})
    boundary = 0.0

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return judge_by_labels(real, fake, targets)

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -F.softplus(fake.scores)})
