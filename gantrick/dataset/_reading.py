"""A split as a run sees it: limited, weighted, held in memory or not; the same for every data set."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gantrick.types import ConfigError, Dataset, Samples

RESIDENT = 2**30  # bytes of pictures up to which they are held in memory


def read(dataset: Dataset, split: Literal["train", "test"] = "train") -> Samples:
    """A split by the data set's `reading`. `limit` and `weights` are about the train split; the test split is whole.

    Raises ConfigError for a limit or weights that do not fit, and what `load` raises.
    """
    how = dataset.reading
    samples = dataset.load(split)
    if split == "train":
        if how.weights is not None:
            samples = replace(samples, weights=_weights(Path(os.path.expanduser(how.weights)), len(samples)))
        if how.limit is not None:
            samples = _limited(samples, how.limit)
        if samples.weights is not None and not bool(samples.weights.any()):
            raise ConfigError(
                f"dataset.weights: {how.weights} has no weight above 0 among the {len(samples)} samples of "
                "dataset.limit; raise the limit, or give some of them a weight"
            )
    images = samples.images
    if isinstance(images, Tensor):
        if how.resident is False:
            raise ConfigError(
                "dataset.resident: false is for data sets that are read picture by picture, and this one is read "
                "whole; leave dataset.resident at auto"
            )
        return samples
    if how.resident is True or (how.resident == "auto" and math.prod(images.shape) <= RESIDENT):
        return replace(samples, images=images[:])
    images = images.take(slice(None))
    images.workers = how.workers
    return replace(samples, images=images)


def subset(count: int, limit: int, labels: Tensor | None = None) -> np.ndarray:
    """Ascending indices of `limit` of `count` samples, always the same; a smaller limit's are among a larger one's.

    Drawn by chance; where there are labels the classes keep the shares that they have in the whole: the j-th drawn of
    the n of a class comes at (j − ½)/n, which is Sainte-Laguë's apportionment, and classes of equal size differ by one
    at most.
    """
    # RandomState's streams never change between numpy's versions
    order = np.random.RandomState(0).permutation(count)
    if labels is None:
        return np.sort(order[:limit])
    classes = labels.numpy()[order]
    by_class = np.argsort(classes, kind="stable")
    _, starts, sizes = np.unique(classes[by_class], return_index=True, return_counts=True)
    place = np.empty(count)
    place[by_class] = (np.arange(count) - np.repeat(starts, sizes) + 0.5) / np.repeat(sizes, sizes)
    return np.sort(order[np.argsort(place, kind="stable")[:limit]])


def _limited(samples: Samples, limit: int) -> Samples:
    if limit > len(samples):
        raise ConfigError(
            f"dataset.limit: {limit:,} is more than the {len(samples):,} samples of the train split; "
            "lower it, or set dataset.limit=null for all"
        )
    rows = torch.from_numpy(subset(len(samples), limit, samples.labels))
    return samples.take(rows)


def _weights(path: Path, count: int) -> Tensor:
    """float64 (count,) of a .npy file or of a text of numbers."""
    try:
        found = (
            np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.array(path.read_text().split(), float)
        )
        if found.dtype.kind not in "iuf":
            raise ValueError(f"it holds {found.dtype}")
        values = found.astype(np.float64)
    except FileNotFoundError as error:
        raise ConfigError(f"dataset.weights: there is no file {path}; give a .npy or a text of numbers") from error
    except (OSError, ValueError, EOFError, TypeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"dataset.weights: {path} has no numbers that can be read ({reason}); write it anew"
        ) from error
    wrong = None
    if values.shape != (count,):
        wrong = f"has the shape {values.shape} and not ({count},), one weight for each sample of the train split"
    elif not np.isfinite(values).all() or (values < 0).any():
        wrong = f"has {values[~(np.isfinite(values) & (values >= 0))][0]:g}, and a weight is a number at least 0"
    elif not values.any():
        wrong = "has no weight above 0"
    if wrong is not None:
        raise ConfigError(f"dataset.weights: {path} {wrong}; write it anew, or set dataset.weights=null")
    return torch.from_numpy(values)
