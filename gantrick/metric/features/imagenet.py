"""What the networks share that take ImageNet's normalised images of 224 pixels.

Their distances are named after them (`fid/dinov2`), and each compares only with itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gantrick.metric.features.base import Extractor, resize, to_channels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224


class ImageNet(Extractor):
    """uint8 (B, C, H, W) -> what `net` gives of (x − mean) / std, with x in [0, 1] resized whole to 224×224."""

    resizer = "antialiased bicubic 224x224"

    def __init__(self, net: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.head = net, head

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), C in {1, 3} -> float32 (B, 3, 224, 224), [0, 1] but for the filter's overshoot."""
        return resize(to_channels(images.float() / 255, 3), SIZE, "bicubic")

    def embed(self, inputs: Tensor) -> Tensor:
        """What `prepare` gives -> features (B, F)."""
        mean, std = (torch.tensor(values, device=inputs.device).view(1, 3, 1, 1) for values in (MEAN, STD))
        found: Tensor = self.quick(self.net)(((inputs - mean) / std).contiguous(memory_format=torch.channels_last))
        return found

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, F) -> class logits (B, 1000). Raises ValueError where the network never learned classes."""
        if self.head is None:
            raise ValueError(f"{self.name} has no classifier; choose an extractor that has one, such as inception")
        logits: Tensor = self.head(features)
        return logits


def untrained(factory: Callable[[], nn.Module]) -> nn.Module:
    """A network whose making does not move the caller's random stream."""
    with torch.random.fork_rng(devices=[]):
        return factory()
