"""random_inception: the Inception network with seeded random weights, for tests of the code around it.

Its distances are no FID and compare with nothing in the literature.
"""

from __future__ import annotations

import torch
from torch import nn

from gantrick.metric.features.inception import Inception

SEED = 0


class RandomInception(Inception):
    """`Inception`'s shapes, uint8 (B, C, H, W) -> (B, 2048), but weights that were never trained."""

    name = "random_inception"

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(SEED)
        for module in self.net.modules():
            # He's initialisation keeps the activations' scale through the layers; torch's would fade them out
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
                nn.init.zeros_(module.bias)


def build(weights: str | None) -> RandomInception:
    """The extractor; it takes no weights."""
    if weights:
        raise ValueError(f"random_inception takes no weights, but got {weights}; use inception for a weights file")
    return RandomInception()
