from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from gantrick import registry
from gantrick.dataset.stacked_mnist import StackedMnist
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "stacked_mnist.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty digits for each split: picture n is filled with n, and shows the digit n % 10; the test ones from 100."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, first in (("train", 0), ("t10k", 100)):
        body = b"".join(bytes([first + n]) * 784 for n in range(20))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 20, 28, 28) + body)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 20) + bytes(n % 10 for n in range(20)))
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_is_the_number_that_the_colours_read(root: Path, split: str) -> None:
    found = StackedMnist(samples=500, root=str(root), download=False).load(split)  # type: ignore[arg-type]
    images = found.images[:].numpy()
    assert images.shape == (500, 3, 28, 28) and images.dtype == np.uint8
    assert (images == images[:, :, :1, :1]).all(), "each colour is one whole digit"
    shown = images[:, :, 0, 0].astype(int)
    assert (shown // 100 == (split == "test")).all(), "of its own split's digits"
    digits = shown % 10
    assert found.labels is not None and found.labels.dtype == torch.int64
    assert found.labels.tolist() == [int(f"{r}{g}{b}") for r, g, b in digits]


def test_digits_are_drawn_evenly_and_apart(root: Path) -> None:
    """6,000 triples of 20: χ² of each colour and of pairs of colours, false alarm 1e-5 each, the draw is fixed."""
    found = StackedMnist(samples=6000, root=str(root)).load().images[:, :, 0, 0].numpy().astype(int)  # type: ignore[call-overload]
    for channel in range(3):
        assert stats.chisquare(np.bincount(found[:, channel], minlength=20)).pvalue > 1e-5
        pair = found[:, channel] * 20 + found[:, (channel + 1) % 3]
        assert stats.chisquare(np.bincount(pair, minlength=400)).pvalue > 1e-5


def test_always_the_same_and_a_smaller_set_begins_a_larger(root: Path) -> None:
    many, few = (StackedMnist(samples=n, root=str(root)).load() for n in (300, 40))
    assert torch.equal(many.images[:40], few.images[:40]) and torch.equal(many.labels[:40], few.labels)  # type: ignore[index, arg-type]
    assert StackedMnist(32, 5, str(root)).load().images.shape == (5, 3, 32, 32)


def test_without_mnist_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^dataset mnist: there are no sound files"):
        StackedMnist(root=str(tmp_path), download=False).load()


def test_shape_and_config() -> None:
    assert StackedMnist().data == DataShape((3, 28, 28), 1000)
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(StackedMnist())
