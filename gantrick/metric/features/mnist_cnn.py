"""mnist_cnn: a small classifier of MNIST.

Trained on the 60000 training images (`scripts/train_extractors.py mnist_cnn`, 6 epochs, seed 0): accuracy on
the 10000 test images 0.9950 at 28x28, and 0.9956 with the images enlarged bilinearly to 32x32.
"""

from __future__ import annotations

from gantrick.metric.features.cnn import SmallCNN, load


class MnistCNN(SmallCNN):
    """uint8 (B, C, H, W) -> features (B, 128), logits (B, 10); made for grey digits of 28 or 32 pixels."""

    name = "mnist_cnn"
    dim = 128
    resizer = "antialiased bilinear 28x28"
    channels = 1
    size = 28
    stages = ((32, 1), (32, 2), (64, 1), (64, 2))
    accuracy = 0.9950


def build(weights: str | None) -> MnistCNN:
    """The extractor with the weights of the file `weights`, or with the shipped ones."""
    return load(MnistCNN, weights)
