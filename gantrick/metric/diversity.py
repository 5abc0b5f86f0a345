"""How far fakes are from one another, next to reals."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from torch import Tensor

from gantrick.metric._features import FeatureMetric, enough, of, precise
from gantrick.metric._neighbours import distances
from gantrick.types import Bound, Count, Evaluation, Figures, Paper


class Diversity(FeatureMetric):
    """mean of |φ(x) − φ(x')| over all pairs of fakes x ≠ x'   (as Zhu et al., arXiv 1711.11586, with their distance)

    in the extractor's features φ. diversity_of_reals/<extractor> is that of reals (`references`, at most): what a good
    generator comes near to. Far below it modes are missing, above it are images that no data have.
    """

    name: ClassVar[str] = "diversity"
    lower_is_better: ClassVar[bool] = False
    paper: ClassVar[Paper | None] = Paper(
        "zhu2017multimodal",
        "Toward Multimodal Image-to-Image Translation",
        "Jun-Yan Zhu and Richard Zhang and Deepak Pathak and Trevor Darrell and Alexei A. Efros and Oliver Wang and "
        "Eli Shechtman",
        2017,
        arxiv="1711.11586",
        venue="Advances in Neural Information Processing Systems",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=2)] = 10_000,
        references: Annotated[int, Bound(ge=2)] = 10_000,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, split, weights, resizer, batch_size)
        self.references = references

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for fewer than two reals or fakes."""
        reference = self.features_of_reals(evaluation, self.references)
        enough(len(reference.features), 2, "reals")
        fakes = self.features_of_fakes(evaluation)
        found = [spread(precise(x, evaluation.device)) for x in (fakes, reference.features)]
        values = dict(zip((self.primary, f"diversity_of_reals/{self.extractor}"), found, strict=True))
        return Figures(values, self.protocol(evaluation, len(fakes), of(reference)))


def spread(x: Tensor) -> float:
    """The mean distance of pairs of `(N, F)`."""
    total = sum(float(part.sum()) for _, part in distances(x, x))
    return total / (len(x) * (len(x) - 1))
