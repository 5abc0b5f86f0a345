"""Image files of every kind, sound and damaged, in folders and zips: they load, or one sentence names the file."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gantrick.dataset._files import SUFFIXES
from gantrick.dataset._reading import read
from gantrick.dataset.image_folder import ImageFolder
from gantrick.types import ConfigError, Reading

EXAMPLES = int(os.environ.get("GANTRICK_EXAMPLES", "150"))  # 2000 once, by hand

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV",
         "I", "F", "I;16", "I;16B", "I;16L")  # fmt: skip
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tiff", "WEBP": ".webp", "PPM": ".ppm"}
BYTES = {"1": 1, "L": 1, "P": 1, "LA": 2, "La": 2, "PA": 2, "RGB": 3, "YCbCr": 3, "LAB": 3, "HSV": 3, "I;16": 2,
         "I;16B": 2, "I;16L": 2}  # fmt: skip


def encoded(mode: str, size: tuple[int, int], kind: str, seed: int) -> bytes | None:
    """Noise in a mode and format; None where the format does not take the mode."""
    stream = np.random.default_rng(seed)
    width, height = size
    row = (width + 7) // 8 if mode == "1" else width * BYTES.get(mode, 4)
    try:
        image = Image.frombytes(mode, size, stream.bytes(row * height))
        if mode in ("P", "PA"):
            image.putpalette(stream.bytes(768))
        buffer = io.BytesIO()
        image.save(buffer, kind)
        return buffer.getvalue()
    except (OSError, ValueError, KeyError, SystemError):
        return None


@st.composite
def contents(draw: st.DrawFn) -> tuple[bytes, str, bool]:
    """The bytes of a file, its suffix, and whether it is sound and of a mode whose meaning is plain."""
    kind = draw(st.sampled_from(sorted(FORMATS)))
    suffix = FORMATS[kind]
    how = draw(st.sampled_from(["sound"] * 4 + ["cut", "flipped", "garbage", "empty", "misnamed", "text"]))
    if how == "empty":
        return b"", suffix, False
    if how == "garbage":
        return draw(st.binary(min_size=1, max_size=200)), draw(st.sampled_from(SUFFIXES)), False
    if how == "text":
        return b"<svg xmlns='http://www.w3.org/2000/svg'/>", suffix, False
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    mode = draw(st.sampled_from(MODES))
    data = encoded(mode, size, kind, draw(st.integers(0, 999)))
    if data is None:
        data = encoded("RGB", size, kind, 0)
        assert data is not None
    if how == "cut":
        return data[: draw(st.integers(0, len(data) - 1))], suffix, False
    if how == "flipped":
        broken = bytearray(data)
        for _ in range(draw(st.integers(1, 6))):
            broken[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        return bytes(broken), suffix, False
    if how == "misnamed":  # what a file is says its content
        suffix = draw(st.sampled_from(SUFFIXES))
    return data, suffix, mode not in ("F", "I", "LAB")


ODD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0\\"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(".") and name.strip(". ") and not name.startswith("__MACOSX")
)


def sentences(error: ConfigError, names: list[str]) -> None:
    """One line a fault, which names a file that is there."""
    assert error.faults
    for fault in error.faults:
        assert "\n" not in fault and "\r" not in fault and fault.startswith("dataset.")
        assert "Traceback" not in fault and "; " in fault
    shown = ["".join(c if c.isprintable() else "�" for c in name) for name in names]
    assert any(name in fault for name in shown for fault in error.faults)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    files=st.lists(st.tuples(st.lists(ODD, max_size=3), ODD, contents()), min_size=2, max_size=5),
    zipped=st.booleans(),
    size=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    resident=st.booleans(),
)
def test_files_load_or_are_named(
    files: list[tuple[list[str], str, tuple[bytes, str, bool]]], zipped: bool, size: int, channels: int, resident: bool
) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        names = {"/".join([*folders, f"{n}{stem}{suffix}"]): (data, sound)
                 for n, (folders, stem, (data, suffix, sound)) in enumerate(files)}  # fmt: skip
        path = home / "pictures"
        if zipped:
            path = home / "pictures.zip"
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, (data, _) in names.items():
                    archive.writestr(name, data)
        else:
            for name, (data, _) in names.items():
                try:
                    (path / name).parent.mkdir(parents=True, exist_ok=True)
                    (path / name).write_bytes(data)
                except OSError:  # a name too long, or a file where another has a folder
                    return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damage that it read around
            dataset = ImageFolder(str(path), size, channels)  # type: ignore[arg-type]
            dataset.reading = Reading(resident=resident)
            try:
                images = read(dataset).images[:]
            except ConfigError as error:
                sentences(error, list(names))
                found = re.match(r"dataset.path: cannot read (\d+) of (\d+) pictures in ", error.faults[0])
                assert found is not None and int(found[2]) == len(names)
                assert int(found[1]) <= sum(not sound for _, sound in names.values()), "a sound picture is refused"
                return
        assert images.shape == (len(names), channels, size, size) and images.dtype == torch.uint8
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_which_modes_are_taken(tmp_path: Path) -> None:
    """All that a format can hold, but for what has no fixed white: floats, and whole numbers beyond 16 bits."""
    taken, refused = set(), set()
    for kind, suffix in FORMATS.items():
        for mode in MODES:
            data = encoded(mode, (9, 7), kind, 1)
            if data is None:
                continue
            folder = tmp_path / f"{kind} {mode.replace(';', ' ')}"
            folder.mkdir()
            for n in range(2):
                (folder / f"{n}{suffix}").write_bytes(data)
            try:
                assert read(ImageFolder(str(folder), 5)).images.shape == (2, 3, 5, 5)
                taken.add((mode, kind))
            except ConfigError as error:
                assert f"cannot read 2 of 2 pictures in {folder}: 0{suffix} (" in str(error)
                refused.add((mode, kind))
    assert refused - {("LAB", "TIFF")} == {
        ("F", "TIFF"),
        ("F", "PPM"),
        ("I", "TIFF"),
    }  # Pillow has learnt LAB in our time
    assert {mode for mode, _ in taken} >= {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B"}
    assert {kind for _, kind in taken} == set(FORMATS)


# --- zips ------------------------------------------------------------------------------------------------------------


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path: Path, names: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_as_the_folder_in_it(tmp_path: Path, method: int) -> None:
    names = {"b/2.png": 2, "a/1.png": 1, "b/sub/3.png": 3, ".hidden/4.png": 4, "__MACOSX/a/._1.png": 5, "a/x.txt": 6}
    for name, level in names.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(png(level))
    folder = read(ImageFolder(str(tmp_path / "f"), 4))
    found = read(ImageFolder(str(packed(tmp_path / "f.zip", {n: png(v) for n, v in names.items()}, method)), 4))
    assert torch.equal(found.images[:], folder.images[:]) and torch.equal(found.labels, folder.labels)  # type: ignore[arg-type]
    assert found.images[:][:, 0, 0, 0].tolist() == [1, 2, 3] and found.labels.tolist() == [0, 1, 1]  # type: ignore[union-attr]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "f.zip"], "nothing is unpacked"


def test_a_folder_that_holds_everything_is_no_class(tmp_path: Path) -> None:
    wrapped = packed(tmp_path / "w.zip", {f"photos/{c}/{n}.png": png(n) for n, c in enumerate("ab")})
    assert ImageFolder(str(wrapped), 4).data.classes == 2
    flat = packed(tmp_path / "flat.zip", {f"photos/{n}.png": png(n) for n in range(2)})
    assert ImageFolder(str(flat), 4).data.classes is None


def test_zips_that_are_no_good(tmp_path: Path) -> None:
    whole = packed(tmp_path / "whole.zip", {f"{n}.png": png(n) for n in range(3)}).read_bytes()
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.zip").touch()
    for name in ("text", "cut", "empty"):
        with pytest.raises(ConfigError, match=rf"^dataset.path: .*{name}.zip is a file and neither a folder nor a zip"):
            _ = ImageFolder(str(tmp_path / f"{name}.zip"), 4).data
    with pytest.raises(ConfigError, match=r"holds only one picture"):
        _ = ImageFolder(str(packed(tmp_path / "one.zip", {"a.png": png(1)})), 4).data
    broken = bytearray(whole)
    broken[60] ^= 255  # in the first picture's bytes: its checksum no longer fits
    (tmp_path / "broken.zip").write_bytes(broken)
    with pytest.raises(ConfigError, match=r"^dataset.path: cannot read 1 of 3 pictures in .*broken.zip: 0.png \("):
        read(ImageFolder(str(tmp_path / "broken.zip"), 4))
    locked = bytearray(whole)
    for at in [i for i in range(len(locked)) if locked[i : i + 4] in (b"PK\x03\x04", b"PK\x01\x02")]:
        locked[at + (6 if locked[at + 2] == 3 else 8)] |= 1  # the flag that says encrypted
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(ConfigError, match=r"cannot read 3 of 3 pictures in .*password required"):
        read(ImageFolder(str(tmp_path / "locked.zip"), 4))
