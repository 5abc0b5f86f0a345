"""Which samples of one set are held out as its test split."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from gantrick.types import ConfigError


def split_indices(count: int, held_out: float, split: Literal["train", "test"]) -> np.ndarray:
    """Ascending indices of a split of `count` samples, of which ⌈count · held_out⌉, always the same, are for testing.

    Raises ConfigError where the split would be empty.
    """
    # RandomState's streams never change between numpy's versions
    order = np.random.RandomState(0).permutation(count)
    tests = math.ceil(count * held_out)
    if split == "test" and not tests:
        raise ConfigError(
            "dataset.held_out: is 0, so there is no test split; set dataset.held_out=0.1 or use the train split"
        )
    if tests >= count:
        raise ConfigError(f"dataset.held_out: {held_out:g} of {count} samples leaves none to train on; make it smaller")
    return np.sort(order[count - tests :] if split == "test" else order[: count - tests])
