from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from gantrick import parallel
from gantrick.input_gradient import BATCH_STATISTICS_FORBIDDEN, gradient_norm
from gantrick.stages import Component, Forbidden
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
    forbids = {
        **BATCH_STATISTICS_FORBIDDEN,
        "d.batch_coupled": Forbidden(
            "the penalty is on each sample's own gradient, and D scores the samples of a batch together",
            "leave one of them out, or use regularizer=[weight_clip] or trick=[spectral_norm] as the bound",
        ),
    }
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
        assert inputs.real is not None
        size = min(len(inputs.real.seen), len(inputs.fake.seen))
        real, fake = inputs.real.seen[:size].detach(), inputs.fake.seen[:size].detach()
        labels = None if inputs.real.batch.labels is None else inputs.real.batch.labels[:size]
        alpha = parallel.rand(size, *[1] * (real.ndim - 1), device=real.device)
        norm = gradient_norm(lambda x: inputs.score(x, labels), real + alpha * (fake - real))
        excess = norm - self.target
        return (F.relu(excess) if self.sides == "one" else excess).square().mean()
