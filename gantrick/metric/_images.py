"""A set of images on disk, read once, in batches of decoded pixels: a folder, a zip, or an .npz of an array.

Files are read as pytorch-fid reads them: those that lie in the folder itself, made RGB by Pillow, at their own size.
Nothing is resized here, EXIF orientation and transparency are unheeded, and what Pillow would get wrong is refused.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gantrick.dataset._arrays import Layout, layout
from gantrick.types import ConfigError

SUFFIXES = (".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
ARRAYS = ("samples", "images", "arr_0")
AHEAD = 2  # batches decoded while one is computed with
NAMED = 5  # files named in one message


class Images(ABC):
    """`count` images. Once they were read, `sizes` counts each (height, width), `transparent` names those with alpha.

    files: (name, bytes, time of the last change in ns) of each file: what says that a set is still the same.
    """

    def __init__(self, path: Path, files: list[tuple[str, int, int]], count: int):
        self.path, self.files, self.count = path, files, count
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.transparent: list[str] = []
        self.left_out = 0
        if count < 2:
            what = f"holds {count or 'no'} image{'s' * (count == 0)} ({', '.join(SUFFIXES)})"
            raise ConfigError(f"{path}: {what}, and a covariance needs two at least; give more")

    @abstractmethod
    def decoded(self, size: int) -> Iterator[list[Tensor]]:
        """Images uint8 (C, H, W), `size` at a time. Raises ConfigError naming those that are no good."""

    def batches(self, size: int) -> Iterator[list[Tensor]]:
        """About `size` images at a time as uint8 (B, C, H, W), one tensor for each of their sizes; decoded ahead."""
        reading = iter(self.decoded(size))
        pool = ThreadPoolExecutor(1)
        try:
            waiting = deque(pool.submit(next, reading, None) for _ in range(AHEAD))
            while (images := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(next, reading, None))
                found: dict[torch.Size, list[Tensor]] = {}
                for image in images:
                    found.setdefault(image.shape, []).append(image)
                    self.sizes[image.shape[1], image.shape[2]] += 1
                yield [torch.stack(alike) for alike in found.values()]
        finally:
            pool.shutdown(cancel_futures=True)


class Files(Images):
    """Pictures by their names in a folder or a zip."""

    def __init__(self, path: Path):
        self.path = path
        self.archive = None if path.is_dir() else zipfile.ZipFile(path)
        names, left_out = _in_folder(path) if self.archive is None else (_in_zip(self.archive), 0)
        super().__init__(path, [(name, *self._state(name)) for name in names], len(names))
        self.left_out = left_out

    def decoded(self, size: int) -> Iterator[list[Tensor]]:
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            for start in range(0, self.count, size):
                names = [name for name, *_ in self.files[start : start + size]]
                found = list(pool.map(self._attempt, names))
                pairs = zip(names, found, strict=True)
                faults = [f"{name} ({_reason(e)})" for name, e in pairs if isinstance(e, Exception)]
                if faults:
                    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
                    raise ConfigError(f"{self.path}: cannot use {', '.join(faults[:NAMED])}{more}; mend or remove them")
                yield [image for image in found if isinstance(image, Tensor)]

    def _state(self, name: str) -> tuple[int, int]:
        if self.archive is not None:
            member = self.archive.getinfo(name)
            return member.file_size, member.CRC
        state = (self.path / name).stat()
        return state.st_size, state.st_mtime_ns

    def _attempt(self, name: str) -> Tensor | Exception:
        try:
            data = (self.path / name).read_bytes() if self.archive is None else self.archive.read(name)
            with Image.open(BytesIO(data)) as image:
                image.load()
                if image.mode.startswith(("I", "F")):  # Pillow's RGB cuts them at 255
                    raise ValueError(f"has more than 8 bits, Pillow's mode {image.mode}; store it with 8")
                if image.has_transparency_data:
                    self.transparent.append(name)
                    image.info.pop("transparency", None)  # unheeded below all the same, but warned of
                return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        except UnidentifiedImageError:
            return ValueError("not a picture")
        except Exception as error:  # Pillow's decoders raise whatever their formats do
            return error


class Array(Images):
    """The array of an .npz, uint8 (N, H, W, C), (N, C, H, W) or (N, H, W) with C 1 or 3; never all of it in memory."""

    def __init__(self, path: Path, members: list[str]):
        self.key = next((key for key in ARRAYS if f"{key}.npy" in members), "")
        if not self.key:
            there = ", ".join(member.removesuffix(".npy") for member in members)
            raise ConfigError(
                f"{path}: has neither images ({', '.join(ARRAYS)}) nor statistics (mu and sigma), but {there}; "
                "rename one of them"
            )
        self.layout = _layout(path, self.key)
        state = path.stat()
        super().__init__(path, [(self.key, state.st_size, state.st_mtime_ns)], self.layout.samples)

    def decoded(self, size: int) -> Iterator[list[Tensor]]:
        count, (channels, height, width), last = self.layout
        shape = (height, width, channels) if last else (channels, height, width)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                if read(file)[1]:
                    raise ValueError("it is in Fortran's order")
                for start in range(0, count, size):
                    rows = min(size, count - start)
                    data = file.read(rows * channels * height * width)
                    batch = torch.from_numpy(np.frombuffer(data, np.uint8).reshape(rows, *shape).copy())
                    yield list(batch.permute(0, 3, 1, 2) if last else batch)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ConfigError(f"{self.path}: {self.key} cannot be read ({_reason(error)}); write it anew") from error


def members(path: Path) -> list[str]:
    """The names in a zip, or none where `path` is a folder. Raises ConfigError where it is neither."""
    if path.is_dir():
        return []
    if not path.exists():
        raise ConfigError(
            f"{path}: does not exist; give a folder or a zip of images, or an .npz of images or statistics"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path}: is neither a folder nor a sound .zip or .npz ({_reason(error)}); write it anew"
        ) from error


def images(path: Path) -> Images:
    """The set at `path`. Raises ConfigError where there is none, or less than two images."""
    inside = members(path)
    return Array(path, inside) if any(name.endswith(".npy") for name in inside) else Files(path)


def _in_folder(folder: Path) -> tuple[list[str], int]:
    """Those in the folder itself, or where there are none, those below it; and how many below it are left out."""
    found: list[str] = []
    below: list[str] = []
    for where, _, names in os.walk(folder):
        here = found if where == str(folder) else below
        here.extend((Path(where) / name).relative_to(folder).as_posix() for name in names if _shown(name))
    return (sorted(found), len(below)) if found else (sorted(below), 0)


def _in_zip(archive: zipfile.ZipFile) -> list[str]:
    names = (name for name in archive.namelist() if not name.startswith("__MACOSX"))
    return sorted({name for name in names if _shown(name.rpartition("/")[2])})


def _shown(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _layout(path: Path, key: str) -> Any:
    try:
        found: Layout = layout(path, key)
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {_plain(fault, path)}" for fault in error.faults)) from error
    if len(found.shape) != 3:
        raise ConfigError(f"{path}: {key} has points and no images; store images as uint8 (N, H, W, C)")
    return found


def _plain(fault: str, path: Path) -> str:
    return fault.removeprefix("dataset.path: ").replace(f" of {path}", "").removeprefix(f"{path} ")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split()).rstrip(".")
