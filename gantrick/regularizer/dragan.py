from __future__ import annotations

from typing import Literal

from torch import Tensor

from gantrick import parallel
from gantrick.input_gradient import COUPLING_FORBIDDEN, gradient_norm
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, Paper, PenaltyInputs, Positive


class Dragan(Component):
    """λ E(‖∇_x̂ D(x̂)‖₂ − k)², x̂ = x + α · spread · std(x) · u, α ~ U[0, 1] per sample, u ~ U[0, 1) per pixel.

    λ is `weight`, k is `target`. x are the reals as D saw them, (B, C, H, W) or (B, D), and std(x) is one number, that
    of all entries of the batch; D is the weighted sum over its scores. variant=centred has u − ½, so that x̂ lies
    around x and not above it. Source: Kodali et al., arXiv 1705.07215; constants and the one-sided noise from the
    official notebook.
    """

    paper = Paper(
        "kodali2017convergence",
        "On Convergence and Stability of GANs",
        "Kodali, Naveen and Abernethy, Jacob and Hays, James and Kira, Zsolt",
        2017,
        "1705.07215",
    )
    needs = frozenset({"second_order"})
    provides = frozenset({"d.lipschitz"})
    forbids = COUPLING_FORBIDDEN
    neutral = {"weight": 0.0}

    def __init__(
        self,
        weight: NonNegative = 10.0,
        target: NonNegative = 1.0,
        spread: Positive = 0.5,
        variant: Literal["official", "centred"] = "official",
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.target, self.spread, self.interval = weight, target, spread, interval
        self.shift = 0.5 if variant == "centred" else 0.0

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        real, labels = inputs.real.seen.detach(), inputs.real.batch.labels
        centred = real - parallel.mean(real.mean())
        std = parallel.mean(centred.square().mean()).sqrt()
        alpha = parallel.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
        points = real + alpha * self.spread * std * (parallel.rand_like(real) - self.shift)
        return (gradient_norm(lambda x: inputs.score(x, labels), points) - self.target).square().mean()
