from __future__ import annotations

from typing import Literal

from torch import Tensor

from gantrick import papers, parallel
from gantrick.stages import Component
from gantrick.types import ConfigError, Count, Judged, NonNegative, PenaltyInputs, Scored, Targets


class FeatureMatching(Component):
    """G: w · mean_j |E f(x)_j − E f(G(z))_j|, or w · ‖E f(x) − E f(G(z))‖²: fakes with the mean features of reals.

    f (B, F) are D's features before its head, the means are over the whole batch. The reals are G's own, not those that
    D just saw. alone=true puts it in the place of the loss's term of G; else it is added to that. Raises ConfigError
    where G would then have nothing to learn. Source: Salimans et al., arXiv 1606.03498, section 3.1; l1 as the official
    code has it for CIFAR-10, squared as the paper's formula.
    """

    paper = papers.IMPROVED
    needs = frozenset({"real_in_g"})
    neutral = {"weight": 0.0}

    def __init__(
        self,
        weight: NonNegative = 1.0,
        distance: Literal["l1", "squared"] = "l1",
        alone: bool = False,
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.distance, self.interval = weight, distance, interval
        if weight == 0:
            self.needs = frozenset()
        if alone and (weight == 0 or interval > 1):
            setting = "weight: 0" if weight == 0 else f"interval: {interval}"
            raise ConfigError(f"{setting} leaves G nothing to learn where alone has replaced its loss; set alone=false")
        self.replaces = frozenset({"g_loss"}) if alone else frozenset()
        self.silent = frozenset() if alone else frozenset({"g_loss"})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({})  # the penalty is all

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        real, fake = inputs.real.output.features, inputs.fake.output.features
        gap = parallel.mean(real.mean(0) - fake.mean(0))
        return gap.abs().mean() if self.distance == "l1" else gap.square().sum()
