from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import io

from gantrick import registry
from gantrick.dataset.svhn import Svhn
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "svhn.yaml"
LABELS = {"train": [10, 1, 9], "test": [2, 10], "extra": [5, 6, 7, 8]}  # 10 is the digit 0


def pixels(part: str) -> np.ndarray:
    """(32, 32, 3, N) as the .mat has them."""
    return np.random.default_rng(len(LABELS[part])).integers(0, 256, (32, 32, 3, len(LABELS[part])), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.datasets import SVHN

    split_list = {}
    for part, labels in LABELS.items():
        file = tmp_path / f"{part}_32x32.mat"
        io.savemat(file, {"X": pixels(part), "y": np.array(labels, np.uint8)[:, None]}, do_compression=True)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        split_list[part] = ["http://127.0.0.1:9/none", file.name, md5]
    monkeypatch.setattr(SVHN, "split_list", split_list)
    return tmp_path


@pytest.mark.parametrize(
    ("split", "extra", "parts"),
    [
        ("train", False, ["train"]),
        ("train", True, ["train", "extra"]),
        ("test", False, ["test"]),
        ("test", True, ["test"]),
    ],
)
def test_reads_the_files(root: Path, split: str, extra: bool, parts: list[str]) -> None:
    found = Svhn(extra, str(root), download=False).load(split)  # type: ignore[arg-type]
    wanted = np.concatenate([pixels(part).transpose(3, 2, 0, 1) for part in parts])
    np.testing.assert_array_equal(found.images.numpy(), wanted)  # type: ignore[union-attr]
    assert found.labels is not None and found.labels.dtype == torch.int64
    assert found.labels.tolist() == [label % 10 for part in parts for label in LABELS[part]]


def test_offline_says_what_to_put_where(root: Path) -> None:
    (root / "test_32x32.mat").write_bytes(b"truncated")
    for download in (True, False):
        with pytest.raises(ConfigError, match=r"^dataset svhn: there are no sound files") as raised:
            Svhn(root=str(root), download=download).load("test")
        assert f"put test_32x32.mat into {root}, or name its folder" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_shape_folder_and_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=str(tmp_path / "svhn")):
        Svhn(download=False).load()
    assert Svhn().data == DataShape((3, 32, 32), 10)
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Svhn())
