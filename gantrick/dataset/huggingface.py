"""huggingface: pictures from the Hugging Face Hub, or from a folder of theirs."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from gantrick.dataset._files import fit, rgb
from gantrick.types import ConfigError, Count, Dataset, DataShape, Pictures, Samples


class Huggingface(Dataset):
    """Column `image` of a data set, the central square of each resized: uint8 (N, channels, size, size).

    `path`, `config` and `split` are those of `datasets.load_dataset(path, config, split=split)`; a `path` that is a
    folder written by `save_to_disk` is read from there. Column `label` holds whole numbers from 0; null, or a data set
    that has no column "label": no labels. `test_split` is the test split. Modes become RGB as with image_folder, and
    Pillow's antialiased Lanczos filter resizes. Licence, count and shape are the data set's own. Needs the package
    datasets (pip install "gantrick[huggingface]"), which downloads to its own cache. Raises ConfigError.
    """

    def __init__(
        self,
        path: str,
        size: Count,
        config: str | None = None,
        split: str = "train",
        test_split: str | None = "test",
        image: str = "image",
        label: str | None = "label",
        channels: Literal[1, 3] = 3,
        flip: bool = False,
    ):
        self.path = path
        self.size = size
        self.config = config
        self.split = split
        self.test_split = test_split
        self.image = image
        self.label = label
        self.channels = channels
        self.flip = flip

    @property
    def data(self) -> DataShape:
        labels = self._train.labels
        return DataShape((self.channels, self.size, self.size), None if labels is None else int(labels.max()) + 1)

    @cached_property
    def _train(self) -> Samples:
        return self._samples(self.split)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        if split == "train":
            return self._train
        if self.test_split is None:
            raise ConfigError(
                "dataset.test_split: is null, so there is no test split; name one, or use the train split"
            )
        return self._samples(self.test_split)

    def _samples(self, split: str) -> Samples:
        table = self._table(split)
        columns = table.column_names
        if self.image not in columns:
            raise ConfigError(
                f"dataset.image: {self.path} has no column {self.image!r}; there are {', '.join(columns)}"
            )
        if len(table) < 2:
            raise ConfigError(f"dataset.split: {split} of {self.path} has fewer than two pictures; name another split")
        pictures = Rows(
            table.select_columns([self.image]), self.image, self.channels, self.size, f"{self.path}, {split}"
        )
        if self.label is None or (self.label == "label" and self.label not in columns):
            return Samples(pictures)
        if self.label not in columns:
            raise ConfigError(
                f"dataset.label: {self.path} has no column {self.label!r}; name one of {', '.join(columns)}, or null"
            )
        labels = np.asarray(table.select_columns([self.label]).with_format("numpy")[self.label][:])
        if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.min() < 0:
            raise ConfigError(
                f"dataset.label: {self.label} of {self.path} is not whole numbers from 0; name another column, or null"
            )
        return Samples(pictures, torch.from_numpy(labels.astype(np.int64)))

    def _table(self, split: str) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise ConfigError(
                "dataset huggingface: needs the package datasets, which is not installed; "
                'pip install "gantrick[huggingface]"'
            ) from error
        try:
            folder = Path(os.path.expanduser(self.path))
            if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
                found: Any = datasets.load_from_disk(str(folder))
                if isinstance(found, datasets.DatasetDict):
                    if split not in found:
                        raise ValueError(f"it has no split {split}, but {', '.join(found)}")
                    found = found[split]
                elif split != self.split:
                    raise ValueError(f"it has no split {split}")
            else:
                found = datasets.load_dataset(self.path, self.config, split=split)
        except Exception as error:  # of the network, of the files, of the data set's own
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ConfigError(
                f"dataset.path: {self.path} cannot be had, {split} ({reason}); check dataset.path, dataset.config and "
                "dataset.split, and the network"
            ) from error
        return found


class Rows(Pictures):
    """One column of a table of `datasets`, mapped from disk."""

    def __init__(self, table: Any, column: str, channels: int, size: int, where: str):
        super().__init__((channels, size, size), len(table))
        self.table, self.column, self.where = table, column, where

    def decode(self, number: int) -> np.ndarray:
        found = self.table[number][self.column]
        if not isinstance(found, Image.Image):
            raise ValueError(f"not a picture but {type(found).__name__}")
        return fit(rgb(found), *self.shape_of_one[:2])

    def name(self, number: int) -> str:
        return f"row {number} of {self.where}"
