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
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.stl10 import Stl10
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "stl10.yaml"
COUNTS = {"train": 3, "unlabeled": 4, "test": 2}


def pixels(part: str) -> np.ndarray:
    """(N, 96, 96, 3), upright."""
    return np.random.default_rng(COUNTS[part]).integers(0, 256, (COUNTS[part], 96, 96, 3), dtype=np.uint8)


def files() -> dict[str, bytes]:
    """Column-major: for each picture red, green, blue, each column after column; labels from 1."""
    found = {f"{part}_X.bin": b"".join(p.tobytes("F") for p in pixels(part)) for part in COUNTS}
    for part in ("train", "test"):
        found[f"{part}_y.bin"] = bytes(range(10, 10 - COUNTS[part], -1))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stl10_binary").mkdir()
    for name, content in files().items():
        (tmp_path / "stl10_binary" / name).write_bytes(content)
    return tmp_path


def small(parts: list[str], size: int) -> np.ndarray:
    out = []
    for values in np.concatenate([pixels(part) for part in parts]):
        image = Image.fromarray(values)
        out.append(np.asarray(image if size == 96 else image.resize((size, size), Image.Resampling.LANCZOS)))
    return np.stack(out).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("size", [96, 48, 31])
@pytest.mark.parametrize(
    ("split", "unlabeled", "parts"),
    [
        ("train", True, ["train", "unlabeled"]),
        ("train", False, ["train"]),
        ("test", True, ["test"]),
        ("test", False, ["test"]),
    ],
)
def test_reads_the_files(root: Path, size: int, split: str, unlabeled: bool, parts: list[str]) -> None:
    dataset = Stl10(size, unlabeled, str(root), download=False)
    found = read(dataset, split)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.images.numpy(), small(parts, size))  # type: ignore[union-attr]
    if unlabeled:
        assert found.labels is None and dataset.data == DataShape((3, size, size))
    else:
        assert found.labels is not None and found.labels.dtype == torch.int64
        assert found.labels.tolist() == [9, 8, 7][: COUNTS[split]] and dataset.data.classes == 10


def test_pictures_travel_to_other_processes_as_paths(root: Path) -> None:
    pictures = Stl10(96, True, str(root)).load().images
    sent = pickle.dumps(pictures)
    assert len(sent) < 2000 and torch.equal(pickle.loads(sent)[[6, 0]], pictures[:][[6, 0]])


def test_the_packed_file_is_enough_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    packed = tmp_path / STL10.filename
    with tarfile.open(packed, "w:gz") as archive:
        for name, content in files().items():
            info = tarfile.TarInfo(f"stl10_binary/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(STL10, "url", "http://127.0.0.1:9/none")
    with pytest.raises(ConfigError, match="the download failed"):  # its checksum is another
        Stl10(root=str(tmp_path)).load()
    monkeypatch.setattr(STL10, "tgz_md5", hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest())
    np.testing.assert_array_equal(
        Stl10(96, root=str(tmp_path)).load().images[:].numpy(), small(["train", "unlabeled"], 96)
    )
    assert not list(tmp_path.glob(".download-*"))


def test_what_is_missing_or_damaged_is_named(root: Path) -> None:
    file = root / "stl10_binary" / "unlabeled_X.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=rf"^dataset stl10: {file} is truncated"):
        Stl10(root=str(root)).load()
    (root / "stl10_binary" / "train_y.bin").write_bytes(bytes([1, 2]))
    with pytest.raises(ConfigError, match=r"train_y.bin does not fit .*train_X.bin; fetch both anew"):
        Stl10(unlabeled=False, root=str(root)).load()
    file.unlink()
    with pytest.raises(
        ConfigError, match=r"dataset.download is false; put train_X.bin, unlabeled_X.bin into"
    ) as raised:
        Stl10(root=str(root), download=False).load()
    assert "\n" not in str(raised.value)


def test_shape_and_config() -> None:
    assert Stl10().data == DataShape((3, 48, 48)) and not Stl10().flip
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Stl10())
