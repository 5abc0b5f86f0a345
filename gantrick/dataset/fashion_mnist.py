"""fashion_mnist: grey photographs of clothes, in the format of MNIST."""

from __future__ import annotations

from typing import Literal

from gantrick.dataset._idx import load_idx
from gantrick.types import Dataset, DataShape, Paper, Samples


class FashionMnist(Dataset):
    """60,000 and 10,000 pictures of clothes: uint8 (N, 1, size, size), labels 0–9 (Xiao et al., arXiv 1708.07747).

    At size 32 each side has two black pixels more. Read by torchvision from FashionMNIST/raw in `root` (null:
    $GANTRICK_DATA, else ~/.cache/gantrick-data), downloaded where it is not there and `download` allows. Raises
    ConfigError that names the missing files.
    """

    paper = Paper(
        "xiao2017fashion",
        "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        "Han Xiao and Kashif Rasul and Roland Vollgraf",
        2017,
        arxiv="1708.07747",
    )

    def __init__(self, size: Literal[28, 32] = 28, root: str | None = None, download: bool = True):
        self.size = size
        self.root = root
        self.download = download

    @property
    def data(self) -> DataShape:
        return DataShape((1, self.size, self.size), 10)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        from torchvision.datasets import FashionMNIST  # slow to import

        return load_idx("fashion_mnist", FashionMNIST, self.root, split == "train", self.size, self.download)
