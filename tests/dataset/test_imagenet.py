from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.imagenet import Imagenet
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "imagenet.yaml"
TRAIN = {"n02/n02_1.JPEG": 10, "n01/n01_9.JPEG": 20, "n03/n03_2.JPEG": 30, "n01/n01_3.JPEG": 40}
VAL = {"n03/ILSVRC2012_val_1.JPEG": 50, "n01/ILSVRC2012_val_2.JPEG": 60}


def put(folder: Path, pictures: dict[str, int]) -> None:
    for name, level in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 24, 3), level, np.uint8)).save(folder / name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    put(tmp_path / "imagenet" / "train", TRAIN)
    put(tmp_path / "imagenet" / "val", VAL)
    return tmp_path / "imagenet"


@pytest.mark.parametrize("zipped", [False, True])
def test_class_folders_are_numbered_by_name(home: Path, zipped: bool) -> None:
    """Of folders and of zips with or without a folder that holds everything; val has the numbers of train."""
    if zipped:
        for part, inside in (("train", "train/"), ("val", "")):
            with zipfile.ZipFile(home / f"{part}.zip", "w") as archive:
                for file in (home / part).rglob("*.JPEG"):
                    archive.write(file, inside + file.relative_to(home / part).as_posix())
            (home / part).rename(home.parent / part)
    for dataset in (Imagenet(8), Imagenet(8, path=str(home))):
        assert dataset.data == DataShape((3, 8, 8), 3)
        for split, levels, labels in (("train", [40, 20, 10, 30], [0, 0, 1, 2]), ("test", [60, 50], [0, 2])):
            found = read(dataset, split)  # type: ignore[arg-type]
            assert [int(n) for n in found.images[:][:, 0, 4, 4]] == levels
            assert found.labels is not None and found.labels.tolist() == labels


def test_what_is_not_sorted_is_told(home: Path) -> None:
    put(home / "val", {"n99/x.JPEG": 1})
    with pytest.raises(ConfigError, match=r"val has a class n99 that train has not; remove it"):
        Imagenet().load("test")
    put(home / "val", {"flat.JPEG": 1})
    with pytest.raises(ConfigError, match=r"val do not lie in class folders; put them into one for each"):
        Imagenet().load("test")


def test_absent_says_where_it_is_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    with pytest.raises(ConfigError) as raised:
        Imagenet().load()
    assert str(raised.value) == (
        f"dataset imagenet: there is no {tmp_path}/imagenet/train, folder or .zip; fetch ILSVRC2012 from image-net.org "
        "and put it there with a folder for each class, or name what holds train and val with dataset.path"
    )


def test_shape_and_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    assert Imagenet().data == DataShape((3, 64, 64), 1000)
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Imagenet())
