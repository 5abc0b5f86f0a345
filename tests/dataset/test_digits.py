from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gantrick import registry
from gantrick.dataset.digits import Digits
from gantrick.types import ConfigError, DataShape, Samples

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "digits.yaml"


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """The file that scikit-learn ships, read by other means: 64 grey levels and a label a row."""
    import sklearn

    with gzip.open(Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.array([[int(float(v)) for v in row] for row in csv.reader(file)])


def rows(samples: Samples) -> list[bytes]:
    assert samples.labels is not None
    return [x.numpy().tobytes() + bytes([y]) for x, y in zip(samples.images, samples.labels.tolist(), strict=True)]


def test_the_two_splits_are_the_file(table: np.ndarray) -> None:
    digits = Digits(size=8)
    train, test = digits.load("train"), digits.load("test")
    assert (len(train), len(test)) == (1437, 360)
    levels = np.round(np.arange(17) * 255 / 16).astype(np.uint8)
    assert sorted(rows(train) + rows(test)) == sorted(levels[r[:64]].tobytes() + bytes([r[64]]) for r in table)


@pytest.mark.parametrize("size", [16, 32])
def test_enlarged_as_pillow_enlarges(size: Literal[16, 32]) -> None:
    small, large = Digits(size=8).load(), Digits(size=size).load()
    assert large.images.shape == (1437, 1, size, size) and large.images.dtype == torch.uint8
    assert small.labels is not None and large.labels is not None and torch.equal(small.labels, large.labels)
    for before, after in zip(small.images[:100, 0].numpy(), large.images[:100, 0].numpy(), strict=True):
        values = Image.fromarray(np.round(before / 255 * 16).astype(np.float32))
        wanted = np.asarray(values.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float64) / 16 * 255
        np.testing.assert_array_equal(after, np.round(wanted))


def test_the_test_split_is_what_the_extractor_never_saw() -> None:
    order = np.random.RandomState(0).permutation(1797)
    from sklearn.datasets import load_digits

    held_out = load_digits().target[order[1437:]]
    labels = Digits().load("test").labels
    assert labels is not None and labels.dtype == torch.int64
    np.testing.assert_array_equal(labels.numpy(), held_out)


def test_shape_is_known_and_sizes_are_checked() -> None:
    assert Digits().data == DataShape((1, 16, 16), 10) and Digits(size=32).data.shape == (1, 32, 32)
    assert not Digits().flip
    with pytest.raises(ConfigError, match="size: must be 8, 16 or 32"):
        registry.create("dataset", "digits", {"size": 28})


def test_the_config_names_every_setting_with_its_default() -> None:
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert config == {"name": "digits", "size": 16} and config["size"] == Digits().size
