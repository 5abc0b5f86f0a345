from __future__ import annotations

from gantrick import papers
from gantrick.layers.cross_entropy import cross_entropy, judge_by_labels
from gantrick.stages import Component
from gantrick.types import Judged, Scored, Targets


class NonSaturating(Component):
    """D: E sp(−r) + E sp(f); G: E sp(−f), whose gradient does not vanish where D is sure of the fakes.

    With sp the softplus and target probabilities t every term is the cross entropy t·sp(−s) + (1 − t)·sp(s) of the
    logits s (B, K).
    Source: Goodfellow et al., arXiv 1406.2661, section 3.
    """

    paper = papers.GAN
    provides = frozenset({"targets", "comparable_scores", "probability_scores"})
    boundary = 0.0

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return judge_by_labels(real, fake, targets)

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert targets.generator is not None
        return Scored({"fake": cross_entropy(fake.scores, targets.generator)})
