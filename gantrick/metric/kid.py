"""The kernel distance between features of real and generated images."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from gantrick.metric._features import FeatureMetric, enough, of, precise
from gantrick.types import Bound, Count, Evaluation, Figures, Paper

BLOCKS = 10  # an interval of fewer is wide


class KID(FeatureMetric):
    """MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y),  k(x, y) = (x·y / d + 1)³   (Bińkowski et al., arXiv 1801.01401)

    over d features of reals x and fakes y, without bias: no image is paired with itself.

    kid/<extractor>       the mean over `subsets` subsets of `subset_size` reals and fakes each
    kid_low, kid_high/…   what covers the true MMD² in a share `confidence` of repeated draws of reals and fakes

    Subsets come in rounds, each of which parts the samples anew into subsets that share none, ten or more: of fewer
    than ten subsets' worth of samples the subsets are smaller, and the protocol says so. The subsets of a round are
    independent, so their variance is known; the mean of all rounds varies less than one round's, so Student's interval
    of one is honest for it, and too wide where fakes are near perfect. `references` is how many reals are compared.
    """

    name: ClassVar[str] = "kid"
    paper: ClassVar[Paper | None] = Paper(
        "binkowski2018demystifying",
        "Demystifying MMD GANs",
        "Mikołaj Bińkowski and Danica J. Sutherland and Michael Arbel and Arthur Gretton",
        2018,
        arxiv="1801.01401",
        venue="International Conference on Learning Representations",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=20)] = 10_000,
        references: Annotated[int, Bound(ge=20)] = 10_000,
        subsets: Count = 100,
        subset_size: Annotated[int, Bound(ge=2)] = 1000,
        confidence: Annotated[float, Bound(gt=0, lt=1)] = 0.95,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, split, weights, resizer, batch_size)
        self.references, self.subsets, self.subset_size = references, subsets, subset_size
        self.confidence = confidence

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for fewer than twenty reals or fakes."""
        reference = self.features_of_reals(evaluation, self.references)
        enough(len(reference.features), 2 * BLOCKS, "reals")
        fakes = self.features_of_fakes(evaluation, 2 * BLOCKS)
        real, fake = precise(reference.features, evaluation.device), precise(fakes, evaluation.device)
        found = rounds(real, fake, self.subsets, self.subset_size)
        mean, half = interval(found, self.confidence)
        values = {"kid": mean, "kid_low": mean - half, "kid_high": mean + half}
        protocol: dict[str, Any] = {
            **self.protocol(evaluation, len(fakes), of(reference)),
            "subsets": found.size,
            "subset_size": size(len(real), len(fake), self.subset_size),
            "confidence": self.confidence,
        }
        return Figures({f"{name}/{self.extractor}": value for name, value in values.items()}, protocol)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased MMD² of `(N, d)` and `(M, d)`."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def of_pairs(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    return of_pairs(x) + of_pairs(y) - 2 * kernel(x, y).mean()


def size(reals: int, fakes: int, most: int) -> int:
    """How many of each are in a subset."""
    return min(most, min(reals, fakes) // BLOCKS)


def rounds(reals: Tensor, fakes: Tensor, subsets: int, most: int) -> np.ndarray:
    """The MMD² of `subsets` subsets or a few more, `(rounds, subsets of a round)`."""
    each = size(len(reals), len(fakes), most)
    blocks = min(len(reals), len(fakes)) // each
    source, found = np.random.RandomState(0), []  # whose streams never change between numpy's versions
    for _ in range(math.ceil(subsets / blocks)):
        x, y = (
            v[torch.from_numpy(source.permutation(len(v))[: blocks * each]).to(v.device)].view(blocks, each, -1)
            for v in (reals, fakes)
        )
        found.append(torch.stack([mmd(a, b) for a, b in zip(x, y, strict=True)]).cpu().numpy())
    return np.stack(found)


def interval(found: np.ndarray, confidence: float) -> tuple[float, float]:
    """The mean and half the width of its interval, from `(rounds, blocks)`."""
    blocks = found.shape[1]
    error = math.sqrt(found.var(1, ddof=1).mean() / blocks)
    return float(found.mean()), float(stdtrit(blocks - 1, (1 + confidence) / 2)) * error
