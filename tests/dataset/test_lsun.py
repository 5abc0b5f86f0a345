from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.lsun import Lsun
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "lsun.yaml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `data.py export` leaves them: folders by the first letters of a name, WebP under the name .webp."""
    monkeypatch.setenv("GANTRICK_DATA", str(tmp_path))
    for name, levels in (("church_train", [10, 20, 30]), ("church_val", [40, 50])):
        for n, level in enumerate(levels):
            at = tmp_path / "lsun" / name / "abc"[n] / "0"
            at.mkdir(parents=True)
            Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(at / f"{n}f3a.webp", lossless=True)
    return tmp_path / "lsun"


def test_reads_a_category(home: Path) -> None:
    for split, levels in (("train", [10, 20, 30]), ("test", [40, 50])):
        found = read(Lsun("church", 16), split)  # type: ignore[arg-type]
        assert found.labels is None and found.images.shape == (len(levels), 3, 16, 16)
        assert [int(n) for n in found.images[:][:, 0, 8, 8]] == levels
    assert len(Lsun("bedroom", path=str(home / "church_train")).load()) == 3


def test_absent_says_where_it_is_from(home: Path) -> None:
    for split, part in (("train", "train"), ("test", "val")):
        with pytest.raises(ConfigError) as raised:
            Lsun("bedroom").load(split)  # type: ignore[arg-type]
        assert str(raised.value) == (
            f"dataset lsun: there is no {home}/bedroom_{part}, folder or .zip; fetch its LMDB from github.com/fyu/lsun, "
            "export the pictures with its data.py, and put it there, or name it with dataset.path"
        )


def test_shape_and_config() -> None:
    assert Lsun().data == DataShape((3, 64, 64))
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert vars(registry.create("dataset", config.pop("name"), config)) == vars(Lsun())
