from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from gantrick.input_gradient import COUPLING_FORBIDDEN, between, gradient_norm
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, Paper, PenaltyInputs


class Gp(Component):
    """λ E(‖∇_x̂ D(x̂)‖₂ − target)², x̂ = x + α (G(z) − x), α ~ U[0, 1] per sample: the gradient penalty.

    sides=one keeps only gradients above the target: relu(‖·‖ − target)². x and G(z) are the images as D saw them,
    (B, C, H, W) or (B, D); D is the weighted sum over its scores. Source: Gulrajani et al., arXiv 1704.00028.
    """

    paper = Paper(
        "gulrajani2017improved",
        "Improved Training of Wasserstein GANs",
        "Gulrajani, Ishaan and Ahmed, Faruk and Arjovsky, Martin and Dumoulin, Vincent and Courville, Aaron",
        2017,
        "1704.00028",
        "Advances in Neural Information Processing Systems",
    )
    needs = frozenset({"second_order"})
    provides = frozenset({"d.lipschitz"})
    forbids = COUPLING_FORBIDDEN
    neutral = {"weight": 0.0}

    def __init__(
        self,
        weight: NonNegative = 10.0,
        target: NonNegative = 1.0,
        sides: Literal["two", "one"] = "two",
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.target, self.sides, self.interval = weight, target, sides, interval

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        points, labels = between(inputs)
        norm = gradient_norm(lambda x: inputs.score(x, labels), points)
        excess = norm - self.target
        return (F.relu(excess) if self.sides == "one" else excess).square().mean()
