from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Fraction, Targets


class LabelSmoothing(Component):
    """t ← fake + (real − fake) t: D aims at `real` (0.9) for reals and `fake` (0) for fakes; G's targets stay.

    One-sided as published: only the target of reals moves, so that D's optimum is real·p/(p + q). Needs a loss that has
    targets. Source: Salimans et al., arXiv 1606.03498, section 3.4.
    """

    paper = papers.IMPROVED
    needs = frozenset({"targets"})
    neutral = {"real": 1.0, "fake": 0.0}

    def __init__(self, real: Fraction = 0.9, fake: Fraction = 0.0):
        super().__init__()
        self.real, self.fake = real, fake

    def targets(self, targets: Targets) -> Targets:
        return replace(targets, real=self._smooth(targets.real), fake=self._smooth(targets.fake))

    def _smooth(self, target: Tensor | None) -> Tensor | None:
        return None if target is None else self.fake + (self.real - self.fake) * target
