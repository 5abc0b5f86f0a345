"""The Fréchet distance of two Gaussians, and the moments of features that are too many to hold.

    d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½        (Heusel et al., arXiv 1706.08500)

With factors Σ = A Aᵀ the last trace is the sum of the singular values of A₁ᵀ A₂. These come out to rounding even where
Σ is singular (fewer samples than features). The square roots of eigenvalues do not: noise of 1e-16 in a zero
eigenvalue is 1e-8 in its root, and there are as many of those as features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from gantrick.types import GantrickError


@dataclass(frozen=True, eq=False)
class Moments:
    """How many vectors there were, their mean `(F,)`, and their centred scatter Σ (x − μ)(x − μ)ᵀ `(F, F)`; float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Of features `(B, F)`."""
        x = (features.cpu() if features.device.type == "mps" else features).double()  # MPS has no float64
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def merged(self, other: Moments) -> Moments:
        """Of both together (Chan, Golub and LeVeque 1983): no sum of squares, whose difference would cancel."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Tensor:
        """The unbiased one, `(F, F)`. Raises GantrickError for fewer than two vectors."""
        if self.count < 2:
            raise GantrickError(f"a covariance needs two samples or more, and there is {self.count}; give more samples")
        return self.scatter / (self.count - 1)

    @cached_property
    def factor(self) -> Tensor:
        """A `(F, R)` with A Aᵀ the covariance; R is its numerical rank, by the rule of numpy's matrix_rank."""
        values, vectors = torch.linalg.eigh(self.covariance)
        kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
        factor: Tensor = vectors[:, kept] * values[kept].sqrt()
        return factor


def moments(batches: Iterable[Tensor]) -> Moments:
    """The moments of all batches `(B, F)`, one held at a time; on the CPU. Raises GantrickError where there is none."""
    parts = (Moments.of(batch) for batch in batches if len(batch))
    first = next(parts, None)
    if first is None:
        raise GantrickError("there are no samples to take the moments of; give two or more")
    whole = reduce(Moments.merged, parts, first)
    return Moments(whole.count, whole.mean.cpu(), whole.scatter.cpu())  # the same LAPACK whatever the device


def distance(a: Moments, b: Moments) -> float:
    """d² above, at least 0. Raises GantrickError for fewer than two vectors and for features that are not finite."""
    for side in (a, b):
        if not bool(torch.isfinite(side.scatter).all()):
            raise GantrickError("the features are not finite; the weights of the extractor are damaged, replace them")
    overlap = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    shift = a.mean - b.mean
    squared = shift @ shift + (a.covariance.trace() + b.covariance.trace()) - 2 * overlap
    return float(squared.clamp_min(0))  # rounding leaves −1e-13 where 0 is due
