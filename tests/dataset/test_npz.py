from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrick import registry
from gantrick.dataset._split import split_indices
from gantrick.dataset.npz import Npz
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "npz.yaml"


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "a.npz", **arrays)
    return str(folder / "a.npz")


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (pixels(4, 5, 6, 3), lambda x: np.moveaxis(x, 3, 1)),
        (pixels(4, 5, 6, 1), lambda x: np.moveaxis(x, 3, 1)),
        (pixels(4, 5, 6), lambda x: x[:, None]),
        (pixels(4, 3, 5, 6), lambda x: x),
        (pixels(4, 1, 5, 6), lambda x: x),
        (pixels(4, 3, 5, 3), lambda x: np.moveaxis(x, 3, 1)),  # both ends could be channels: the last
        (np.asfortranarray(pixels(4, 5, 6, 3)), lambda x: np.moveaxis(x, 3, 1)),
    ],
)
def test_layouts_of_images(tmp_path: Path, images: np.ndarray, wanted: Any) -> None:
    data = Npz(saved(tmp_path, images=images))
    found = data.load()
    np.testing.assert_array_equal(found.images.numpy(), wanted(images))
    assert found.images.dtype == torch.uint8 and found.images.is_contiguous() and found.labels is None
    assert data.data == DataShape(wanted(images).shape[1:])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_points(tmp_path: Path, kind: Any) -> None:
    points = np.random.default_rng(0).standard_normal((7, 2)).astype(kind)
    data = Npz(saved(tmp_path, points=points), images="points")
    assert data.data == DataShape((2,)) and data.load().images.dtype == torch.float32
    np.testing.assert_array_equal(data.load().images.numpy(), points.astype(np.float32))


def test_labels_by_default_by_name_and_not_at_all(tmp_path: Path) -> None:
    path = saved(
        tmp_path, images=pixels(3, 4, 4), labels=np.array([[2], [0], [1]], np.uint8), other=np.array([5, 5, 0])
    )
    assert Npz(path).data.classes == 3
    labels = Npz(path).load().labels
    assert labels is not None and labels.dtype == torch.int64 and labels.tolist() == [2, 0, 1]
    assert Npz(path, labels="other").data.classes == 6
    assert Npz(path, labels=None).data.classes is None and Npz(path, labels=None).load().labels is None


def test_shape_reads_no_pixels(tmp_path: Path) -> None:
    """The header is sound and the pixels are not there: the shape is known all the same."""
    np.save(tmp_path / "images.npy", pixels(9, 8, 8, 3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", (tmp_path / "images.npy").read_bytes()[:200])
    data = Npz(str(tmp_path / "a.npz"))
    assert data.data == DataShape((3, 8, 8))
    with pytest.raises(ConfigError, match=r"a.npz is not a sound .npz file \(.*\); write it anew"):
        data.load()


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({"x": pixels(4, 4, 4)}, {}, "has no array 'images'; name one of its arrays (x)"),
        ({"images": pixels(4, 4, 4)}, {"labels": "y"}, "has no array 'y'; name one of its arrays (images)"),
        ({"images": np.zeros((4, 3, 8, 8), np.float32)}, {}, "is float32 (4, 3, 8, 8); store it as uint8"),
        ({"images": pixels(4, 8, 8, 4)}, {}, "is uint8 (4, 8, 8, 4); store it as uint8"),
        ({"images": pixels(4, 4)}, {}, "is uint8 (4, 4); store it as uint8"),
        ({"images": np.array(3.0)}, {}, "is float64 (); store it as uint8"),
        ({"images": np.array([None, 1])}, {}, "is object (2,); store it as uint8"),
        ({"images": pixels(1, 8, 8, 3)}, {}, "has shape (1, 8, 8, 3); a GAN needs two samples at least"),
        ({"images": pixels(0, 8, 8)}, {}, "has shape (0, 8, 8); a GAN needs two samples at least"),
        ({"images": np.array([[0.0], [np.inf]])}, {}, "has values that are not finite"),
        ({"images": np.array([[0.0], [1e39]])}, {}, "has values that are not finite"),
        ({"images": pixels(4, 4, 4), "labels": np.arange(3)}, {}, "labels of"),
        (
            {"images": pixels(4, 4, 4), "labels": np.eye(4)},
            {},
            "store 4 whole numbers from 0, or set dataset.labels=null",
        ),
        ({"images": pixels(4, 4, 4), "labels": np.arange(4) - 1}, {}, "store 4 whole numbers from 0"),
        ({"images": pixels(4, 4, 4), "labels": np.array([{}] * 4)}, {}, "is not a sound .npz file"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_arrays_that_are_no_good(tmp_path: Path, arrays: Any, options: Any, words: str) -> None:
    path = saved(tmp_path, **arrays)
    with pytest.raises(ConfigError) as raised:
        Npz(path, **options).load()
    assert words in str(raised.value) and path in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_are_no_good(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no arrays here")
    np.save(tmp_path / "one.npy", pixels(2, 4, 4))
    for name, words in (
        ("gone.npz", "there is no file"),
        ("text.npz", "is not a sound .npz file"),
        ("one.npy", "is not a sound .npz file"),
        (".", "is not a sound .npz file"),
    ):
        for act in (lambda d: d.data, lambda d: d.load()):
            with pytest.raises(ConfigError, match=words):
                act(Npz(str(tmp_path / name)))


@settings(max_examples=15, deadline=None)
@given(cut=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_damaged_file_is_a_sentence_or_the_truth(
    tmp_path_factory: pytest.TempPathFactory, cut: float, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    images = pixels(5, 8, 8, 3)
    np.savez_compressed(folder / "a.npz", images=images)
    content = bytearray((folder / "a.npz").read_bytes())
    content[int(cut * (len(content) - 1))] ^= 1 + seed
    (folder / "a.npz").write_bytes(content)
    try:
        found = Npz(str(folder / "a.npz")).load()
    except ConfigError as error:
        assert "a.npz" in str(error)
    else:
        np.testing.assert_array_equal(found.images.numpy(), np.moveaxis(images, 3, 1))


def test_held_out_samples_are_the_test_split(tmp_path: Path) -> None:
    images = np.arange(20, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    path = saved(tmp_path, images=images, labels=np.arange(20))
    train, test = Npz(path, held_out=0.25).load(), Npz(path, held_out=0.25).load("test")
    assert train.labels is not None and test.labels is not None
    assert len(train) == 15 and len(test) == 5
    assert sorted(train.labels.tolist() + test.labels.tolist()) == list(range(20))
    assert train.images[:, 0, 0, 0].tolist() == train.labels.tolist()
    assert test.labels.tolist() == sorted(np.random.RandomState(0).permutation(20)[15:].tolist())
    with pytest.raises(ConfigError, match=r"held_out: is 0, so there is no test split; set dataset\.held_out=0\.1"):
        Npz(path).load("test")
    with pytest.raises(ConfigError, match=r"held_out: 0\.99 of 20 samples leaves none to train on"):
        Npz(path, held_out=0.99).load()


@given(count=st.integers(2, 200), fraction=st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_splits_share_nothing_and_miss_nothing(count: int, fraction: float) -> None:
    size = math.ceil(count * fraction)
    if 0 < size < count:
        train, test = split_indices(count, fraction, "train"), split_indices(count, fraction, "test")
        assert len(test) == size and sorted([*train, *test]) == list(range(count))
    else:
        with pytest.raises(ConfigError):
            split_indices(count, fraction, "test")


def test_the_config_names_every_setting_with_its_default() -> None:
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert config.pop("path") == "???"  # to be given
    made = registry.create("dataset", config.pop("name"), {**config, "path": "x.npz"})
    assert set(config) == {"images", "labels", "held_out", "flip"} and vars(made) == vars(Npz("x.npz"))
    with pytest.raises(ConfigError, match="path: has no default"):
        registry.create("dataset", "npz", {})
