from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from gantrick.input_gradient import COUPLING_FORBIDDEN, between, squared_gradient_norm
from gantrick.stages import Component
from gantrick.types import Bound, Count, NonNegative, Paper, PenaltyInputs


class WganDiv(Component):
    """k E‖∇_x̂ D(x̂)‖₂^p, x̂ = x + α (G(z) − x), α ~ U[0, 1] per sample: the term of the Wasserstein divergence.

    k is `weight`, p is `power`, at least 2: below it the slope at a gradient of 0 has no end. x and G(z) are the images
    as D saw them, (B, C, H, W) or (B, D); D is the weighted sum over its scores. at=ends has them in the place of x̂:
    (k/2) (E‖∇_x D(x)‖₂^p + E‖∇D(G(z))‖₂^p). It takes the place of a Lipschitz constraint.
    Source: Wu et al., arXiv 1712.01026; that k = 2 and p = 6 came out best there, and six places of x̂, these two among
    them, about alike, is told by kexue.fm/archives/6139.
    """

    paper = Paper(
        "wu2018wasserstein",
        "Wasserstein Divergence for GANs",
        "Wu, Jiqing and Huang, Zhiwu and Thoma, Janine and Acharya, Dinesh and Van Gool, Luc",
        2018,
        "1712.01026",
        "European Conference on Computer Vision",
    )
    needs = frozenset({"second_order"})
    provides = frozenset({"d.flat"})
    forbids = COUPLING_FORBIDDEN
    neutral = {"weight": 0.0}
    exercise = {"power": 2.0}

    def __init__(
        self,
        weight: NonNegative = 2.0,
        power: Annotated[float, Bound(ge=2)] = 6.0,
        at: Literal["lines", "ends"] = "lines",
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.power, self.at, self.interval = weight, power, at, interval

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        if self.at == "lines":
            return self._mean_power(inputs, *between(inputs))
        assert inputs.real is not None
        ends = [self._mean_power(inputs, one.seen, one.batch.labels) for one in (inputs.real, inputs.fake)]
        return 0.5 * (ends[0] + ends[1])

    def _mean_power(self, inputs: PenaltyInputs, points: Tensor, labels: Tensor | None) -> Tensor:
        return squared_gradient_norm(lambda x: inputs.score(x, labels), points).pow(self.power / 2).mean()
