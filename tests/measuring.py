"""What a metric is handed, made by hand: fixed fakes, and features that are whatever a test wants them to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from gantrick.metric import _features, features
from gantrick.metric.features import Extractor
from gantrick.types import Dataset, DataShape, Samples

Split = Literal["train", "test"]


class Fixed(Dataset):
    """Two splits in memory."""

    def __init__(self, train: Samples, test: Samples | None = None, classes: int | None = None):
        self.splits = {"train": train, "test": test or train}
        self.classes = classes

    @property
    def data(self) -> DataShape:
        return DataShape(tuple(self.splits["train"].images.shape[1:]), self.classes)

    def load(self, split: Split = "train") -> Samples:
        return self.splits[split]


@dataclass
class Measured:
    """An Evaluation of fixed fakes that counts how often reals and fakes are asked for."""

    dataset: Dataset
    generated: Tensor
    weights: str = "ema"
    step: int = 3
    folder: Path | None = None
    labels: Tensor | None = None  # that the fakes were asked for
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cache: dict[Any, Any] = field(default_factory=dict)
    held: dict[Any, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    drawn: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def drawing(self) -> Mapping[str, Any]:
        return {"generator": self.weights}

    def fakes(self, count: int, batch_size: int = 256, features: Any = None) -> Iterator[Tensor]:
        self.drawn += 1
        yield from map(features or Tensor.clone, self.generated[:count].split(batch_size))

    def labelled_fakes(self, count: int, batch_size: int, features: Any) -> Iterator[tuple[Tensor, Tensor]]:
        assert self.labels is not None
        yield from zip(self.fakes(count, batch_size, features), self.labels[:count].split(batch_size), strict=True)

    def reals(self, split: Split = "train") -> Samples:
        self.asked.append(split)
        return self.dataset.load(split)

    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return images.float().flatten(1).mean(1)

    def scores_of_fakes(self, count: int, batch_size: int = 256) -> Iterator[Tensor]:
        yield from self.fakes(count, batch_size, self.scores)

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)


class Lookup(Extractor):
    """An image's bytes are the number of its features in a table; the features are the logits too."""

    name, resizer = "lookup", "none"

    def __init__(self, table: Tensor):
        super().__init__()
        self.dim = table.shape[1]
        self.table = torch.nn.Parameter(table.float())

    def prepare(self, images: Tensor) -> Tensor:
        return images.flatten(1).float() @ torch.tensor([1.0, 2.0**8, 2.0**16, 0.0])

    def embed(self, inputs: Tensor) -> Tensor:
        return self.table[inputs.long()]

    def classify(self, features: Tensor) -> Tensor:
        return features


def looked_up(
    monkeypatch: pytest.MonkeyPatch,
    reals: Tensor,
    fakes: Tensor,
    held_out: Tensor | None = None,
    labels: Tensor | None = None,
    asked: Tensor | None = None,
    **more: Any,
) -> Measured:
    """An evaluation in which the extractor `lookup` finds these features `(N, F)`."""
    parts = [reals, fakes, reals[:0] if held_out is None else held_out]
    network = Lookup(torch.cat(parts)).freeze()
    monkeypatch.setattr(features, "names", lambda: ("digits_cnn", "inception", "lookup"))
    monkeypatch.setattr(features, "extractor", lambda name, weights, **_: network)
    _features._extractors.clear()
    numbers = torch.arange(len(network.table))
    images = torch.stack([numbers >> shift & 255 for shift in (0, 8, 16, 24)], 1).to(torch.uint8).view(-1, 1, 2, 2)
    train, drawn, test = images.split([len(part) for part in parts])
    classes = None if labels is None else int(labels.max()) + 1
    dataset = Fixed(Samples(train, labels), Samples(test) if len(test) else None, classes)
    return Measured(dataset, drawn, labels=asked, **more)


def digits(split: Split = "train") -> Samples:
    """Real handwritten digits, 16 pixels, on which the extractor digits_cnn was trained."""
    from gantrick.dataset.digits import Digits

    return Digits(16).load(split)


def gaussian(count: int, dim: int, seed: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return mean + std * torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
