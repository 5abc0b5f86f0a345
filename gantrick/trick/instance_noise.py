from __future__ import annotations

import torch
from torch import Tensor

from gantrick import parallel
from gantrick.stages import Component
from gantrick.types import NonNegative, Paper, Whole


class InstanceNoise(Component):
    """x ← x + σ_t ε, ε ~ N(0, 1), for everything D sees, in both turns; σ_t = σ · max(0, 1 − t / anneal).

    x is in [-1, 1], (B, C, H, W) or (B, D). anneal=0 keeps σ. Source: Sønderby et al., arXiv 1610.04490 (section on
    instance noise); Arjovsky and Bottou, 1701.04862. σ = 0.1 is the usual start, the papers leave it open.
    """

    paper = Paper(
        "sonderby2017amortised",
        "Amortised MAP Inference for Image Super-resolution",
        "S{\\o}nderby, Casper Kaae and Caballero, Jose and Theis, Lucas and Shi, Wenzhe and Husz{\\'a}r, Ferenc",
        2017,
        "1610.04490",
        "International Conference on Learning Representations",
    )
    neutral = {"sigma": 0.0}
    level: Tensor

    def __init__(self, sigma: NonNegative = 0.1, anneal: Whole = 20_000):
        super().__init__()
        self.sigma, self.anneal = sigma, anneal
        self.register_buffer("level", torch.tensor(float(sigma)))

    def schedule(self, step: int) -> None:
        self.level.fill_(self.sigma * max(0.0, 1 - step / self.anneal) if self.anneal else self.sigma)

    def disturb(self, images: Tensor) -> Tensor:
        return images + self.level * parallel.randn_like(images)
