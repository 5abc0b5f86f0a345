"""Pictures of any format below a folder or in a zip file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gantrick.types import ConfigError, Dataset, DataShape, Pictures, listed

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


class Oblong(Exception):
    """A picture that is not square, where only square ones are wanted; the text is its size."""


class Files(Pictures):
    """Pictures by their names below `path`, a folder or a zip: uint8 (N, channels, size, size).

    Pillow's antialiased Lanczos filter resizes. EXIF orientation is obeyed; palettes, grey, CMYK and 16 bits become RGB
    of 8 bits, transparency becomes white, an animation its first frame; `channels` 1 takes the luma. `crop`: "center"
    takes the largest square in the middle, "error" refuses what is not square, a number takes a square of so many
    pixels.
    """

    def __init__(
        self,
        path: Path,
        names: list[str],
        size: int,
        channels: int = 3,
        crop: Literal["center", "error"] | int = "center",
        remedy: str = "mend or remove them",
        label: str = "dataset.path",
    ):
        super().__init__((channels, size, size), len(names))
        self.path, self.crop, self.remedy, self.label = path, crop, remedy, label
        self.zipped = None if path.is_dir() else path.stat().st_mtime_ns
        # in one block: a list's counters of references would have every process copy it, page by page
        self.names = np.array([name.encode("utf-8", "surrogateescape") for name in names])

    def decode(self, number: int) -> np.ndarray:
        with self._opened(self.names[number].decode("utf-8", "surrogateescape")) as file:
            try:
                with Image.open(file) as image:
                    picture = rgb(image)
            except UnidentifiedImageError as error:
                raise ValueError("not a picture") from error
        if self.crop == "error" and picture.width != picture.height:
            raise Oblong(f"{picture.width}x{picture.height}")
        return fit(picture, *self.shape_of_one[:2], self.crop if isinstance(self.crop, int) else None)

    def _opened(self, name: str) -> BinaryIO:
        if self.zipped is None:
            return open(self.path / name, "rb")
        return cast(BinaryIO, _archive(self.path, os.getpid(), self.zipped).open(name))

    def name(self, number: int) -> str:
        """As it can be printed in a line."""
        name = self.names[number].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "�" for c in name)

    def refusal(self, faults: Mapping[int, Exception], of: int) -> ConfigError:
        oblong = {number: error for number, error in faults.items() if isinstance(error, Oblong)}
        unreadable = {number: error for number, error in faults.items() if number not in oblong}
        said = []
        if unreadable:
            said.append(f"{self.label}: cannot read {self.listed(unreadable, of)}; {self.remedy}")
        if oblong:
            said.append(
                f"dataset.crop: error refuses {self.listed(oblong, of)}; cut them square, or set dataset.crop=center"
            )
        return ConfigError(*said)

    def listed(self, faults: Mapping[int, Exception], of: int) -> str:
        count, _, rest = listed(self, faults, of).partition(": ")
        return f"{count} in {self.path}: {rest}"


def like(dataset: Dataset, data: DataShape, path: Path, label: str) -> Files:
    """The pictures below a folder or in a zip, cut and resized to the shape of `data` as a data set's own are.

    The data set is not looked at, as it may be gone. label: what a message calls the path. Raises ConfigError where
    there are no pictures, and where the shape is no square.
    """
    if not data.is_image or data.shape[1] != data.shape[2]:
        what = f"images of {data.shape[1]}×{data.shape[2]} pixels" if data.is_image else "points"
        raise ConfigError(
            f"{label}: pictures are made square, and the run's data are {what}; nothing can be shown to it"
        )
    channels, size, _ = data.shape
    crop = getattr(dataset, "crop", "center")
    return Files(path, find(path, label, 1), size, channels, crop if isinstance(crop, int) else "center", label=label)


def find(path: Path, label: str = "dataset.path", least: Literal[1, 2] = 2) -> list[str]:
    """Names of all pictures below a folder or in a zip, sorted. Raises ConfigError for fewer than `least`."""
    if path.is_dir():
        names = sorted(_in_folder(path))
    elif path.is_file() and zipfile.is_zipfile(path):
        names = sorted(_in_zip(path))
    else:
        state = "is a file and neither a folder nor a zip" if path.exists() else "does not exist"
        raise ConfigError(f"{label}: {path} {state}; give a folder of pictures, or a zip of them")
    if len(names) < least:
        number = "only one picture" if names else "no pictures"
        why = ", and a GAN needs at least two" if least == 2 else ""
        raise ConfigError(
            f"{label}: {path} holds {number} ({', '.join(SUFFIXES)}){why}; add some, or give another folder"
        )
    return names


def classes(names: list[str], path: Path) -> tuple[list[str], np.ndarray | None]:
    """The names of the classes and the class of each picture: the first folder on its way, where all have one of two.

    Folders that hold everything, as zips often have one, are passed by in a zip.
    """
    parts = [name.split("/")[:-1] for name in names]
    depth = 0 if path.is_dir() else len(os.path.commonprefix(parts))  # noqa: RUF071  (of lists it is what is meant)
    folders = [folders[depth] if len(folders) > depth else "" for folders in parts]
    found = sorted(set(folders))
    if "" in found or len(found) < 2:
        return [], None
    return found, np.searchsorted(found, folders)


def numbers(who: str, path: Path, names: list[str]) -> np.ndarray:
    """The number that each picture's name is. Raises ConfigError where one is none."""
    stems = [name.rpartition("/")[2].partition(".")[0] for name in names]
    strange = [name for name, stem in zip(names, stems, strict=True) if not (stem.isascii() and stem.isdecimal())]
    if strange:
        raise ConfigError(
            f"dataset {who}: {path} has {strange[0]}, and its pictures have numbers for names; remove what is not of it"
        )
    return np.array([int(stem) for stem in stems])


def fit(picture: Image.Image, channels: int, size: int, side: int | None = None) -> np.ndarray:
    """The square in the middle, of `side` pixels or as large as can be, resized: uint8 (channels, size, size)."""
    side = side or min(picture.size)
    if side > min(picture.size):
        raise ValueError(f"is {picture.width}x{picture.height}, too small for a square of {side}")
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))  # first, so that a sliver is never blown up
    small = square.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS)
    return np.moveaxis(np.asarray(small).reshape(size, size, channels), -1, 0)


def _shown(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _in_folder(folder: Path) -> Iterator[str]:
    """Paths relative to the folder, hidden ones left out; links are followed, each folder once."""
    seen = set()

    def refuse(error: OSError) -> None:
        raise ConfigError(
            f"dataset.path: {error.filename} cannot be listed ({error.strerror}); make it readable"
        ) from error

    for where, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in files:
            if _shown(name):
                yield (Path(where) / name).relative_to(folder).as_posix()


def _in_zip(path: Path) -> Iterator[str]:
    try:
        names = _archive(path, os.getpid(), path.stat().st_mtime_ns).namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ConfigError(f"dataset.path: {path} is not a sound zip ({reason}); write it anew") from error
    for name in dict.fromkeys(names):
        *folders, last = name.split("/")
        if _shown(last) and not any(folder.startswith((".", "__MACOSX")) for folder in folders):
            yield name


@lru_cache(maxsize=4)
def _archive(path: Path, process: int, written: int) -> zipfile.ZipFile:
    """An open zip, of its own in every process: they would move one another's place in the file."""
    return zipfile.ZipFile(path)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF in a sound picture says nothing
        return image


def rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB, upright. Raises ValueError where the mode does not say what white is."""
    image = _upright(image)
    if image.mode.startswith("I"):  # 16 bits, sometimes held in 32; Pillow itself would cut at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("has values beyond 16 bits")
        return Image.fromarray(((2 * values + 257) // 514).astype(np.uint8)).convert("RGB")  # round(v / 257)
    if image.mode == "F":
        raise ValueError("has floating-point values")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
