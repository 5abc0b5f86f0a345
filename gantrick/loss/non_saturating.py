from __future__ import annotations

from torch.nn import functional as F

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Judged, Scored, Targets


class NonSaturating(Component):
    """D: E sp(−r) + E sp(f); G: E sp(−f), whose gradient does not vanish where D is sure of the fakes.

    With target probabilities t every term is sp(s) − t·s per score, the cross entropy of the logits s (B, K).
    Source: Goodfellow et al., arXiv 1406.2661, section 3.
    """

    paper = papers.GAN
    provides = frozenset({"targets", "comparable_scores", "probability_scores"})
    boundary = 0.0

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        assert targets.real is not None and targets.fake is not None
        return Scored(
            {
                "real": F.softplus(real.scores) - targets.real[:, None] * real.scores,
                "fake": F.softplus(fake.scores) - targets.fake[:, None] * fake.scores,
            }
        )

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert targets.generator is not None
        return Scored({"fake": F.softplus(fake.scores) - targets.generator[:, None] * fake.scores})
