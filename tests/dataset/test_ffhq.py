from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.ffhq import Ffhq
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "ffhq.yaml"
NUMBERS = [0, 1000, 59_999, 60_000, 69_999]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of a thousand; the thumbnails are grey n % 251, the large ones white."""
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    for name, side in (("thumbnails128x128", 128), ("images1024x1024", 256)):
        for n in NUMBERS:
            at = tmp_path / "ffhq" / name / f"{n // 1000 * 1000:05}"
            at.mkdir(parents=True, exist_ok=True)
            value = n % 251 if side == 128 else 255
            Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(at / f"{n:05}.png")
    return tmp_path / "ffhq"


def values(dataset: Ffhq, split: str = "train") -> list[int]:
    found = read(dataset, split)  # type: ignore[arg-type]
    assert found.labels is None, "folders of a thousand are no classes"
    return [int(n) for n in found.images[:][:, 0, 0, 0]]


def test_thumbnails_do_to_their_size(home: Path) -> None:
    assert values(Ffhq(64)) == values(Ffhq(128)) == [n % 251 for n in NUMBERS]
    assert values(Ffhq(129)) == [255] * 5
    assert values(Ffhq(64, path=str(home / "images1024x1024"))) == [255] * 5


def test_official_splits(home: Path) -> None:
    assert values(Ffhq(held_out=True)) == [n % 251 for n in NUMBERS[:3]]
    assert values(Ffhq(held_out=True), "test") == [n % 251 for n in NUMBERS[3:]]
    with pytest.raises(ConfigError, match=r"^dataset.held_out: is false"):
        Ffhq().load("test")
    part = home / "thumbnails128x128" / "00000"
    Image.new("RGB", (128, 128)).save(part / "00001.png")
    with pytest.raises(ConfigError, match=r"has no pictures of the test split; fetch it whole"):
        Ffhq(held_out=True, path=str(part)).load("test")


def test_absent_says_where_it_is_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    with pytest.raises(ConfigError) as raised:
        Ffhq().load()
    assert str(raised.value) == (
        f"dataset ffhq: there is no {tmp_path}/ffhq/thumbnails128x128 or {tmp_path}/ffhq/images1024x1024, folder or "
        ".zip; fetch it from github.com/NVlabs/ffhq-dataset, and put it there, or name it with dataset.path"
    )


def test_shape_and_config() -> None:
    assert Ffhq().data == DataShape((3, 64, 64))
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Ffhq())
