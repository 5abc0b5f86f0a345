from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from gantrick.layers.relativistic import PAPER, differences
from gantrick.stages import Component
from gantrick.types import Judged, Scored, Targets


class Rpgan(Component):
    """D: E φ(r − f); G: E φ(f − r): each real against the fake in its place.

    form  softplus       φ(d) = sp(−d): RSGAN, and the loss of R3GAN
          hinge          φ(d) = relu(1 − d)
          least_squares  φ(d) = (d − 1)²

    Scores (B, K) are defined up to a constant. G's turn scores reals of its own, as the official code does. Batches of
    unlike size are paired as far as both go. Source: Jolicoeur-Martineau, arXiv 1807.00734; Huang et al., 2501.05441.
    """

    paper = PAPER
    needs = frozenset({"real_in_g"})
    provides = frozenset({"paired_loss"})
    boundary = None  # scores have no zero

    def __init__(self, form: Literal["softplus", "hinge", "least_squares"] = "softplus"):
        super().__init__()
        self.form = form

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return Scored({"pairs": self._cost(differences(real, fake))})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert real is not None
        return Scored({"pairs": self._cost(-differences(real, fake))})

    def _cost(self, lead: Tensor) -> Tensor:
        if self.form == "softplus":
            return F.softplus(-lead)
        return F.relu(1 - lead) if self.form == "hinge" else (lead - 1).square()
