from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.celeba import Celeba
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "celeba.yaml"
NUMBERS = [1, 162_770, 162_771, 182_637, 182_638, 202_599]  # the ends of the official train, valid and test lists


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (218, 178, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    at = tmp_path / "celeba" / "img_align_celeba"
    at.mkdir(parents=True)
    for number in NUMBERS:
        Image.fromarray(pixels(number)).save(at / f"{number:06}.png")
    return at


@pytest.fixture
def zipped(folder: Path) -> Path:
    """As the original: one folder in a zip beside it."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"img_align_celeba/{file.name}")
            file.unlink()
    folder.rmdir()
    return folder.with_suffix(".zip")


def cut(number: int, crop: int, size: int) -> np.ndarray:
    top, left = round((218 - crop) / 2), round((178 - crop) / 2)  # as DCGAN's center_crop
    square = Image.fromarray(pixels(number)[top : top + crop, left : left + crop])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


@pytest.mark.parametrize("place", ["folder", "zipped"])
@pytest.mark.parametrize(("crop", "size"), [(178, 64), (108, 64), (108, 108)])
def test_the_middle_is_cut_and_resized(place: str, crop: int, size: int, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path = request.getfixturevalue(place)
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    wanted = np.stack([cut(number, crop, size) for number in NUMBERS])
    for given in (None, str(path)):
        found = read(Celeba(size, crop, path=given))
        np.testing.assert_array_equal(found.images.numpy(), wanted)  # type: ignore[union-attr]
        assert found.labels is None


def test_official_splits(folder: Path) -> None:
    dataset = Celeba(8, held_out=True, path=str(folder))
    for split, numbers in (("train", NUMBERS[:2]), ("test", NUMBERS[4:])):
        wanted = np.stack([cut(number, 178, 8) for number in numbers])
        np.testing.assert_array_equal(read(dataset, split).images.numpy(), wanted)  # type: ignore[arg-type, union-attr]
    with pytest.raises(ConfigError, match=r"^dataset.held_out: is false, .* set dataset.held_out=true"):
        Celeba(8, path=str(folder)).load("test")
    (folder / "cat.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"has cat.png, and its pictures have numbers for names"):
        dataset.load()


def test_absent_says_where_it_is_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    with pytest.raises(ConfigError) as raised:
        Celeba().load()
    assert str(raised.value) == (
        f"dataset celeba: there is no {tmp_path}/celeba/img_align_celeba, folder or .zip; fetch img_align_celeba.zip "
        "from mmlab.ie.cuhk.edu.hk/projects/CelebA.html, and put it there, or name it with dataset.path"
    )
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        Celeba(path=str(tmp_path / "nowhere")).load()


def test_shape_and_config() -> None:
    assert Celeba().data == DataShape((3, 64, 64))
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Celeba())
