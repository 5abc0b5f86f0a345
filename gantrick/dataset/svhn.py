"""svhn: house numbers, photographed from the street."""

from __future__ import annotations

from typing import Literal

import torch

from gantrick.dataset._download import data_root, obtain
from gantrick.types import Dataset, DataShape, Paper, Samples


class Svhn(Dataset):
    """73,257 and 26,032 digits cut from photographs: uint8 (N, 3, 32, 32), labels 0–9 (Netzer et al. 2011).

    `extra` adds the 531,131 easier ones to the train split. Read by torchvision from train_32x32.mat, test_32x32.mat
    and extra_32x32.mat in `root` (null: svhn in $GANTRICK_DATA, else in ~/.cache/gantrick-data), downloaded where they
    are not there and `download` allows. Raises ConfigError that names the missing file.
    """

    paper = Paper(
        "netzer2011svhn",
        "Reading Digits in Natural Images with Unsupervised Feature Learning",
        "Yuval Netzer and Tao Wang and Adam Coates and Alessandro Bissacco and Bo Wu and Andrew Y. Ng",
        2011,
        venue="NIPS Workshop on Deep Learning and Unsupervised Feature Learning",
    )

    def __init__(self, extra: bool = False, root: str | None = None, download: bool = True):
        self.extra = extra
        self.root = root
        self.download = download

    @property
    def data(self) -> DataShape:
        return DataShape((3, 32, 32), 10)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        parts = [self._part(name) for name in ([split, "extra"] if self.extra and split == "train" else [split])]
        labels = [part.labels for part in parts if part.labels is not None]
        return Samples(torch.cat([part.images[:] for part in parts]), torch.cat(labels))

    def _part(self, name: str) -> Samples:
        from torchvision.datasets import SVHN  # slow to import

        root = data_root(self.root) if self.root else data_root(None) / "svhn"
        remedy = f"put {name}_32x32.mat into {root}, or name its folder with dataset.root"
        found = obtain("svhn", SVHN, root, self.download, None, remedy, split=name)
        return Samples(torch.from_numpy(found.data.copy()), torch.from_numpy(found.labels))
