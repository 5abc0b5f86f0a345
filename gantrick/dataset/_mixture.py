"""Equal mixtures of round Gaussians in the plane, the toys on which lost modes can be counted."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from gantrick.types import Dataset, DataShape, Samples


class Mixture(Dataset):
    """x = μ_k + σ ε with k uniform over M modes and ε ~ N(0, I₂): float32 (N, 2), labels k.

    Drawn once from streams of its own (one a split), so that the data are the same whatever the seed of a run.
    `centers` float32 (M, 2) and `std` σ are what the metric `modes` counts with.
    """

    def __init__(self, centers: np.ndarray, std: float, samples: int):
        self.centers = torch.from_numpy(centers.astype(np.float32))
        self.std = std
        self.samples = samples

    @property
    def data(self) -> DataShape:
        return DataShape((2,), len(self.centers))

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        # RandomState's streams never change between numpy's versions
        stream = np.random.RandomState({"train": 0, "test": 1}[split])
        labels = torch.from_numpy(stream.randint(len(self.centers), size=self.samples, dtype=np.int64))
        noise = torch.from_numpy(stream.standard_normal((self.samples, 2)))
        return Samples((self.centers[labels].double() + self.std * noise).float(), labels)
