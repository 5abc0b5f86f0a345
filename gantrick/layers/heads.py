"""The end of a discriminator: the tail, map `(B, C, h, w)` -> features `(B, F)`, and the head -> scores `(B, 1)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from gantrick import parallel

Pool = Literal["flatten", "sum", "mean"]


class GlobalPool(nn.Module):
    """The sum or the mean over all positions, at least in float32: `(B, C, h, w)` -> `(B, C)`."""

    def __init__(self, mean: bool):
        super().__init__()
        self.mean = mean

    def forward(self, h: Tensor) -> Tensor:
        dtype = torch.promote_types(h.dtype, torch.float32)
        return h.mean((2, 3), dtype=dtype) if self.mean else h.sum((2, 3), dtype=dtype)


def tail(pool: Pool) -> Callable[[], nn.Module]:
    return nn.Flatten if pool == "flatten" else lambda: GlobalPool(pool == "mean")


def linear_head(features: int) -> nn.Module:
    """s = w·f + b: one score."""
    return nn.Linear(features, 1)


@torch.no_grad()
def count_features(tail: nn.Module, channels: int, *size: int) -> int:
    """F of a tail for a map (channels, h, w); asked of the tail itself, since a component may have put in its own."""
    with parallel.alone():  # it may compare samples
        features: Tensor = tail(torch.zeros(2, channels, *size))
    return features.shape[1]
