from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gantrick import registry
from gantrick.dataset._download import data_root
from gantrick.dataset.mnist import Mnist
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "mnist.yaml"
COUNTS = {"train": 5, "t10k": 3}


def pixels(part: str) -> np.ndarray:
    return np.random.default_rng(COUNTS[part]).integers(0, 256, (COUNTS[part], 28, 28), dtype=np.uint8)


def files() -> dict[str, bytes]:
    """Two tiny sets in the format of the original: big-endian magic number and sizes, then bytes."""
    found = {}
    for part, n in COUNTS.items():
        found[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, n, 28, 28) + pixels(part).tobytes()
        found[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, n) + bytes(range(n))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files().items():
        (raw / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The packed files behind a local address, where torchvision is made to look."""
    from torchvision.datasets import MNIST

    folder = tmp_path_factory.mktemp("mirror")
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files().items()}
    for name, content in packed.items():
        (folder / name).write_bytes(content)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_address[1]}/"])
    sums = [(n, hashlib.md5(c, usedforsecurity=False).hexdigest()) for n, c in packed.items()]
    monkeypatch.setattr(MNIST, "resources", sums)
    yield folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there


def test_reads_the_files(root: Path) -> None:
    for split, part in (("train", "train"), ("test", "t10k")):
        found = Mnist(root=str(root), download=False).load(split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.images.numpy(), pixels(part)[:, None])
        assert found.labels is not None and found.labels.tolist() == list(range(COUNTS[part]))
        assert found.images.dtype == torch.uint8 and found.labels.dtype == torch.int64


def test_32_pixels_have_a_black_margin_of_two(root: Path) -> None:
    images = Mnist(size=32, root=str(root)).load().images.numpy()
    np.testing.assert_array_equal(images[:, 0], np.pad(pixels("train"), ((0, 0), (2, 2), (2, 2))))


def test_downloads_once_and_leaves_only_the_files(mirror: Path, tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    np.testing.assert_array_equal(Mnist(root=str(root)).load().images[:, 0].numpy(), pixels("train"))
    for file in mirror.iterdir():
        file.unlink()
    assert len(Mnist(root=str(root)).load("test")) == COUNTS["t10k"]
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()) == sorted(
        f"MNIST/raw/{name}" for name in files()
    )
    assert [p.name for p in root.iterdir()] == ["MNIST"]


def test_runs_that_start_together_all_get_it(mirror: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(Mnist(root=str(tmp_path)).load()), range(4)))
    assert found == [COUNTS["train"]] * 4


def test_a_truncated_file_is_fetched_again(mirror: Path, root: Path) -> None:
    broken = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(
        ConfigError, match=r"no sound files of it in .* dataset\.download is false; put train-images-idx3-ubyte"
    ):
        Mnist(root=str(root), download=False).load()
    np.testing.assert_array_equal(Mnist(root=str(root)).load().images[:, 0].numpy(), pixels("train"))


def test_packed_files_are_enough_offline(mirror: Path, no_network: None, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in mirror.iterdir():
        (raw / file.name).write_bytes(file.read_bytes())
    assert len(Mnist(root=str(tmp_path)).load()) == COUNTS["train"]


def test_offline_says_what_to_put_where(no_network: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Mnist(root=str(tmp_path)).load()
    assert len(raised.value.faults) == 1 and "\n" not in str(raised.value)
    for words in ("dataset mnist:", "the download failed", str(tmp_path / "MNIST" / "raw"), "GANTRICK_DATA", *files()):
        assert words in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_option_then_variable_then_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GANTRICK_DATA", raising=False)
    assert data_root(None) == tmp_path / ".cache" / "gantrick-data"
    monkeypatch.setenv("GANTRICK_DATA", "~/elsewhere")
    assert data_root(None) == tmp_path / "elsewhere"
    assert data_root("here") == Path("here")


def test_shape_and_config() -> None:
    assert Mnist().data == DataShape((1, 28, 28), 10) and Mnist(size=32).data.shape == (1, 32, 32) and not Mnist().flip
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert config == {"name": "mnist", "size": 28, "root": None, "download": True}
    made = registry.create("dataset", config.pop("name"), config)
    assert vars(made) == vars(Mnist())


def test_the_real_thing_where_it_is_at_hand() -> None:
    raw = data_root(None) / "MNIST" / "raw"
    if not (raw / "train-images-idx3-ubyte").is_file():
        pytest.skip("MNIST is not on this machine")
    found = Mnist(download=False).load()
    assert found.labels is not None
    assert found.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert found.images.shape == (60_000, 1, 28, 28)
    assert abs(found.images.double().mean().item() / 255 - 0.1307) < 5e-5  # the mean that every tutorial subtracts
