"""What every data set can be asked for: a limited, weighted, resident or streamed split."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gantrick
from gantrick.dataset import _reading
from gantrick.dataset._reading import read, subset
from gantrick.dataset.digits import Digits
from gantrick.dataset.image_folder import ImageFolder
from gantrick.types import ConfigError, Dataset, DataShape, Pictures, Reading, Samples


class Numbered(Dataset):
    """Points that are their numbers."""

    def __init__(self, count: int = 10, labels: list[int] | None = None):
        self.count, self.labels = count, labels

    @property
    def data(self) -> DataShape:
        return DataShape((1,))

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        labels = None if self.labels is None else torch.tensor(self.labels)
        return Samples(torch.arange(float(self.count))[:, None], labels)


def limited(dataset: Dataset, **options: Any) -> Samples:
    dataset.reading = Reading(**options)
    return read(dataset)


# --- limit -----------------------------------------------------------------------------------------------------------


def sainte_lague(sizes: list[int], seats: int) -> list[tuple[int, ...]]:
    """Every apportionment that highest averages with divisors 1, 3, 5 … can give, ties broken in all ways."""
    found = {tuple(0 for _ in sizes)}
    for _ in range(seats):
        nexts = set()
        for so_far in found:
            # compared as whole numbers: n / (2 s + 1)
            best = max((n / (2 * s + 1) for n, s in zip(sizes, so_far, strict=True) if s < n), default=0)
            for i, (n, s) in enumerate(zip(sizes, so_far, strict=True)):
                if s < n and abs(n / (2 * s + 1) - best) < 1e-9:
                    nexts.add((*so_far[:i], s + 1, *so_far[i + 1 :]))
        found = nexts
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), data=st.data())
def test_classes_are_apportioned(sizes: list[int], data: st.DataObject) -> None:
    labels = torch.tensor([c for c, n in enumerate(sizes) for _ in range(n)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    limit = data.draw(st.integers(1, len(labels)))
    chosen = subset(len(labels), limit, labels)
    assert len(set(chosen.tolist())) == limit and (np.diff(chosen) > 0).all()
    assert tuple(np.bincount(labels.numpy()[chosen], minlength=len(sizes))) in sainte_lague(sizes, limit)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), labelled=st.booleans())
def test_smaller_limits_are_contained_in_larger_ones(count: int, labelled: bool) -> None:
    labels = torch.arange(count) ** 2 % 7 if labelled else None
    chosen = [set(subset(count, limit, labels).tolist()) for limit in range(1, count + 1)]
    assert all(a < b for a, b in pairwise(chosen)) and chosen[-1] == set(range(count))


def test_which_ones_is_drawn_by_chance_and_always_the_same() -> None:
    chosen = subset(1000, 100)
    assert np.array_equal(chosen, subset(1000, 100)) and not np.array_equal(chosen, np.arange(100))
    assert abs(chosen.mean() - 499.5) < 4.9 * 1000 / np.sqrt(12 * 100)


def test_equal_classes_differ_by_one_at_most() -> None:
    digits = limited(Digits(8), limit=103)
    assert digits.labels is not None and len(digits) == 103
    assert np.ptp(np.bincount(digits.labels.numpy())) <= 2  # the classes of 1,437 digits are nearly equal
    even = limited(Numbered(100, [n % 10 for n in range(100)]), limit=23)
    assert even.labels is not None and np.ptp(np.bincount(even.labels.numpy())) == 1


def test_a_limit_is_of_the_train_split_alone() -> None:
    dataset = Digits(8)
    whole, test = read(dataset), read(dataset, "test")
    dataset.reading = Reading(limit=50)
    some = read(dataset)
    assert len(some) == 50 and torch.equal(read(dataset, "test").images, test.images)
    rows = [int((whole.images == image).flatten(1).all(1).nonzero()[0]) for image in some.images]
    assert whole.labels is not None and torch.equal(some.labels, whole.labels[rows])  # type: ignore[arg-type]


def test_a_limit_beyond_the_set_is_refused() -> None:
    assert len(limited(Numbered(10), limit=10)) == 10
    with pytest.raises(ConfigError, match=r"^dataset.limit: 11 is more than the 10 samples of the train split; lower"):
        limited(Numbered(10), limit=11)


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npy", "txt"])
def test_weights_are_read_and_follow_the_limit(tmp_path: Path, suffix: str) -> None:
    values = np.arange(10.0)
    path = tmp_path / f"w.{suffix}"
    if suffix == "npy":
        np.save(path, values.astype(np.float32))
    else:
        path.write_text("\n".join(map(str, values)))
    assert limited(Numbered(10), weights=str(path)).weights.tolist() == values.tolist()  # type: ignore[union-attr]
    some = limited(Numbered(10), weights=str(path), limit=4)
    assert some.weights is not None and some.weights.tolist() == some.images[:].flatten().tolist()
    dataset = Numbered(10)
    dataset.reading = Reading(weights=str(path))
    assert read(dataset, "test").weights is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones(9), r"has the shape \(9,\) and not \(10,\), one weight for each sample of the train split; write it"),
        (np.ones((10, 1)), r"has the shape \(10, 1\)"),
        (-np.ones(10), r"has -1, and a weight is a number at least 0"),
        (np.full(10, np.nan), r"has nan, and a weight"),
        (np.full(10, np.inf), r"has inf, and a weight"),
        (np.zeros(10), r"has no weight above 0"),
        (np.array(["a"] * 10), r"has no numbers that can be read \(it holds <U1\)"),
        (np.ones(10, complex), r"it holds complex128"),
        (np.array([{}] * 10), r"has no numbers that can be read"),
    ],
)
def test_weights_that_are_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    np.save(tmp_path / "w.npy", values)
    with pytest.raises(ConfigError, match=words) as raised:
        limited(Numbered(10), weights=str(tmp_path / "w.npy"))
    assert str(raised.value).startswith(f"dataset.weights: {tmp_path / 'w.npy'} ") and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"1 2 x", b"\xff\xfe\x00", b"1,2"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    for name in ("w.txt", "w.npy"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=r"^dataset.weights: .* write it anew"):
            limited(Numbered(10), weights=str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"^dataset.weights: there is no file gone.npy; give"):
        limited(Numbered(10), weights="gone.npy")


def test_weights_that_a_limit_leaves_at_nothing(tmp_path: Path) -> None:
    values = np.ones(10)
    values[subset(10, 2)] = 0
    np.save(tmp_path / "w.npy", values)
    with pytest.raises(ConfigError, match=r"has no weight above 0 among the 2 samples of dataset.limit"):
        limited(Numbered(10), weights=str(tmp_path / "w.npy"), limit=2)


# --- resident or not -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    for n in range(12):
        Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(tmp_path / f"{n:02}.png")
    return ImageFolder(str(tmp_path), 4)


def test_small_sets_are_held_and_large_ones_streamed(folder: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(read(folder).images, torch.Tensor)
    monkeypatch.setattr(_reading, "RESIDENT", 12 * 3 * 4 * 4)
    assert isinstance(read(folder).images, torch.Tensor)
    monkeypatch.setattr(_reading, "RESIDENT", 12 * 3 * 4 * 4 - 1)
    assert isinstance(read(folder).images, Pictures)
    assert isinstance(limited(folder, limit=11).images, torch.Tensor), "it is the limited set that counts"
    assert isinstance(limited(folder, resident=True).images, torch.Tensor)
    found = limited(folder, resident=False, workers=3, limit=5).images
    assert isinstance(found, Pictures) and found.workers == 3 and found.shape == (5, 3, 4, 4)


def test_pictures_are_as_a_tensor_of_them(folder: ImageFolder) -> None:
    streamed, resident = limited(folder, resident=False).images, limited(folder, resident=True).images
    assert isinstance(streamed, Pictures) and isinstance(resident, torch.Tensor)
    assert len(streamed) == len(resident) and streamed.shape == tuple(resident.shape)
    for rows in (slice(None), slice(3, 7), slice(None, None, 5), [4, 4, 0], torch.tensor([11, 2]), np.array([1]), []):
        found = streamed[rows]
        assert found.dtype == torch.uint8 and torch.equal(found, resident[rows])
    assert torch.equal(streamed.take([5, 3])[:], resident[[5, 3]])


def test_what_is_read_whole_cannot_be_streamed() -> None:
    with pytest.raises(ConfigError, match=r"^dataset.resident: false is for .* leave dataset.resident at auto$"):
        limited(Digits(8), resident=False)


# --- the keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "ring", "mnist", "npz dataset.path=x.npz"])
def test_every_data_set_takes_them(name: str) -> None:
    words = [*f"dataset={name}".split(), "dataset.limit=100", "dataset.workers=2", "dataset.resident=true"]
    recipe = gantrick.compose([*words, "dataset.weights=w.npy"])
    assert recipe.dataset.create().reading == Reading(100, "w.npy", True, 2)
    assert recipe.resolved["dataset"]["limit"] == 100 and recipe.resolved["dataset"]["weights"] == "w.npy"
    assert gantrick.compose(words[:1] + words[1:-3]).dataset.create().reading == Reading()


def test_values_that_are_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        gantrick.compose(["dataset.limit=1", "dataset.resident=maybe", "dataset.workers=-1", "dataset.size=7"])
    assert len(raised.value.faults) == 4
    said = str(raised.value)
    for words in ("dataset.limit: must be at least 2, not 1", "dataset.resident: must be", "dataset.workers: must be"):
        assert words in said


def test_where_pictures_lie_does_not_make_another_job() -> None:
    first = gantrick.compose([]).hash
    assert gantrick.compose(["dataset.workers=3", "dataset.resident=true"]).hash == first
    assert gantrick.compose(["dataset.limit=100"]).hash != first
