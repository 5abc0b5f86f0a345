"""Noise between layers."""

from __future__ import annotations

from torch import Tensor, nn

from gantrick import parallel


class Noise(nn.Module):
    """h ← h + σ ε, ε ~ N(0, 1) per element, in training; the identity in evaluation. Labels are not looked at."""

    def __init__(self, sigma: float):
        super().__init__()
        self.sigma = sigma

    def forward(self, h: Tensor, labels: Tensor | None = None) -> Tensor:
        return h + self.sigma * parallel.randn_like(h) if self.training else h
