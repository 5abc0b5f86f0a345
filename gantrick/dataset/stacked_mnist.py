"""stacked_mnist: three digits as the three colours of a picture, a thousand modes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from gantrick.dataset.mnist import Mnist
from gantrick.types import Count, Dataset, DataShape, Paper, Samples


class StackedMnist(Dataset):
    """x = (a, b, c), three digits of MNIST drawn by chance, as red, green and blue: uint8 (N, 3, size, size).

    The label is the number 100 a + 10 b + c that they read, 0–999 (Metz et al., arXiv 1611.02163; 128,000 samples as in
    PacGAN, arXiv 1712.04086). Which digits is drawn once and for all: a sample is the same in every run, and the first
    of a larger `samples` are those of a smaller. The test split is drawn from MNIST's. Files as of dataset=mnist.
    """

    paper = Paper(
        "metz2017unrolled",
        "Unrolled Generative Adversarial Networks",
        "Luke Metz and Ben Poole and David Pfau and Jascha Sohl-Dickstein",
        2017,
        arxiv="1611.02163",
        venue="International Conference on Learning Representations",
    )

    stacked_digits = True  # for metric=stacked_modes

    def __init__(
        self,
        size: Literal[28, 32] = 28,
        samples: Count = 128_000,
        root: str | None = None,
        download: bool = True,
    ):
        self.size = size
        self.samples = samples
        self.root = root
        self.download = download

    @property
    def data(self) -> DataShape:
        return DataShape((3, self.size, self.size), 1000)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        digits = Mnist(self.size, self.root, self.download).load(split)
        assert digits.labels is not None
        # RandomState's streams never change between numpy's versions
        drawn = np.random.RandomState(0 if split == "train" else 1).randint(len(digits), size=(self.samples, 3))
        chosen = torch.from_numpy(drawn)
        images = torch.empty((self.samples, 3, self.size, self.size), dtype=torch.uint8)
        for channel in range(3):
            images[:, channel] = digits.images[chosen[:, channel]][:, 0]
        return Samples(images, digits.labels[chosen] @ torch.tensor([100, 10, 1]))
