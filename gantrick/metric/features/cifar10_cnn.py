"""cifar10_cnn: a small residual classifier of CIFAR-10.

Trained on the 50000 training images (`scripts/train_extractors.py cifar10_cnn`, 12 epochs, seed 0): accuracy
on the 10000 test images 0.8854.
"""

from __future__ import annotations

from gantrick.metric.features.cnn import SmallCNN, load


class Cifar10CNN(SmallCNN):
    """uint8 (B, C, H, W) -> features (B, 192), logits (B, 10); made for colour photographs of 32 pixels."""

    name = "cifar10_cnn"
    dim = 192
    resizer = "antialiased bilinear 32x32"
    channels = 3
    size = 32
    stages = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (192, 2), (192, 1))
    pooled = True
    skips = True
    accuracy = 0.8854


def build(weights: str | None) -> Cifar10CNN:
    """The extractor with the weights of the file `weights`, or with the shipped ones."""
    return load(Cifar10CNN, weights)
