"""The Fréchet distance between features of real and generated images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor

from gantrick import parallel, registry
from gantrick.metric import features
from gantrick.metric._frechet import Moments, distance, moments
from gantrick.types import Bound, ConfigError, Count, Dataset, Evaluation, Figures, Metric, Paper, Samples


class FID(Metric):
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

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=2)] = 10_000,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        batch_size: Count = 128,
    ):
        if extractor not in features.names():
            what = f"there is no extractor {extractor}"
            raise ConfigError(registry.unknown("metric.fid.extractor", what, extractor, features.names()))
        self.extractor, self.weights = extractor, weights
        self.samples, self.split, self.batch_size = samples, split, batch_size
        self._built: features.Extractor | None = None

    @property
    def primary(self) -> str:
        return f"fid/{self.extractor}"

    def check(self, dataset: Dataset) -> list[str]:
        """Faults of the data."""
        if not dataset.data.is_image:
            return ["metric.fid: needs images, and the data are points; choose metric=modes"]
        channels = dataset.data.shape[0]
        if channels not in (1, 3):
            return [f"metric.fid: needs images of 1 or 3 channels, and these have {channels}; leave metric.fid out"]
        return []

    def prepare(self) -> None:
        """Builds the extractor, so that a run that could not be judged does not start. Raises ConfigError."""
        self._network()

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises ConfigError where the extractor cannot be had, GantrickError where there are too few reals."""
        network = self._network().to(evaluation.device)
        fingerprint = network.fingerprint
        key = ("fid", fingerprint, self.split)
        if key not in evaluation.cache:
            reals = evaluation.reals(self.split)
            digest = hashlib.sha256(str(tuple(reals.images.shape)).encode())
            found = moments(parallel.in_shares(network, _batches(reals, self.batch_size, digest)))
            evaluation.cache[key] = found, digest.hexdigest()[:12]
        reference: Moments
        reference, of_reals = evaluation.cache[key]
        generated = moments(evaluation.fakes(self.samples, self.batch_size, network))
        protocol: dict[str, Any] = {
            "extractor": self.extractor,
            "extractor_fingerprint": fingerprint,
            "resizer": network.resizer,
            "split": self.split,
            "reference": of_reals,
            "reference_count": reference.count,
            "fakes": generated.count,
            "quantisation": "uint8",
            "generator": evaluation.weights,
        }
        if min(reference.count, generated.count) <= network.dim:
            protocol["rank"] = "below full"
        text = json.dumps(protocol, sort_keys=True)
        protocol["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()[:12]
        return Figures({self.primary: distance(reference, generated)}, protocol)

    def _network(self) -> features.Extractor:
        """The extractor, built once. Raises ConfigError with what to do about it."""
        if self._built is None:
            others = set(features.shipped()) - {self.extractor}
            choice = " or ".join(sorted(others))
            remedy = f", or choose metric.fid.extractor={choice} (another figure), or metric=[] for none"
            try:
                self._built = features.extractor(self.extractor, self.weights)
            except (features.MissingWeights, ValueError) as error:
                raise ConfigError(f"metric.fid: {error}{remedy}") from error
        return self._built


def _batches(reals: Samples, size: int, digest: Any) -> Iterator[Tensor]:
    """The images, read once, and the sha256 over them: two references of one name and count can still differ."""
    for start in range(0, len(reals), size):
        batch = reals.images[start : start + size]
        digest.update(batch.cpu().contiguous().numpy().data)
        yield batch
