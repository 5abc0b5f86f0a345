"""mnist: the handwritten digits of NIST."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F

from gantrick.dataset._download import data_root, obtain
from gantrick.types import ConfigError, Dataset, DataShape, Paper, Samples


class Mnist(Dataset):
    """60,000 and 10,000 handwritten digits: uint8 (N, 1, size, size), labels 0–9 (LeCun et al. 1998).

    At size 32 each side has two black pixels more. Read by torchvision from `root` (null: $GANTRICK_DATA, else
    ~/.cache/gantrick-data), downloaded where it is not there and `download` allows. Raises ConfigError that names the
    missing files.
    """

    paper = Paper(
        "lecun1998mnist",
        "Gradient-based learning applied to document recognition",
        "Yann LeCun and Léon Bottou and Yoshua Bengio and Patrick Haffner",
        1998,
        venue="Proceedings of the IEEE",
    )

    def __init__(self, size: Literal[28, 32] = 28, root: str | None = None, download: bool = True):
        self.size = size
        self.root = root
        self.download = download

    @property
    def data(self) -> DataShape:
        return DataShape((1, self.size, self.size), 10)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        from torchvision.datasets import MNIST  # slow to import

        root = data_root(self.root)
        files = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        remedy = (
            f"put {', '.join(files)} into {root / 'MNIST' / 'raw'}, "
            "or name the folder that holds MNIST/raw with dataset.root or GANTRICK_DATA"
        )
        found = obtain(MNIST, root, split == "train", self.download, "MNIST/raw/*.gz", remedy)
        if found.data.shape[1:] != (28, 28) or len(found.data) != len(found.targets):
            raise ConfigError(f"dataset mnist: the files in {root / 'MNIST' / 'raw'} are not MNIST's; {remedy}")
        margin = (self.size - 28) // 2
        return Samples(F.pad(found.data[:, None], (margin,) * 4), found.targets.long())
