from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gantrick.layers.relativistic import differences
from gantrick.stages import Component
from gantrick.types import Judged, Paper, Positive, Scored, Targets

EPSILON = 1e-8  # the official code has none, and divides by 0 where a fake is its real


class GanQp(Component):
    """D: E[−Δ + Δ² / (2 λ d)]; G: E Δ, with Δ = D(x) − D(G(z)) of pairs: D's optimum is Δ* = λ d, with no other bound.

    d is the distance of a pair's images as D saw them: L1 is mean |x − G|, L2 is √mean (x − G)², over all the pixels of
    each pair. It is a constant. Scores (B, K). G's turn scores reals of its own. Batches of unlike size are paired as
    far as both go. Source: Su, arXiv 1811.07296; λ = 10 and both distances from the official code.
    """

    paper = Paper(
        "su2018ganqp",
        "GAN-QP: A Novel GAN Framework without Gradient Vanishing and Lipschitz Constraint",
        "Su, Jianlin",
        2018,
        "1811.07296",
    )
    needs = frozenset({"real_in_g"})
    provides = frozenset({"paired_loss"})
    boundary = None  # scores have no zero

    def __init__(self, scale: Positive = 10.0, distance: Literal["l1", "l2"] = "l1"):
        super().__init__()
        self.scale, self.distance = scale, distance

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        lead = differences(real, fake)
        apart = self._apart(real.seen, fake.seen)[:, None]
        return Scored({"pairs": lead.square() / (2 * self.scale * apart) - lead})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert real is not None
        return Scored({"pairs": differences(real, fake)})

    @torch.no_grad()
    def _apart(self, real: Tensor, fake: Tensor) -> Tensor:
        size = min(len(real), len(fake))
        gap = (real[:size] - fake[:size]).flatten(1)
        return (gap.abs().mean(1) if self.distance == "l1" else gap.square().mean(1).sqrt()) + EPSILON
