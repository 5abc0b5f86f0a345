"""digits: scikit-learn's handwritten digits, a real data set that is always at hand."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from gantrick.types import Dataset, DataShape, Paper, Samples


class Digits(Dataset):
    """x = round(255 · up(v / 16)), v of 17 grey levels: uint8 (N, 1, size, size), labels 0–9.

    1797 handwritten digits of 8x8 pixels that come with scikit-learn (Alpaydin and Kaynak 1998); up enlarges bilinearly
    without aligned corners. 1437 are the train split; the test split's 360 are new to the extractor `digits_cnn`.
    """

    paper = Paper(
        "alpaydin1998digits",
        "Optical Recognition of Handwritten Digits",
        "Ethem Alpaydin and Cenk Kaynak",
        1998,
        url="https://archive.ics.uci.edu/ml/datasets/Optical+Recognition+of+Handwritten+Digits",
    )

    def __init__(self, size: Literal[8, 16, 32] = 16):
        self.size = size

    @property
    def data(self) -> DataShape:
        return DataShape((1, self.size, self.size), 10)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        from sklearn.datasets import load_digits  # slow to import

        found = load_digits()
        # RandomState's streams never change between numpy's versions
        order = np.random.RandomState(0).permutation(len(found.target))
        chosen = order[:-360] if split == "train" else order[-360:]
        values = torch.from_numpy(found.images[chosen]).float()[:, None]
        # the weights are multiples of 1/64 and v is whole, so all of this is exact and the same on every machine
        large = F.interpolate(values, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return Samples((large * 255 / 16).round().to(torch.uint8), torch.from_numpy(found.target[chosen]).long())
