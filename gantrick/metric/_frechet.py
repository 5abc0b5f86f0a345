"""The Fréchet distance of two Gaussians, and the moments of features that are too many to hold.

    d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½        (Heusel et al., arXiv 1706.08500)

With factors Σ = A Aᵀ the last trace is the sum of the singular values of A₁ᵀ A₂. These come out to rounding even where
Σ is singular (fewer samples than features). The square roots of eigenvalues do not: noise of 1e-16 in a zero
eigenvalue is 1e-8 in its root, and there are as many of those as features. So eigenvalues, which cost a third, are
taken where all stand above that noise, and a factor is what is had for least: the samples themselves where they are
no more than the features, else Cholesky's, else that of the eigenvectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from gantrick.types import GantrickError

EPS = torch.finfo(torch.float64).eps
SMALL = 256
"""a matrix of so many rows has its singular values taken outright; it takes milliseconds"""
ERROR = 1e-8
"""what the roots of eigenvalues could at worst differ by from the singular values, as a share of their sum; where this
holds, 1e-14 was seen"""


@dataclass(frozen=True, eq=False)
class Moments:
    """How many vectors there were, their mean `(F,)`, and their centred scatter Σ (x − μ)(x − μ)ᵀ `(F, F)`; float64.

    rows: where there are no more vectors than features, N − 1 rows `(N − 1, F)` of that scatter: rowsᵀ rows.
    """

    count: int
    mean: Tensor
    scatter: Tensor
    rows: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Of features `(B, F)`."""
        x = (features.cpu() if features.device.type == "mps" else features).double()  # MPS has no float64
        mean = x.mean(0)
        centred = x - mean
        # Centred rows sum to nothing, so a reflection of 1/√n onto the first axis leaves that axis empty, and the rest:
        few = centred[1:] + centred[0] / (math.sqrt(len(x)) - 1) if 1 < len(x) <= x.shape[1] else None
        return cls(len(x), mean, centred.T @ centred, few)

    @classmethod
    def given(cls, mean: Tensor, covariance: Tensor, count: int | None = None) -> Moments:
        """Of a mean and an unbiased covariance; nothing here depends on a count that is not known."""
        count = count or 2
        return cls(count, mean, covariance * (count - 1))

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """What `tensors` gave."""
        rows = tensors.get("rows")
        scatter = tensors["scatter"] if rows is None else rows.T @ rows
        return cls(int(tensors["count"]), tensors["mean"], scatter, rows)

    def tensors(self) -> dict[str, Tensor]:
        """For a file: the smaller of scatter and rows."""
        wide = {"scatter": self.scatter} if self.rows is None else {"rows": self.rows}
        return {"count": torch.tensor(self.count), "mean": self.mean, **wide}

    def merged(self, other: Moments) -> Moments:
        """Of both together (Chan, Golub and LeVeque 1983): no sum of squares, whose difference would cancel."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between)

    def cpu(self) -> Moments:
        rows = None if self.rows is None else self.rows.cpu()
        return Moments(self.count, self.mean.cpu(), self.scatter.cpu(), rows)

    @property
    def covariance(self) -> Tensor:
        """The unbiased one, `(F, F)`. Raises GantrickError for fewer than two vectors."""
        if self.count < 2:
            raise GantrickError(f"a covariance needs two samples or more, and there is {self.count}; give more samples")
        return self.scatter / (self.count - 1)

    @cached_property
    def factor(self) -> Tensor:
        """A `(F, R)` with A Aᵀ the covariance; R is no more than its rank where that is not full."""
        if self.rows is not None:
            return self.rows.T / math.sqrt(self.count - 1)
        covariance = self.covariance
        lower: Tensor
        lower, failed = torch.linalg.cholesky_ex(covariance)
        pivots = lower.diagonal().square()
        if not failed and bool(pivots.min() > pivots.max() * 10 * len(pivots) * EPS):  # noise could pass for a pivot
            return lower
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > values[-1] * len(values) * EPS  # the rule of numpy's matrix_rank
        factor: Tensor = vectors[:, kept] * values[kept].sqrt()
        return factor


def moments(batches: Iterable[Tensor]) -> Moments:
    """The moments of all batches `(B, F)`, about F rows held at a time; on the CPU. Raises GantrickError for none."""
    parts = (Moments.of(rows) for rows in _gathered(batches) if len(rows))
    first = next(parts, None)
    if first is None:
        raise GantrickError("there are no samples to take the moments of; give two or more")
    return reduce(Moments.merged, parts, first).cpu()  # the same LAPACK whatever the device


def _gathered(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """More rows than features at a time, as far as there are so many: F² numbers are merged once, not F/B times."""
    held: list[Tensor] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) > batch.shape[1]:
            yield torch.cat(held)
            held = []
    if held:
        yield torch.cat(held)


def distance(a: Moments, b: Moments) -> float:
    """d² above, at least 0. Raises GantrickError for fewer than two vectors and for features that are not finite."""
    for side in (a, b):
        if not bool(torch.isfinite(side.scatter).all()):
            raise GantrickError("the features are not finite; the weights of the extractor are damaged, replace them")
    shift = a.mean - b.mean
    traces = a.covariance.trace() + b.covariance.trace()
    squared = shift @ shift + traces - 2 * singular_sum(a.factor.T @ b.factor)
    return float(squared.clamp_min(0))  # rounding leaves −1e-13 where 0 is due


def singular_sum(matrix: Tensor) -> Tensor:
    """The sum of the singular values of a float64 matrix `(M, N)`: those of its Gram matrix's eigenvalues, if exact."""
    values: Tensor
    if min(matrix.shape) > SMALL:
        wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        values = torch.linalg.eigvalsh(wide @ wide.T)
        roots = values.clamp_min(0).sqrt()
        noise = values[-1] * 8 * EPS  # of each eigenvalue; half of it over the root is the root's
        if bool((noise / (2 * roots.clamp_min(noise.sqrt()))).sum() <= ERROR * roots.sum()):
            return roots.sum()
    values = torch.linalg.svdvals(matrix)
    return values.sum()
