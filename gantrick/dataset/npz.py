"""npz: one's own arrays."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from gantrick.dataset._arrays import has, layout, read_labels, read_samples
from gantrick.dataset._split import split_indices
from gantrick.types import Dataset, DataShape, Rate, Samples


class Npz(Dataset):
    """Arrays of a file written by numpy.savez: images uint8 (N, H, W, C), (N, C, H, W) or (N, H, W), or points (N, D).

    `images` and `labels` are the names of the arrays; a file without an array "labels" has no labels, and null reads
    none. `held_out` is the fraction of samples that make the test split, the same ones in every run. The shape comes
    from the array's header. Raises ConfigError naming the file and what is wrong in it.
    """

    def __init__(
        self,
        path: str,
        images: str = "images",
        labels: str | None = "labels",
        held_out: Rate = 0.0,
        flip: bool = False,
    ):
        self.path = Path(os.path.expanduser(path))
        self.images = images
        self.labels = labels
        self.held_out = held_out
        self.flip = flip

    @cached_property
    def data(self) -> DataShape:
        found = layout(self.path, self.images)
        if not self._labelled:
            return DataShape(found.shape)
        assert self.labels is not None
        return DataShape(found.shape, int(read_labels(self.path, self.labels, found.samples).max()) + 1)

    @property
    def _labelled(self) -> bool:
        """A name other than the default was asked for, so it must be there."""
        return self.labels is not None and (self.labels != "labels" or has(self.path, self.labels))

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        count = layout(self.path, self.images).samples
        chosen = split_indices(count, self.held_out, split)
        images = read_samples(self.path, self.images)
        labels = read_labels(self.path, self.labels, count) if self.labels and self._labelled else None
        if len(chosen) == count:
            return Samples(images, labels)
        return Samples(images[chosen], None if labels is None else labels[chosen])
