"""Euclidean distances between two sets of features, a part of the matrix at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PART = 2**26  # bytes of the matrix that are held at a time


def distances(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(i, |a_j − b_k| for the rows j = i, i + 1, … of a part), of float64 `(A, F)` and `(B, F)`.

    From |a|² + |b|² − 2 a·b around the mean of b. What rounding cannot tell from 0 is 0, as between copies.
    """
    middle = b.mean(0)
    a, b = a - middle, b - middle
    of_a, of_b = a.square().sum(1), b.square().sum(1)
    size = max(1, PART // (8 * len(b)))
    for start in range(0, len(a), size):
        scale = of_a[start : start + size, None] + of_b
        squared = torch.addmm(scale, a[start : start + size], b.T, alpha=-2)
        yield start, squared.masked_fill_(squared < 1e-13 * scale, 0).sqrt_()


def nearest(a: Tensor, b: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The distances `(A, k)` from each of a to the k nearest of b, nearest first, and which those are `(A, k)`."""
    found = [part.topk(k, largest=False) for _, part in distances(a, b)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def radii(x: Tensor, k: int) -> Tensor:
    """The distance `(N,)` from each of x to the k-th nearest of the others."""
    parts = []
    for start, part in distances(x, x):
        part.diagonal(start).fill_(torch.inf)  # itself
        parts.append(part.topk(k, largest=False).values[:, -1])
    return torch.cat(parts)
