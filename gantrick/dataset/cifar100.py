"""cifar100: small colour photographs of a hundred kinds of things."""

from __future__ import annotations

from typing import Literal

import torch

from gantrick.dataset._download import data_root, obtain
from gantrick.types import Dataset, DataShape, Paper, Samples


class Cifar100(Dataset):
    """50,000 and 10,000 photographs: uint8 (N, 3, 32, 32), labels 0–99, the fine ones (Krizhevsky 2009).

    Read by torchvision from cifar-100-python in `root` (null: $GANTRICK_DATA, else ~/.cache/gantrick-data), downloaded
    where it is not there and `download` allows. Raises ConfigError that names the missing files.
    """

    paper = Paper(
        "krizhevsky2009cifar",
        "Learning multiple layers of features from tiny images",
        "Alex Krizhevsky",
        2009,
        url="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
    )

    def __init__(self, root: str | None = None, download: bool = True, flip: bool = False):
        self.root = root
        self.download = download
        self.flip = flip

    @property
    def data(self) -> DataShape:
        return DataShape((3, 32, 32), 100)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        from torchvision.datasets import CIFAR100  # slow to import

        root = data_root(self.root)
        remedy = (
            f"put the folder cifar-100-python, or {CIFAR100.filename}, into {root}, or name the folder that holds "
            "them with dataset.root or GANTRICK_DATA"
        )
        train = split == "train"
        found = obtain("cifar100", CIFAR100, root, self.download, CIFAR100.filename, remedy, train=train)
        return Samples(torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(found.targets))
