"""image_folder: one's own pictures, of any size, shape and mode."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gantrick.dataset._files import Files, Oblong, classes, find
from gantrick.dataset._split import split_indices
from gantrick.types import ConfigError, Count, Dataset, DataShape, Rate, Samples


class ImageFolder(Dataset):
    """Every picture below a folder or in a zip, its central square resized: uint8 (N, channels, size, size).

    Pillow's antialiased Lanczos filter resizes. EXIF orientation is obeyed; palettes, grey, CMYK and 16 bits become RGB
    of 8 bits, transparency becomes white, an animation its first frame; `channels` 1 takes the luma. Subfolders are
    classes, in order of their names, where two or more of them hold all the pictures; else there are no labels. A zip
    is read as it lies, without unpacking. `crop: error` refuses pictures that are not square. `held_out` is the
    fraction of files that make the test split, the same ones in every run. The shape comes from the names alone.
    Raises ConfigError naming the folder that is no good or all files that cannot be read, those that are streamed when
    their turn comes; with `skip_corrupt` every file is read once at the start, and these are left out and logged.
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
        self.path = Path(os.path.expanduser(path))
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
        """Names of the pictures, sorted, and the class of each."""
        names = find(self.path)
        return names, classes(names, self.path)[1]

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        names, labels = self._files
        remedy = "mend or remove them, or set dataset.skip_corrupt=true"
        pictures = Files(self.path, names, self.size, self.channels, self.crop, remedy)
        chosen = split_indices(len(names), self.held_out, split)
        if self.skip_corrupt:
            chosen = self._sound(pictures, chosen)
        return Samples(pictures.take(chosen), None if labels is None else torch.from_numpy(labels[chosen]))

    def _sound(self, pictures: Files, chosen: np.ndarray) -> np.ndarray:
        """Those that can be read."""
        faults: dict[int, Exception] = {}

        def attempt(number: int) -> None:
            try:
                pictures.decode(number)
            except Oblong:  # told with all others of its kind, when they are read
                return
            except Exception as error:  # Pillow's decoders raise whatever their formats do
                faults[number] = error

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            list(pool.map(attempt, map(int, chosen)))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest
        if len(faults) == len(chosen):
            raise ConfigError(
                f"dataset.path: none of the {len(chosen)} pictures in {self.path} can be read; give another folder"
            )
        if faults:
            logging.getLogger(__name__).warning("left out %s", pictures.listed(faults, len(chosen)))
        return np.array([number for number in chosen if int(number) not in faults])
