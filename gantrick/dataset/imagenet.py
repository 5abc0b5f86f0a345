"""imagenet: photographs of a thousand kinds of things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gantrick.dataset._download import data_root
from gantrick.dataset._files import Files, classes, find
from gantrick.types import ConfigError, Count, Dataset, DataShape, Paper, Samples


class Imagenet(Dataset):
    """1,281,167 photographs, and 50,000 to test: uint8 (N, 3, size, size), labels 0–999 (arXiv 1409.0575).

    The central square is resized by Pillow's antialiased Lanczos filter. A class is a folder (n01440764 …), numbered in
    the order of the names; other class folders do as well. Its makers give it out by hand (image-net.org): unpack
    ILSVRC2012_img_train.tar and what is in it into imagenet/train/<class>/ in $GANTRICK_DATA (else
    ~/.cache/gantrick-data) and the validation pictures into imagenet/val/<class>/, or name the folder that holds train
    and val with `path`; train.zip and val.zip do too. Raises ConfigError where they are not there.
    """

    paper = Paper(
        "russakovsky2015imagenet",
        "ImageNet Large Scale Visual Recognition Challenge",
        "Olga Russakovsky and Jia Deng and Hao Su and Jonathan Krause and Sanjeev Satheesh and Sean Ma and others",
        2015,
        arxiv="1409.0575",
        venue="International Journal of Computer Vision",
    )

    def __init__(self, size: Count = 64, path: str | None = None, flip: bool = False):
        self.size = size
        self.path = path
        self.flip = flip

    @property
    def data(self) -> DataShape:
        train = self._home / "train"
        number = 1000
        if train.is_dir():
            number = sum(entry.is_dir() for entry in train.iterdir()) or number
        elif (packed := train.with_suffix(".zip")).is_file():
            number = len(classes(find(packed), packed)[0]) or number
        return DataShape((3, self.size, self.size), number)

    @property
    def _home(self) -> Path:
        return Path(os.path.expanduser(self.path)) if self.path else data_root(None) / "imagenet"

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        known, path, names, labels = self._part("train")
        if split == "test":
            found, path, names, labels = self._part("val")
            if strange := sorted(set(found) - set(known)):
                raise ConfigError(f"dataset imagenet: {path} has a class {strange[0]} that train has not; remove it")
            labels = np.searchsorted(known, found)[labels]
        return Samples(Files(path, names, self.size), torch.from_numpy(labels))

    def _part(self, name: str) -> tuple[list[str], Path, list[str], np.ndarray]:
        """The classes of train or val, where its pictures are, their names and labels."""
        path = next((p for p in (self._home / name, self._home / f"{name}.zip") if p.exists()), None)
        if path is None:
            raise ConfigError(
                f"dataset imagenet: there is no {self._home / name}, folder or .zip; fetch ILSVRC2012 from "
                "image-net.org and put it there with a folder for each class, or name what holds train and val with "
                "dataset.path"
            )
        names = find(path)
        found, labels = classes(names, path)
        if labels is None:
            raise ConfigError(
                f"dataset imagenet: the pictures of {path} do not lie in class folders; put them into one for each"
            )
        return found, path, names, labels
