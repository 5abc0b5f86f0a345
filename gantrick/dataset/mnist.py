"""mnist: the handwritten digits of NIST."""

from __future__ import annotations

from typing import Literal

from gantrick.dataset._idx import load_idx
from gantrick.types import Dataset, DataShape, Paper, Samples


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

        return load_idx("mnist", MNIST, self.root, split == "train", self.size, self.download)
