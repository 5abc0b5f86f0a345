from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gantrick import registry
from gantrick.dataset.cifar100 import Cifar100
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "cifar100.yaml"
FINE = {"train": [99, 0, 7, 50], "test": [3, 98]}


def rows(part: str) -> np.ndarray:
    """Rows of 3072 bytes, 1024 red, 1024 green, 1024 blue, as the original says."""
    return np.random.default_rng(len(part)).integers(0, 256, (len(FINE[part]), 3072), dtype=np.uint8)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny set in the layout of the original, whose checksums torchvision is told."""
    from torchvision.datasets import CIFAR100

    content = {
        part: pickle.dumps({"data": rows(part), "fine_labels": FINE[part], "coarse_labels": [1] * len(FINE[part])})
        for part in FINE
    }
    content["meta"] = pickle.dumps({"fine_label_names": [str(n) for n in range(100)]})
    sums = {name: hashlib.md5(c, usedforsecurity=False).hexdigest() for name, c in content.items()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    monkeypatch.setattr(CIFAR100, "url", "http://127.0.0.1:9/none")
    return content


@pytest.fixture
def packed(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.datasets import CIFAR100

    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    whole = (tmp_path / "cifar-100-python.tar.gz").read_bytes()
    monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(whole, usedforsecurity=False).hexdigest())
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_the_pickles(files: dict[str, bytes], tmp_path: Path, split: str) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    for name, content in files.items():
        (tmp_path / "cifar-100-python" / name).write_bytes(content)
    found = Cifar100(root=str(tmp_path), download=False).load(split)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.images.numpy(), rows(split).reshape(-1, 3, 32, 32))  # type: ignore[union-attr]
    assert found.labels is not None and found.labels.tolist() == FINE[split] and found.labels.dtype == torch.int64


def test_the_packed_file_is_enough_offline(packed: Path) -> None:
    found = Cifar100(root=str(packed)).load("test")
    np.testing.assert_array_equal(found.images.numpy(), rows("test").reshape(-1, 3, 32, 32))  # type: ignore[union-attr]
    assert (packed / "cifar-100-python" / "test").is_file() and not list(packed.glob(".download-*"))


def test_offline_says_what_to_put_where(files: dict[str, bytes], tmp_path: Path) -> None:
    for download in (True, False):
        with pytest.raises(ConfigError, match=r"^dataset cifar100: there are no sound files") as raised:
            Cifar100(root=str(tmp_path), download=download).load()
        assert f"put the folder cifar-100-python, or cifar-100-python.tar.gz, into {tmp_path}" in str(raised.value)
        assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []


def test_shape_and_config() -> None:
    assert Cifar100().data == DataShape((3, 32, 32), 100) and not Cifar100().flip and Cifar100(flip=True).flip
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Cifar100())
