"""The Fréchet distance between features of real and generated images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from gantrick.metric._features import FeatureMetric
from gantrick.metric._frechet import distance, moments
from gantrick.types import Bound, Count, Evaluation, Figures, Paper


class FID(FeatureMetric):
    """d² = |μ_r − μ_g|² + tr Σ_r + tr Σ_g − 2 tr (Σ_r Σ_g)^½   (Heusel et al., arXiv 1706.08500)

    over the features of all reals of a split and of `samples` fakes. The figure is called `fid/<extractor>`:
    `fid/inception` is the FID of the papers (50,000 fakes there), any other extractor's compares only with itself.
    With no more samples than features the covariance is singular; the distance stands, and its protocol says so.

    `weights` is a file to use in place of the extractor's own. Raises ConfigError for an unknown extractor.
    """

    paper: ClassVar[Paper | None] = Paper(
        key="heusel2017ttur",
        title="GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
        authors="Martin Heusel and Hubert Ramsauer and Thomas Unterthiner and Bernhard Nessler and Sepp Hochreiter",
        year=2017,
        arxiv="1706.08500",
        venue="Advances in Neural Information Processing Systems",
    )

    name: ClassVar[str] = "fid"

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=2)] = 10_000,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, split, weights, resizer, batch_size)

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises ConfigError where the extractor cannot be had, GantrickError where there are too few reals."""
        reference, name = self.moments_of_reals(evaluation)
        generated = moments(self.stream_of_fakes(evaluation))
        reals = {"reference": name, "reference_count": reference.count}
        protocol = self.protocol(evaluation, generated.count, reals)
        if min(reference.count, generated.count) <= self.network().dim:
            protocol["rank"] = "below full"
        return Figures({self.primary: distance(reference, generated)}, protocol)
