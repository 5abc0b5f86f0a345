"""Precision and recall, density and coverage: are fakes like reals, and are all reals like some fakes?"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from gantrick.metric._features import FeatureMetric, enough, of, precise
from gantrick.metric._neighbours import distances, radii
from gantrick.types import Count, Evaluation, Figures, Paper


class PRDC(FeatureMetric):
    """precision = share of the fakes in ∪_i B_i, coverage = share of the B_i with a fake in them   (arXiv 2002.09797)

    where B_i is the ball around real i that reaches its k-th nearest other real, in the extractor's features.

    precision/<extractor>  the share of fakes within some real's ball, k = `neighbours`
    recall/<extractor>     the share of reals within some fake's ball, which reaches its k-th nearest other fake
    density/<extractor>    in how many balls a fake lies, over k = `density_neighbours`: 1 of reals, and not bounded
    coverage/<extractor>   the share of reals in whose ball a fake lies, with that k; the primary figure

    The first two are Kynkäänniemi et al.'s (arXiv 1904.06991), the others Naeem et al.'s. As in their code, the rim of
    a ball counts for the first two and not for the others: where the fakes are the reals themselves, density is 1. All
    depend on how many reals (`references`, at most) and fakes there are, so compare at equal numbers. Of as many fakes
    as reals from the reals' own distribution coverage is 1 − 2^−k, about.
    """

    name: ClassVar[str] = "prdc"
    lower_is_better: ClassVar[bool] = False
    paper: ClassVar[Paper | None] = Paper(
        "naeem2020reliable",
        "Reliable Fidelity and Diversity Metrics for Generative Models",
        "Muhammad Ferjad Naeem and Seong Joon Oh and Youngjung Uh and Yunjey Choi and Jaejun Yoo",
        2020,
        arxiv="2002.09797",
        venue="International Conference on Machine Learning",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Count = 10_000,
        references: Count = 10_000,
        neighbours: Count = 3,
        density_neighbours: Count = 5,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, split, weights, resizer, batch_size)
        self.references, self.neighbours, self.density_neighbours = references, neighbours, density_neighbours

    @property
    def primary(self) -> str:
        return f"coverage/{self.extractor}"

    @property
    def directions(self) -> dict[str, Literal["lower", "higher"]]:
        return {f"{name}/{self.extractor}": "higher" for name in ("precision", "recall", "coverage")}

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError where there are no more reals or fakes than neighbours."""
        least = max(self.neighbours, self.density_neighbours) + 1
        reference = self.features_of_reals(evaluation, self.references)
        enough(len(reference.features), least, "reals")
        fakes = self.features_of_fakes(evaluation, least)
        real, fake = precise(reference.features, evaluation.device), precise(fakes, evaluation.device)
        found = prdc(real, fake, self.neighbours, self.density_neighbours)
        protocol = {
            **self.protocol(evaluation, len(fakes), of(reference)),
            "neighbours": self.neighbours,
            "density_neighbours": self.density_neighbours,
        }
        return Figures({f"{name}/{self.extractor}": value for name, value in found.items()}, protocol)


TIE = 1e-9
"""distances that differ by a smaller share are equal: rounding leaves less than 1e-12"""


def prdc(reals: Tensor, fakes: Tensor, k: int, k_density: int) -> dict[str, float]:
    """The four of features `(N, F)` and `(M, F)`, float64."""
    ball, of_fakes = ((1 + TIE) * radii(x, k) for x in (reals, fakes))
    wide = (1 - TIE) * radii(reals, k_density)
    inside = dense = 0
    recalled, covered = (torch.zeros(len(reals), dtype=torch.bool, device=reals.device) for _ in range(2))
    for start, part in distances(fakes, reals):
        inside += int((part <= ball).any(1).sum())
        dense += int((part < wide).sum())
        covered |= (part < wide).any(0)
        recalled |= (part <= of_fakes[start : start + len(part), None]).any(0)
    return {
        "precision": inside / len(fakes),
        "recall": float(recalled.double().mean()),
        "density": dense / (k_density * len(fakes)),
        "coverage": float(covered.double().mean()),
    }
