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
from gantrick.dataset._download import data_root
from gantrick.dataset.cifar10 import Cifar10
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "cifar10.yaml"
PER_FILE = 4
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def rows(name: str) -> np.ndarray:
    """Rows of 3072 bytes, 1024 red, 1024 green, 1024 blue, as the original says."""
    return np.random.default_rng(NAMES.index(name)).integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny set in the layout of the original, whose checksums torchvision is told."""
    from torchvision.datasets import CIFAR10

    content = {n: pickle.dumps({"data": rows(n), "labels": [NAMES.index(n), 1, 2, 3]}) for n in NAMES}
    content["batches.meta"] = pickle.dumps({"label_names": list("abcdefghij")})

    def sums(*names: str) -> list[list[str]]:
        return [[n, hashlib.md5(content[n], usedforsecurity=False).hexdigest()] for n in names]

    monkeypatch.setattr(CIFAR10, "train_list", sums(*NAMES[:5]))
    monkeypatch.setattr(CIFAR10, "test_list", sums("test_batch"))
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums("batches.meta")[0][1]})
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nobody listens there
    return content


def put(root: Path, content: dict[str, bytes]) -> None:
    (root / "cifar-10-batches-py").mkdir()
    for name, data in content.items():
        (root / "cifar-10-batches-py" / name).write_bytes(data)


def check(root: Path) -> None:
    found, test = Cifar10(root=str(root)).load(), Cifar10(root=str(root)).load("test")
    wanted = np.concatenate([rows(n) for n in NAMES[:5]]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(found.images.numpy(), wanted)
    assert found.images.is_contiguous() and found.labels is not None and found.labels.dtype == torch.int64
    assert found.labels.tolist() == [v for i in range(5) for v in (i, 1, 2, 3)]
    np.testing.assert_array_equal(test.images.numpy(), rows("test_batch").reshape(-1, 3, 32, 32))


def test_reads_torchvisions_layout(batches: dict[str, bytes], tmp_path: Path) -> None:
    put(tmp_path, batches)
    check(tmp_path)


def test_the_packed_file_is_enough_offline(
    batches: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in batches.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest())
    check(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_reads_arrays_where_torchvisions_layout_is_absent(batches: dict[str, bytes], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar10_train.npz", images=images, labels=np.arange(6))
    found = Cifar10(root=str(tmp_path), download=False).load()
    np.testing.assert_array_equal(found.images.numpy(), np.moveaxis(images, -1, 1))
    assert found.labels is not None and found.labels.tolist() == list(range(6))
    with pytest.raises(ConfigError, match=r"dataset\.download is false"):
        Cifar10(root=str(tmp_path), download=False).load("test")
    put(tmp_path, batches)
    check(tmp_path)


def test_offline_says_what_to_put_where(batches: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Cifar10(root=str(tmp_path)).load()
    said = str(raised.value)
    assert len(raised.value.faults) == 1 and "\n" not in said and "the download failed" in said
    for words in (
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        "cifar10_train.npz",
        f"into {tmp_path}",
        "GANTRICK_DATA",
    ):
        assert words in said
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10_train.npz", images=np.zeros((2, 28, 28, 1), np.uint8), labels=np.zeros(2, int))
    with pytest.raises(ConfigError, match=r"cifar10_train.npz are \(1, 28, 28\) and not \(3, 32, 32\)"):
        Cifar10(root=str(tmp_path)).load()


def test_shape_and_config() -> None:
    assert Cifar10().data == DataShape((3, 32, 32), 10) and not Cifar10().flip and Cifar10(flip=True).flip
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert config == {"name": "cifar10", "root": None, "download": True, "flip": False, "shift": 0}
    made = registry.create("dataset", config.pop("name"), config)
    assert vars(made) == vars(Cifar10())


def test_the_real_thing_where_it_is_at_hand() -> None:
    root = data_root(None)
    if not ((root / "cifar10_test.npz").is_file() or (root / "cifar-10-batches-py").is_dir()):
        pytest.skip("CIFAR-10 is not on this machine")
    found = Cifar10(download=False).load("test")
    assert found.labels is not None and found.labels.bincount().tolist() == [1000] * 10
    assert found.images.shape == (10_000, 3, 32, 32)
    means = found.images.double().mean(dim=(0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.4942, 0.4851, 0.4504]).double(), atol=1e-4, rtol=0)
