from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrick import registry
from gantrick.dataset._reading import read
from gantrick.dataset.image_folder import ImageFolder
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "image_folder.yaml"


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(folder: Path, name: str, values: np.ndarray, **options: Any) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(folder / name, **options)
    return folder / name


def first(folder: Path, size: int, **options: Any) -> np.ndarray:
    """The picture whose name sorts first; a second one is put beside it."""
    put(folder, "zz.png", pixels(size, size, 3))
    return read(ImageFolder(str(folder), size, **options)).images[0].numpy()


# --- colours: what a mode means, in numpy ----------------------------------------------------------------------------


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha[..., None].astype(np.float64) / 255
    return colour * a + 255 * (1 - a)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def mode_1(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = pixels(s, s, seed=seed) > 127
    return Image.fromarray(values), grey(values * 255.0), "png"


def mode_l(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = pixels(s, s, seed=seed)
    return Image.fromarray(values), grey(values), "bmp"


def mode_la(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = pixels(s, s, 2, seed=seed)
    return Image.fromarray(values, "LA"), over_white(grey(values[..., 0]), values[..., 1]), "png"


def mode_rgb(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = pixels(s, s, 3, seed=seed)
    return Image.fromarray(values), values, "webp"


def mode_rgba(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = pixels(s, s, 4, seed=seed)
    return Image.fromarray(values, "RGBA"), over_white(values[..., :3], values[..., 3]), "png"


def mode_cmyk(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = pixels(s, s, 4, seed=seed)
    ink = 255.0 - values
    return Image.fromarray(values, "CMYK"), ink[..., :3] * ink[..., 3:] / 255, "tif"


def palette(s: int, seed: int) -> tuple[Image.Image, np.ndarray]:
    index, colours = pixels(s, s, seed=seed), pixels(256, 3, seed=seed + 1)
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    return image, colours[index]


def mode_p(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    return *palette(s, seed), "png"


def mode_p_transparent(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    image, wanted = palette(s, seed)
    alpha = pixels(256, seed=seed + 2)
    image.info["transparency"] = alpha.tobytes()
    return image, over_white(wanted, alpha[np.asarray(image)]), "png"


def mode_i16(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = np.random.default_rng(seed).integers(0, 65536, (s, s)).astype(np.uint16)
    return Image.fromarray(values), grey(np.round(values / 65535 * 255)), "png"


def mode_i16_big_endian(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = np.random.default_rng(seed).integers(0, 65536, (s, s))
    image = Image.frombytes("I;16B", (s, s), values.astype(">u2").tobytes())
    return image, grey(np.round(values / 65535 * 255)), "tif"


def mode_i(s: int, seed: int) -> tuple[Image.Image, np.ndarray, str]:
    values = np.random.default_rng(seed).integers(0, 65536, (s, s)).astype(np.int32)
    return Image.fromarray(values), grey(np.round(values / 65535 * 255)), "tif"


MODES: list[Callable[[int, int], tuple[Image.Image, np.ndarray, str]]] = [
    mode_1,
    mode_l,
    mode_la,
    mode_rgb,
    mode_rgba,
    mode_cmyk,
    mode_p,
    mode_p_transparent,
    mode_i16,
    mode_i16_big_endian,
    mode_i,
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(make=st.sampled_from(MODES), size=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_mode_becomes_rgb(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Any], size: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("modes")
    image, wanted, suffix = make(size, seed)
    image.save(folder / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    found = first(folder, size)
    # blending and ink are rounded once by Pillow: less than one level; all else is exact
    bound = 1.0 if make in (mode_la, mode_rgba, mode_p_transparent, mode_cmyk) else 0.0
    assert np.abs(found.transpose(1, 2, 0) - wanted).max() <= bound


@pytest.mark.parametrize("make", MODES)
def test_one_channel_is_the_luma(tmp_path: Path, make: Callable[..., Any]) -> None:
    image, wanted, suffix = make(9, 5)
    image.save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    found = first(tmp_path, 9, channels=1)
    assert found.shape == (1, 9, 9)
    assert np.abs(found[0] - wanted @ [0.299, 0.587, 0.114]).max() <= 1.5  # rounded before and after


# --- geometry --------------------------------------------------------------------------------------------------------


def lanczos(values: np.ndarray, size: int) -> np.ndarray:
    """Rows (n, m) -> (size, m): Lanczos-3 stretched by the scale when shrinking, normalised, to whole levels."""
    n = len(values)
    scale = max(1.0, n / size)
    centers = (np.arange(size) + 0.5) * n / size
    offsets = (np.arange(n) + 0.5 - centers[:, None]) / scale
    weights = np.where(np.abs(offsets) < 3, np.sinc(offsets) * np.sinc(offsets / 3), 0)
    levels: np.ndarray = np.round(weights / weights.sum(axis=1, keepdims=True) @ values)
    return levels.clip(0, 255)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(40, 40, 16), (37, 64, 12), (50, 21, 16), (6, 9, 16), (300, 2, 4)]
)
def test_the_central_square_is_resized_by_lanczos(tmp_path: Path, height: int, width: int, size: int) -> None:
    values = pixels(height, width, 3)
    put(tmp_path, "a.png", values)
    found = first(tmp_path, size)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    for channel in range(3):
        square = values[top : top + side, left : left + side, channel].astype(np.float64)
        wanted = lanczos(lanczos(square.T, size).T, size)  # across, then down, as Pillow goes
        # Pillow's weights have 22 bits, so a value may be rounded the other way in either pass
        assert np.abs(found[channel] - wanted).max() <= 1 and (found[channel] == wanted).mean() > 0.97


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_obeyed(tmp_path: Path, orientation: int, turn: Callable[..., Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = pixels(8, 8, 3)
    put(tmp_path, "a.png", values, exif=exif)
    np.testing.assert_array_equal(first(tmp_path, 8), turn(values).transpose(2, 0, 1))


def test_damaged_exif_is_no_damage(tmp_path: Path) -> None:
    values = pixels(8, 8, 3)
    put(tmp_path, "a.png", values, exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    np.testing.assert_array_equal(first(tmp_path, 8), values.transpose(2, 0, 1))


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), level) for level in (30, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (first(tmp_path, 8) == 30).all()


def test_pictures_that_are_not_square_are_refused_on_request(tmp_path: Path) -> None:
    put(tmp_path, "a.png", pixels(8, 8, 3))
    put(tmp_path, "b.png", pixels(8, 9, 3))
    put(tmp_path, "c.png", pixels(7, 8, 3))
    with pytest.raises(ConfigError) as raised:
        read(ImageFolder(str(tmp_path), 8, crop="error"))
    assert str(raised.value) == (
        f"dataset.crop: error refuses 2 of 3 pictures in {tmp_path}: b.png (9x8), c.png (8x7); "
        "cut them square, or set dataset.crop=center"
    )


# --- folders ---------------------------------------------------------------------------------------------------------


def levels(folder: Path, names: dict[str, int]) -> None:
    for name, level in names.items():
        put(folder, name, np.full((4, 4), level, np.uint8))


def test_subfolders_are_classes(tmp_path: Path) -> None:
    levels(tmp_path, {"dog/2.png": 40, "cat/1.png": 10, "cat/deep/3.PNG": 20, "emu/x.bmp": 50, "dog/.hidden.png": 0})
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    folder = ImageFolder(str(tmp_path), 4)
    assert folder.data == DataShape((3, 4, 4), 3)
    found = read(folder)
    assert found.images[:, 0, 0, 0].tolist() == [10, 20, 40, 50]
    assert found.labels is not None and found.labels.dtype == torch.int64 and found.labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["only/a.png", "only/b.png"], ["a.png", "x/b.png", "y/c.png"]])
def test_no_labels_without_two_folders_that_hold_everything(tmp_path: Path, names: list[str]) -> None:
    levels(tmp_path, {name: 7 for name in names})
    folder = ImageFolder(str(tmp_path), 4, channels=1)
    assert folder.data == DataShape((1, 4, 4)) and read(folder).labels is None
    assert read(folder).images.shape == (len(names), 1, 4, 4)


def test_shape_is_known_from_the_names_alone(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert ImageFolder(str(tmp_path), 64).data == DataShape((3, 64, 64), 2)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    levels(tmp_path / "far", {"a.png": 1, "b.png": 2})
    (tmp_path / "data" / "class0").mkdir(parents=True)
    (tmp_path / "data" / "class0" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "loop").symlink_to(tmp_path / "data")
    assert read(ImageFolder(str(tmp_path / "data"), 4)).images[:, 0, 0, 0].tolist() == [1, 2]


def test_held_out_files_are_the_test_split(tmp_path: Path) -> None:
    levels(tmp_path, {f"{i % 2}/{i:02}.png": 10 * i for i in range(10)})
    folder = ImageFolder(str(tmp_path), 4, held_out=0.3)
    train, test = read(folder), read(folder, "test")
    assert (len(train), len(test)) == (7, 3)
    assert train.labels is not None and test.labels is not None
    values = [*train.images[:, 0, 0, 0].tolist(), *test.images[:, 0, 0, 0].tolist()]
    assert sorted(values) == [10 * i for i in range(10)]
    assert [v // 10 % 2 for v in values] == train.labels.tolist() + test.labels.tolist()
    assert torch.equal(test.images, read(ImageFolder(str(tmp_path), 4, held_out=0.3), "test").images)
    with pytest.raises(ConfigError, match="no test split"):
        read(ImageFolder(str(tmp_path), 4), "test")


# --- what is no good -------------------------------------------------------------------------------------------------


def damaged(folder: Path) -> None:
    """Two sound pictures, and an empty, a truncated and a foreign file, and two whose values have no fixed range."""
    put(folder, "ok1.png", pixels(32, 32, 3))
    put(folder, "ok2.png", pixels(32, 32, 3))
    (folder / "empty.png").touch()
    buffer = io.BytesIO()
    Image.fromarray(pixels(32, 32, 3)).save(buffer, "JPEG")
    (folder / "half.jpg").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    (folder / "text.gif").write_text("no picture")
    put(folder, "float.tif", np.ones((4, 4), np.float32))
    put(folder, "wide.tif", np.full((4, 4), 70_000, np.int32))


def test_all_damaged_files_are_named_at_once(tmp_path: Path) -> None:
    damaged(tmp_path)
    put(tmp_path, "oblong.png", pixels(4, 5, 3))
    with pytest.raises(ConfigError) as raised:
        read(ImageFolder(str(tmp_path), 8, crop="error"))
    unreadable, oblong = raised.value.faults
    assert unreadable.startswith(
        f"dataset.path: cannot read 5 of 8 pictures in {tmp_path}: empty.png (not a picture), "
    )
    for words in (
        "half.jpg (image file is truncated",
        "text.gif (not a picture)",
        "float.tif (has floating-point values)",
    ):
        assert words in unreadable
    assert "wide.tif (has values beyond 16 bits)" in unreadable and unreadable.endswith("set dataset.skip_corrupt=true")
    assert "ok1" not in unreadable and "oblong.png (5x4)" in oblong


def test_ten_names_and_a_count(tmp_path: Path) -> None:
    for i in range(25):
        (tmp_path / f"{i:02}.png").touch()
    with pytest.raises(ConfigError) as raised:
        read(ImageFolder(str(tmp_path), 8))
    said = str(raised.value)
    assert "cannot read 25 of 25" in said and "09.png (not a picture) and 15 more;" in said and "10.png" not in said


def test_damaged_files_are_left_out_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged(tmp_path / "a")
    put(tmp_path, "b/c.png", pixels(32, 32, 3))
    with caplog.at_level(logging.WARNING, "gantrick"):
        found = read(ImageFolder(str(tmp_path), 8, skip_corrupt=True))
    assert found.images.shape == (3, 3, 8, 8) and found.labels is not None and found.labels.tolist() == [0, 0, 1]
    assert "left out 5 of 8 pictures" in caplog.text
    for name in ("a/ok1.png", "a/ok2.png", "b/c.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"none of the 8 pictures in .* can be read"):
        read(ImageFolder(str(tmp_path), 8, skip_corrupt=True))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"]),
    keep=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
)
def test_no_damage_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, keep: float, flips: list[tuple[float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    buffer = io.BytesIO()
    Image.fromarray(pixels(20, 20, 3)).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    content = bytearray(buffer.getvalue())
    for where, change in flips:
        content[int(where * (len(content) - 1))] ^= change
    (folder / f"a.{kind}").write_bytes(content[: int(keep * len(content))])
    put(folder, "z.png", pixels(8, 8, 3))
    try:
        assert len(read(ImageFolder(str(folder), 8))) == 2
    except ConfigError as error:
        assert f"cannot read 1 of 2 pictures in {folder}: a.{kind} (" in str(error)


def test_folders_that_are_no_good(tmp_path: Path) -> None:
    file = put(tmp_path, "one/a.png", pixels(4, 4, 3))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").touch()
    for path, words in (
        (tmp_path / "gone", "does not exist; give a folder of pictures"),
        (file, "is a file and neither a folder nor a zip; give a folder"),
        (tmp_path / "none", r"holds no pictures \(\.png, .*\), and a GAN needs at least two"),
        (tmp_path / "one", "holds only one picture"),
    ):
        for act in (lambda d: d.data, lambda d: read(d)):
            with pytest.raises(ConfigError, match=f"dataset.path: {path} {words}"):
                act(ImageFolder(str(path), 8))


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("b"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # a mode of 0 would not stop root
    with pytest.raises(ConfigError, match=r"b cannot be listed \(Permission denied\); make it readable"):
        _ = ImageFolder(str(tmp_path), 4).data


def test_the_config_names_every_setting_with_its_default() -> None:
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert (config.pop("path"), config.pop("size")) == ("???", "???")  # to be given
    made = registry.create("dataset", config.pop("name"), {**config, "path": "x", "size": 64})
    assert set(config) == {"channels", "crop", "held_out", "skip_corrupt", "flip"}
    assert vars(made) == vars(ImageFolder("x", 64))
