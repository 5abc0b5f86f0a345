"""digits_cnn: a small classifier of scikit-learn's 8x8 digits (load_digits).

Trained on 1437 of the 1797 images and tested on the other 360 (`scripts/train_extractors.py digits_cnn`,
40 epochs, seed 0): test accuracy 0.9972 with the images enlarged bilinearly to 16x16, and the same at 8x8 and
at 32x32.
"""

from __future__ import annotations

from gantrick.metric.features.cnn import SmallCNN, load


class DigitsCNN(SmallCNN):
    """uint8 (B, C, H, W) -> features (B, 96), logits (B, 10); made for grey digits of 8 to 32 pixels."""

    name = "digits_cnn"
    dim = 96
    resizer = "antialiased bilinear 16x16"
    channels = 1
    size = 16
    stages = ((32, 1), (32, 1), (64, 2), (64, 1), (64, 2))
    accuracy = 0.9972


def build(weights: str | None) -> DigitsCNN:
    """The extractor with the weights of the file `weights`, or with the shipped ones."""
    return load(DigitsCNN, weights)
