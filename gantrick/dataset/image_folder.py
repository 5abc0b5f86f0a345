"""image_folder: one's own pictures, of any size, shape and mode."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from gantrick.dataset._split import split_indices
from gantrick.types import ConfigError, Count, Dataset, DataShape, Rate, Samples

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
NAMED = 10  # files named in one message


class ImageFolder(Dataset):
    """Every picture below a folder, cut to its central square and resized: uint8 (N, channels, size, size).

    Pillow's antialiased Lanczos filter resizes. EXIF orientation is obeyed; palettes, grey, CMYK and 16 bits become RGB
    of 8 bits, transparency becomes white, an animation its first frame; `channels` 1 takes the luma. Subfolders are
    classes, in order of their names, where two or more of them hold all the pictures; else there are no labels.
    `crop: error` refuses pictures that are not square. `held_out` is the fraction of files that make the test split,
    the same ones in every run. The shape comes from the names alone. Raises ConfigError naming the folder that is no
    good or all files that cannot be read; with `skip_corrupt` these are left out and logged.
    """

    def __init__(
        self,
        path: str,
        size: Count,
        channels: Literal[1, 3] = 3,
        crop: Literal["center", "error"] = "center",
        held_out: Rate = 0.0,
        skip_corrupt: bool = False,
        flip: bool = False,
    ):
        self.path = Path(path).expanduser()
        self.size = size
        self.channels = channels
        self.crop = crop
        self.held_out = held_out
        self.skip_corrupt = skip_corrupt
        self.flip = flip

    @property
    def data(self) -> DataShape:
        _, labels = self._files
        return DataShape((self.channels, self.size, self.size), None if labels is None else int(labels.max()) + 1)

    @cached_property
    def _files(self) -> tuple[list[str], np.ndarray | None]:
        """Paths of the pictures below the folder, sorted, and the class of each."""
        if not self.path.is_dir():
            state = "is a file and not a folder" if self.path.exists() else "does not exist"
            raise ConfigError(f"dataset.path: {self.path} {state}; give a folder of pictures")
        names = sorted(_pictures(self.path))
        if len(names) < 2:
            number = "only one picture" if names else "no pictures"
            raise ConfigError(
                f"dataset.path: {self.path} holds {number} ({', '.join(SUFFIXES)}), and a GAN needs at least two; "
                "add some, or give another folder"
            )
        folders = [name.rpartition("/")[0].partition("/")[0] for name in names]
        classes = sorted(set(folders))
        if "" in classes or len(classes) < 2:
            return names, None
        return names, np.searchsorted(classes, folders)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        names, labels = self._files
        chosen = split_indices(len(names), self.held_out, split)
        images = np.empty((len(chosen), self.channels, self.size, self.size), dtype=np.uint8)
        unreadable: dict[int, str] = {}
        oblong: dict[int, str] = {}

        def decode(place: int) -> None:
            try:
                with Image.open(self.path / names[chosen[place]]) as image:
                    picture = _rgb(_upright(image))
            except Exception as error:  # Pillow's decoders raise whatever their formats do
                unreadable[place] = _reason(error)
                return
            if self.crop == "error" and picture.width != picture.height:
                oblong[place] = f"{picture.width}x{picture.height}"
                return
            images[place] = self._fit(picture)

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            list(pool.map(decode, range(len(chosen))))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest

        def listed(places: Mapping[int, str]) -> str:
            words = [f"{_printable(names[chosen[place]])} ({places[place]})" for place in sorted(places)]
            more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
            return f"{len(words)} of {len(chosen)} pictures in {self.path}: {', '.join(words[:NAMED])}{more}"

        faults = []
        if unreadable and not self.skip_corrupt:
            faults.append(
                f"dataset.path: cannot read {listed(unreadable)}; mend or remove them, or set dataset.skip_corrupt=true"
            )
        if oblong:
            faults.append(f"dataset.crop: error refuses {listed(oblong)}; cut them square, or set dataset.crop=center")
        if len(chosen) - len(unreadable) < 1:
            faults.append(
                f"dataset.path: none of the {len(chosen)} pictures in {self.path} can be read; give another folder"
            )
        if faults:
            raise ConfigError(*faults)
        if unreadable:
            logging.getLogger(__name__).warning("left out %s", listed(unreadable))
            keep = [place for place in range(len(chosen)) if place not in unreadable]
            images, chosen = images[keep], chosen[keep]
        return Samples(torch.from_numpy(images), None if labels is None else torch.from_numpy(labels[chosen]))

    def _fit(self, picture: Image.Image) -> np.ndarray:
        """RGB of any shape -> uint8 (C, size, size)."""
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))  # first, so that a sliver is never blown up
        small = square.convert("L" if self.channels == 1 else "RGB").resize((self.size,) * 2, Image.Resampling.LANCZOS)
        values: np.ndarray = np.asarray(small).reshape(self.size, self.size, self.channels)
        return np.moveaxis(values, -1, 0)


def _pictures(folder: Path) -> Iterator[str]:
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
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (Path(where) / name).relative_to(folder).as_posix()


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF in a sound picture says nothing
        return image


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB. Raises ValueError where the mode does not say what white is."""
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


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")
