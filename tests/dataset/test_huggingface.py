from __future__ import annotations

import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.huggingface import Huggingface
from gantrick.feed import Feed
from gantrick.types import ConfigError, DataShape, Pictures, Reading

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "huggingface.yaml"


def table(levels: list[int], side: int = 6) -> datasets.Dataset:
    """Pictures of one grey each, and their labels 0, 1, 2, 0, …"""
    rows = {
        "image": [Image.fromarray(np.full((side, side + 2, 3), n, np.uint8)) for n in levels],
        "label": [n % 3 for n in range(len(levels))],
        "words": [str(n) for n in levels],
    }
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(3), "words": datasets.Value("string")}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def path(tmp_path: Path) -> str:
    splits = {"train": table([10, 20, 30, 40]), "test": table([50, 60])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "both"))
    return str(tmp_path / "both")


def test_reads_columns(path: str) -> None:
    dataset = Huggingface(path, 4)
    assert dataset.data == DataShape((3, 4, 4), 3)
    for split, levels, labels in (("train", [10, 20, 30, 40], [0, 1, 2, 0]), ("test", [50, 60], [0, 1])):
        found = read(dataset, split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            found.images[:].numpy(), np.ones((1, 3, 4, 4)) * np.array(levels)[:, None, None, None]
        )
        assert found.labels is not None and found.labels.tolist() == labels and found.labels.dtype == torch.int64
    assert Huggingface(path, 4, label=None).load().labels is None
    assert Huggingface(path, 4, channels=1).load().images.shape == (4, 1, 4, 4)


def test_one_split_on_disk(tmp_path: Path) -> None:
    table([1, 2, 3]).save_to_disk(str(tmp_path / "one"))
    assert len(Huggingface(str(tmp_path / "one"), 4).load()) == 3


def test_other_names_of_columns(tmp_path: Path) -> None:
    table([1, 2]).rename_columns({"image": "img", "label": "kind"}).save_to_disk(str(tmp_path / "t"))
    found = Huggingface(str(tmp_path / "t"), 4, image="img", label="kind").load()
    assert found.labels is not None and found.labels.tolist() == [0, 1]
    assert Huggingface(str(tmp_path / "t"), 4, image="img").load().labels is None, "no column of the default name"


def test_load_dataset_is_asked_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*arguments: object, **options: object) -> datasets.Dataset:
        asked.append((*arguments, options))
        return table([1, 2])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    dataset = Huggingface("someone/pictures", 4, config="small", split="train[:1%]", test_split="valid")
    dataset.load()
    dataset.load("test")
    assert asked == [("someone/pictures", "small", {"split": s}) for s in ("train[:1%]", "valid")]


def test_streamed_batches_are_those_of_memory(path: str) -> None:
    dataset = Huggingface(path, 4)
    feeds = []
    for resident in (True, False):
        dataset.reading = Reading(resident=resident, workers=2)
        samples = read(dataset)
        assert isinstance(samples.images, Pictures) != resident
        feeds.append(Feed(samples, torch.device("cpu"), 3))
    try:
        for _ in range(5):
            a, b = (feed.next(3) for feed in feeds)
            assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)  # type: ignore[arg-type]
    finally:
        feeds[1].close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "picture"}, r"^dataset.image: .* has no column 'picture'; there are image, label, words$"),
        ({"label": "kind"}, r"^dataset.label: .* has no column 'kind'; name one of image, label, words, or null$"),
        ({"label": "words"}, r"^dataset.label: words of .* is not whole numbers from 0; name another column, or null$"),
        ({"split": "dev"}, r"^dataset.path: .* cannot be had, dev \(it has no split dev, but train, test\); check"),
    ],
)
def test_what_is_refused(path: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Huggingface(path, 4, **options).load()  # type: ignore[arg-type]


def test_a_column_of_something_else_is_told_by_row(path: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot read 4 of 4 pictures: row 0 of .*, train \(not a picture but str\)"):
        read(Huggingface(path, 4, image="words"))


def test_no_test_split(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^dataset.test_split: is null, .* name one, or use the train split"):
        Huggingface(path, 4, test_split=None).load("test")


def test_what_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach\nthe Hub.")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConfigError, match=r"^dataset.path: a/b cannot be had, train \(Couldn't reach the Hub\); check"):
        _ = Huggingface("a/b", 4).data


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError) as raised:
        Huggingface("a/b", 4).load()
    assert str(raised.value) == (
        'dataset huggingface: needs the package datasets, which is not installed; pip install "gantrick[huggingface]"'
    )


def test_the_config_names_every_setting_with_its_default() -> None:
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert (config.pop("path"), config.pop("size")) == ("???", "???")  # to be given
    made = registry.create("dataset", config.pop("name"), {**config, "path": "x", "size": 64})
    assert vars(made) == vars(Huggingface("x", 64))
