from __future__ import annotations

from torch import Tensor

from gantrick import papers
from gantrick.input_gradient import COMPARING_FORBIDDEN, squared_gradient_norm
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, PenaltyInputs


class R1(Component):
    """(γ/2) E‖∇_x D(x)‖₂² on reals: D flat where the data are.

    γ is `weight`. x is the raw image (B, C, H, W) or (B, D): the gradient passes through the augmentation. Lazy with
    interval > 1 (every so many steps, times the interval). Source: Mescheder et al., arXiv 1801.04406; their code has
    10·‖∇‖² without the half, which is γ = 20.
    """

    paper = papers.CONVERGENCE
    needs = frozenset({"second_order"})
    provides = frozenset({"d.flat"})
    forbids = COMPARING_FORBIDDEN
    neutral = {"weight": 0.0}

    def __init__(self, weight: NonNegative = 10.0, interval: Count = 1):
        super().__init__()
        self.weight, self.interval = weight, interval

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        batch = inputs.real.batch
        norms = squared_gradient_norm(lambda x: inputs.score(x, batch.labels, raw=True), batch.images)
        return 0.5 * norms.sum() / len(inputs.real.scores)  # of a pack it is over all its images
