"""What metrics of features share: the extractor, the reals' features and moments, the fakes', and the protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from gantrick import parallel, registry
from gantrick.dataset._reading import subset
from gantrick.metric import features
from gantrick.metric._frechet import Moments, moments
from gantrick.metric._store import stored
from gantrick.types import ConfigError, Dataset, Evaluation, GantrickError, Metric, Pictures

Split = Literal["train", "test"]
HELD = 2**29  # bytes of one set of features up to which it is kept: of fakes for other metrics, of reals on disk

_extractors: WeakValueDictionary[tuple[str | None, ...], features.Extractor] = WeakValueDictionary()


class Reference(NamedTuple):
    """Features `(N, F)` of reals, float32 on the CPU; their rows in the split; the sha256 over their pixels."""

    features: Tensor
    rows: Tensor
    name: str


class FeatureMetric(Metric):
    """Compares what an extractor finds in reals of a split and in `samples` fakes; its figure is <name>/<extractor>.

    `weights` is a file to use in place of the extractor's own, `resizer` pytorch_fid or clean_fid of inception ones.
    Raises ConfigError for an unknown extractor.
    """

    name: ClassVar[str]
    """the metric's name in the registry"""
    classifies: ClassVar[bool] = False
    """whether it needs classes from the extractor"""

    def __init__(
        self, extractor: str, samples: int, split: Split, weights: str | None, resizer: str | None, batch_size: int
    ):
        if extractor not in features.names():
            what = f"there is no extractor {extractor}"
            label = f"metric.{self.name}.extractor"
            raise ConfigError(registry.unknown(label, what, extractor, features.names()))
        self.extractor, self.weights, self.resizer = extractor, weights, resizer
        self.samples, self.split, self.batch_size = samples, split, batch_size
        self._built: features.Extractor | None = None

    @property
    def primary(self) -> str:
        return f"{self.name}/{self.extractor}"

    def check(self, dataset: Dataset) -> list[str]:
        """Faults of the data, and of an extractor that knows no classes where they are wanted."""
        label = f"metric.{self.name}"
        if not dataset.data.is_image:
            return [f"{label}: needs images, and the data are points; choose metric=modes"]
        channels = dataset.data.shape[0]
        if channels not in (1, 3):
            return [f"{label}: needs images of 1 or 3 channels, and these have {channels}; leave {label} out"]
        if self.classifies and self.extractor == "random_inception":
            return [f"{label}: random_inception has learnt no classes; choose another {label}.extractor"]
        return []

    def prepare(self) -> None:
        """Builds the extractor, so that a run that could not be judged does not start. Raises ConfigError."""
        self.network()

    def network(self, device: torch.device | None = None) -> features.Extractor:
        """The extractor, built once for all metrics. Raises ConfigError with what to do about it."""
        if self._built is None:
            key, label = (self.extractor, self.weights, self.resizer), f"metric.{self.name}"
            others = set(features.shipped()) - {self.extractor}
            choice = " or ".join(sorted(others))
            remedy = f", or choose {label}.extractor={choice} (another figure), or metric=[] for none"
            try:
                self._built = _extractors.get(key) or features.extractor(
                    self.extractor, self.weights, resizer=self.resizer
                )
            except (features.MissingWeights, ValueError) as error:
                said = str(error).replace("metric.fid.", f"{label}.")
                raise ConfigError(f"{label}: {said}{remedy}") from error
            _extractors[key] = self._built
        return self._built if device is None else self._built.to(device)

    # --- reals -------------------------------------------------------------------------------------------------------

    def moments_of_reals(self, evaluation: Evaluation) -> tuple[Moments, str]:
        """The moments of the features of a whole split, and the sha256 over its pixels. From the cache or the disk."""

        def collect(batches: Iterable[Tensor]) -> dict[str, Tensor]:
            return moments(batches).tensors()

        key = self._key("moments", self.split)
        if key not in evaluation.cache:
            found, name = self._measured(evaluation, "moments", evaluation.reals(self.split).images, collect)
            evaluation.cache[key] = Moments.restored(found), name
        kept: tuple[Moments, str] = evaluation.cache[key]
        return kept

    def features_of_reals(
        self, evaluation: Evaluation, limit: int, split: Split | None = None, mirrored: bool = False
    ) -> Reference:
        """The features of a split, or of `limit` of it, always the same, or of their mirror images. From the cache or
        the disk.
        """
        split = split or self.split
        what = "features of mirrored" if mirrored else "features"
        key = self._key(what, split, limit)
        if key not in evaluation.cache:
            reals = evaluation.reals(split)
            rows = torch.from_numpy(subset(len(reals), min(limit, len(reals)), reals.labels))
            images = reals.images
            if len(rows) < len(images):
                images = images.take(rows) if isinstance(images, Pictures) else images[rows.to(images.device)]
            found, name = self._measured(
                evaluation, what, images, lambda batches: {"features": _joined(batches)}, mirrored
            )
            evaluation.cache[key] = Reference(finite(found["features"]), rows, name)
        kept: Reference = evaluation.cache[key]
        return kept

    def _measured(
        self,
        evaluation: Evaluation,
        what: str,
        images: Tensor | Pictures,
        collect: Callable[[Iterable[Tensor]], dict[str, Tensor]],
        mirrored: bool = False,
    ) -> tuple[dict[str, Tensor], str]:
        """What `collect` makes of the features, and the sha256 over the images: one name and count can hold others.

        Of pictures that are read when asked for, the sha256 costs as much as reading them: those are read once, and
        what is found of them is not kept on disk.
        """
        network, digest = self.network(evaluation.device), hashlib.sha256(str(tuple(images.shape)).encode())

        def embed(batch: Tensor) -> Tensor:
            found: Tensor = network(batch.flip(-1) if mirrored else batch)
            return found

        def make(digest: Any = None) -> dict[str, Tensor]:
            return collect(parallel.in_shares(embed, _batches(images, self.batch_size, digest)))

        kept = isinstance(images, Tensor) and (what == "moments" or len(images) * network.dim * 4 <= HELD)
        if not kept:
            found = make(digest)
            return found, digest.hexdigest()[:12]
        for _ in _batches(images, self.batch_size, digest):
            pass
        key = {
            "what": what,
            "extractor": self.extractor,
            "extractor_fingerprint": network.fingerprint,
            "resizer": network.resizer,
            "images": digest.hexdigest(),
            "batch_size": self.batch_size,
            "device": evaluation.device.type,
            "torch": str(torch.__version__),
        }
        return stored(key, make, evaluation.tell), digest.hexdigest()[:12]

    def _key(self, *what: Any) -> tuple[Any, ...]:
        network = self.network()
        return (*what, self.extractor, network.fingerprint, network.resizer, self.batch_size)

    # --- fakes -------------------------------------------------------------------------------------------------------

    def stream_of_fakes(self, evaluation: Evaluation) -> Iterator[Tensor]:
        """The features `(B, F)` of `samples` fakes in batches; they are made once for all metrics that ask for these.

        Batches, so that sums over them have the same bits whichever metric made them.
        """
        network = self.network(evaluation.device)
        key = self._key("fakes", self.samples)
        if key in evaluation.held:
            yield from (batch.to(evaluation.device) for batch in evaluation.held[key])
            return
        kept: list[Tensor] | None = [] if self.samples * network.dim * 4 <= HELD else None
        for batch in evaluation.fakes(self.samples, self.batch_size, network):
            if kept is not None:
                kept.append(batch.cpu())
            yield batch
        if kept is not None:
            evaluation.held[key] = kept

    def features_of_fakes(self, evaluation: Evaluation, least: int = 2) -> Tensor:
        """All of them, float32 `(N, F)` on the CPU. Raises GantrickError for fewer than `least`."""
        found = _joined(self.stream_of_fakes(evaluation))
        enough(len(found), least, "generated samples")
        return finite(found)

    # --- protocol ----------------------------------------------------------------------------------------------------

    def protocol(self, evaluation: Evaluation, fakes: int, reals: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """How a figure of so many fakes was made; `reals` has `reference` and `reference_count` of a figure of both."""
        network = self.network()
        return {
            "extractor": self.extractor,
            "extractor_fingerprint": network.fingerprint,
            "resizer": network.resizer,
            **({"split": self.split, **reals} if reals else {}),
            "fakes": fakes,
            "quantisation": "uint8",
            **evaluation.drawing,
        }


def of(reference: Reference) -> dict[str, Any]:
    """What a protocol says of reals."""
    return {"reference": reference.name, "reference_count": len(reference.features)}


def precise(x: Tensor, device: torch.device) -> Tensor:
    """In float64, on the device where it has that."""
    return x.to("cpu" if device.type == "mps" else device).double()


def enough(count: int, least: int, what: str) -> None:
    """Raises GantrickError where there are fewer than `least`."""
    if count < least:
        are = "is" if count == 1 else "are"
        raise GantrickError(f"{least} {what} are the fewest that have this figure, and there {are} {count}; give more")


def _batches(images: Tensor | Pictures, size: int, digest: Any = None) -> Iterator[Tensor]:
    """The images, each read once, and their bytes into the digest."""
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        if digest is not None:
            digest.update(batch.cpu().contiguous().numpy().data)
        yield batch


def _joined(batches: Iterable[Tensor]) -> Tensor:
    found = [batch.float().cpu() for batch in batches if len(batch)]
    return torch.cat(found) if found else torch.empty(0, 0)


def finite(found: Tensor) -> Tensor:
    """The features. Raises GantrickError where they are not finite."""
    if not bool(torch.isfinite(found).all()):
        raise GantrickError("the features are not finite; the weights of the extractor are damaged, replace them")
    return found
