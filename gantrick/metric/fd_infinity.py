"""The Fréchet distance that infinitely many fakes would have."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gantrick.metric._features import FeatureMetric, enough
from gantrick.metric._frechet import Moments, distance
from gantrick.types import Bound, Count, Evaluation, Figures, Paper


class FDInfinity(FeatureMetric):
    """d²_N = d²_∞ + b / N + …, extrapolated from `points` numbers N of fakes   (Chong and Forsyth, arXiv 1911.07023)

    by least squares over fakes drawn from all `samples` without replacement, each time anew. N runs in even steps from
    a tenth of them, or twice the number of features where that is more (half of them at most), to all. A Fréchet
    distance of few fakes is too large, by an amount that depends on the generator; this one is not, but for the bias of
    the reals' number. It may come out just below 0. fd_infinity/inception is the papers' FID∞.
    """

    name: ClassVar[str] = "fd_infinity"
    paper: ClassVar[Paper | None] = Paper(
        "chong2020effectively",
        "Effectively Unbiased FID and Inception Score and Where to Find Them",
        "Min Jin Chong and David Forsyth",
        2020,
        arxiv="1911.07023",
        venue="Conference on Computer Vision and Pattern Recognition",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=20)] = 10_000,
        points: Annotated[int, Bound(ge=2)] = 15,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, split, weights, resizer, batch_size)
        self.points = points

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for fewer than twenty fakes or two reals."""
        reference, name = self.moments_of_reals(evaluation)
        fakes = self.features_of_fakes(evaluation, 20)
        enough(reference.count, 2, "reals")
        counts = numbers(len(fakes), fakes.shape[1], self.points)
        reals = {"reference": name, "reference_count": reference.count}
        protocol = {
            **self.protocol(evaluation, len(fakes), reals),
            "points": len(counts),
            "fewest": int(counts[0]),
        }
        return Figures({self.primary: extrapolated(reference, fakes, counts)}, protocol)


def numbers(samples: int, dim: int, points: int) -> np.ndarray:
    """The N, ascending."""
    lowest = max(samples // 10, min(2 * dim, samples // 2))
    return np.unique(np.linspace(lowest, samples, points).round().astype(np.int64))


def extrapolated(reference: Moments, fakes: Tensor, counts: np.ndarray) -> float:
    """d²_∞ of fakes `(N, F)` by the line through their distances over 1/N."""
    source = np.random.RandomState(0)  # whose streams never change between numpy's versions
    found = []
    for count in counts.tolist():
        rows = torch.from_numpy(source.permutation(len(fakes))[:count])
        found.append(distance(reference, Moments.of(fakes[rows])))
    design = np.stack([np.ones(len(counts)), 1 / counts], 1)
    return float(np.linalg.lstsq(design, np.array(found), rcond=None)[0][0])
