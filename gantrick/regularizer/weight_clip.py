from __future__ import annotations

import torch
from torch import nn

from gantrick import papers
from gantrick.stages import Component, Forbidden
from gantrick.types import Player, Positive


class WeightClip(Component):
    """θ_D ← clamp(θ_D, −c, c) after every move of D, over all its parameters: WGAN's first bound on D.

    Source: Arjovsky et al., arXiv 1701.07875, algorithm 1 (c = 0.01).
    """

    paper = papers.WGAN
    provides = frozenset({"d.lipschitz"})
    forbids = {
        "d.spectral_norm": Forbidden(
            "spectral normalisation divides the scale of a weight out again, so clipping it bounds nothing",
            "leave one of the two out, or set trick.spectral_norm.network=generator",
        ),
        "d.weight_norm": Forbidden(
            "weight normalisation divides the length of a row out again, so clipping it bounds nothing",
            "leave one of the two out",
        ),
    }
    neutral = {"bound": 1e9}

    def __init__(self, bound: Positive = 0.01):
        super().__init__()
        self.bound = bound

    def project(self, player: Player, network: nn.Module) -> None:
        if player == "discriminator":
            parameters = [p.detach() for p in network.parameters() if p.requires_grad]
            torch._foreach_clamp_min_(parameters, -self.bound)
            torch._foreach_clamp_max_(parameters, self.bound)
