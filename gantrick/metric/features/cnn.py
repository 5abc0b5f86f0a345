"""The small convolutional classifiers whose penultimate layer serves as features of in-domain images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.metric.features.base import Extractor, MissingWeights, load_into, resize, to_channels

WEIGHTS = Path(__file__).parent / "weights"


class Stage(nn.Module):
    """(B, C, H, W) -> (B, C', H/stride, W/stride): relu(bn(conv3x3(x))), plus x if `skip` and it fits."""

    def __init__(self, before: int, width: int, stride: int, skip: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.skip = skip and before == width and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm(self.conv(x)))
        return x + out if self.skip else out


class SmallCNN(Extractor):
    """3x3 convolutions, then the feature layer, then a linear classifier of ten classes.

    The feature layer is relu(bn(linear(flatten))), which keeps where a stroke is, or, where `pooled`, the
    mean over positions of the last stage's activations, which costs no parameters.
    """

    channels: int
    """the network's input channels"""
    size: int
    """the network's input height and width"""
    stages: tuple[tuple[int, int], ...]
    """(width, stride) of each convolution"""
    pooled: bool = False
    skips: bool = False
    accuracy: float
    """test accuracy measured with the shipped weights"""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, size = self.channels, self.size
        for after, stride in self.stages:
            layers.append(Stage(width, after, stride, self.skips))
            width, size = after, -(-size // stride)
        self.body = nn.Sequential(*layers)
        if self.pooled:
            if width != self.dim:
                raise ValueError(f"{self.name}: the last stage has {width} channels, but dim is {self.dim}")
            self.neck: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        else:
            self.neck = nn.Sequential(
                nn.Flatten(),
                nn.Linear(width * size * size, self.dim, bias=False),
                nn.BatchNorm1d(self.dim),
                nn.ReLU(),
            )
        self.head = nn.Linear(self.dim, 10)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), C in {1, 3} -> float32 in [0, 1], (B, channels, size, size)."""
        return resize(to_channels(images.float() / 255, self.channels), self.size)

    def embed(self, inputs: Tensor) -> Tensor:
        """[0, 1] (B, channels, size, size) -> features (B, F), all >= 0."""
        features: Tensor = self.neck(self.body(2 * inputs - 1))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, 10)."""
        logits: Tensor = self.head(features)
        return logits


Net = TypeVar("Net", bound=SmallCNN)


def load(kind: type[Net], weights: str | None) -> Net:
    """A `kind` with the weights of the file `weights`, or with the shipped ones."""
    path = Path(os.path.expanduser(weights)) if weights else WEIGHTS / f"{kind.name}.pt"
    if not path.is_file():
        remedy = "give an existing file or leave the weights unset" if weights else "reinstall gantrick"
        raise MissingWeights(f"{kind.name} found no weights at {path}; {remedy}")
    with torch.random.fork_rng(devices=[]):  # building must not move the caller's random stream
        net = kind()
    load_into(net, path, kind.name)
    return net
