"""The end of a discriminator: the tail, map `(B, C, h, w)` -> features `(B, F)`, and the head -> scores `(B, K)`.

A head is made of directions, w and b of a score ⟨v, w⟩ + b each; a direction may depend on the label. So a condition on
labels and a head of several scores combine without knowing each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from gantrick import parallel

Pool = Literal["flatten", "sum", "mean"]


def full(x: Tensor) -> Tensor:
    """x at least in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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


class Direction(nn.Linear):
    """s = ⟨v, w⟩ + b: features (B, F) -> (B, 1), the same w for all labels."""

    def __init__(self, features: int, bias: bool = True):
        super().__init__(features, 1, bias)

    def vector(self, labels: Tensor | None) -> Tensor:
        """w, (F,), or of each sample's own label, (B, F); at least in float32."""
        return full(self.weight[0])

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(features)


class ProjectedDirection(Direction):
    """s = ⟨v, w + e_y⟩ + b, e an embedding of the labels: the projection   (Miyato and Koyama, arXiv 1802.05637)."""

    def __init__(self, features: int, classes: int, bias: bool = True):
        super().__init__(features, bias)
        self.embedding = nn.Embedding(classes, features)
        nn.init.xavier_uniform_(self.embedding.weight)

    def vector(self, labels: Tensor | None) -> Tensor:
        assert labels is not None
        return super().vector(labels) + full(self.embedding(labels))

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        projected: Tensor = (features * self.embedding(labels)).sum(1, keepdim=True)
        return super().forward(features) + projected


def linear_head(features: int, direction: Callable[[int], nn.Module]) -> nn.Module:
    """One score."""
    return direction(features)


@torch.no_grad()
def count_features(tail: nn.Module, channels: int, *size: int) -> int:
    """F of a tail for a map (channels, h, w); asked of the tail itself, since a component may have put in its own."""
    with parallel.alone():  # it may compare samples
        features: Tensor = tail(torch.zeros(2, channels, *size))
    return features.shape[1]
