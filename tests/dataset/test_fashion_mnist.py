from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gantrick import registry
from gantrick.dataset.fashion_mnist import FashionMnist
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "fashion_mnist.yaml"
COUNTS = {"train": 5, "t10k": 3}


def pixels(part: str) -> np.ndarray:
    return np.random.default_rng(COUNTS[part]).integers(0, 256, (COUNTS[part], 28, 28), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Big-endian magic number and sizes, then bytes."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in COUNTS.items():
        head = struct.pack(">IIII", 2051, n, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels(part).tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + bytes(range(n)))
    return tmp_path


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("test", "t10k")])
@pytest.mark.parametrize("size", [28, 32])
def test_reads_the_files(root: Path, split: str, part: str, size: int) -> None:
    found = FashionMnist(size, root=str(root), download=False).load(split)  # type: ignore[arg-type]
    margin = (size - 28) // 2
    wanted = np.pad(pixels(part), ((0, 0), (margin, margin), (margin, margin)))
    np.testing.assert_array_equal(found.images[:, 0].numpy(), wanted)
    assert found.labels is not None and found.labels.tolist() == list(range(COUNTS[part]))
    assert found.images.dtype == torch.uint8 and found.labels.dtype == torch.int64  # type: ignore[union-attr]


def test_offline_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there
    for download, words in ((True, "the download failed"), (False, "dataset.download is false")):
        with pytest.raises(ConfigError, match=r"^dataset fashion_mnist: there are no sound files") as raised:
            FashionMnist(root=str(tmp_path), download=download).load()
        assert "\n" not in str(raised.value) and words in str(raised.value)
        assert str(tmp_path / "FashionMNIST" / "raw") in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_shape_and_config() -> None:
    assert FashionMnist().data == DataShape((1, 28, 28), 10)
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(FashionMnist())
