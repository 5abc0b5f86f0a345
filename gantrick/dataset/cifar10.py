"""cifar10: small colour photographs of ten kinds of things."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from gantrick.dataset._arrays import layout, read_labels, read_samples
from gantrick.dataset._download import data_root, obtain
from gantrick.types import Bound, ConfigError, Dataset, DataShape, Paper, Samples


class Cifar10(Dataset):
    """50,000 and 10,000 photographs: uint8 (N, 3, 32, 32), labels 0–9 (Krizhevsky 2009).

    Looked for in `root` (null: $GANTRICK_DATA, else ~/.cache/gantrick-data): torchvision's cifar-10-batches-py, else
    cifar10_train.npz and cifar10_test.npz (images uint8 NHWC, labels), else downloaded where `download` allows. `flip`
    and `shift` are off as in the SNGAN and WGAN-GP papers; classifiers take them. Raises ConfigError that names the
    missing files.
    """

    paper = Paper(
        "krizhevsky2009cifar",
        "Learning multiple layers of features from tiny images",
        "Alex Krizhevsky",
        2009,
        url="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
    )

    def __init__(
        self,
        root: str | None = None,
        download: bool = True,
        flip: bool = False,
        shift: Annotated[int, Bound(ge=0, le=31)] = 0,
    ):
        self.root = root
        self.download = download
        self.flip, self.shift = flip, shift

    @property
    def data(self) -> DataShape:
        return DataShape((3, 32, 32), 10)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        root = data_root(self.root)
        arrays = root / f"cifar10_{split}.npz"
        if arrays.is_file() and not (root / "cifar-10-batches-py").is_dir():
            count, shape, _ = layout(arrays, "images")
            if shape != (3, 32, 32):
                raise ConfigError(
                    f"dataset cifar10: images of {arrays} are {shape} and not (3, 32, 32); replace the file"
                )
            return Samples(read_samples(arrays, "images"), read_labels(arrays, "labels", count))

        from torchvision.datasets import CIFAR10  # slow to import

        remedy = (
            f"put the folder cifar-10-batches-py, or {CIFAR10.filename}, or cifar10_train.npz and cifar10_test.npz "
            f"(images uint8 (N, 32, 32, 3), labels) into {root}, or name the folder that holds them with "
            "dataset.root or GANTRICK_DATA"
        )
        found = obtain("cifar10", CIFAR10, root, self.download, CIFAR10.filename, remedy, train=split == "train")
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        return Samples(images, torch.tensor(found.targets))
