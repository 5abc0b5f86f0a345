"""Convolutions that double or halve height and width: `(B, C, H, W)` -> `(B, C', 2H, 2W)` or `(B, C', H/2, W/2)`.

A 3x3 convolution after nearest up-sampling, or before 2x2 average pooling, is one convolution of stride 2 with a 4x4
kernel, each of whose entries is a sum of neighbours of the 3x3 kernel (zero outside): the same function for less than
half of the multiplications. The 3x3 kernel stays the parameter, so spectral norms and initialisations see it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Up = Literal["nearest", "bilinear", "transposed", "pixelshuffle"]
Down = Literal["strided", "pooled"]


class NearestUpConv(nn.Conv2d):
    """conv3x3(nearest(h)) = conv_transpose4x4(h), stride 2."""

    def __init__(self, channels: int, out: int, bias: bool = True):
        super().__init__(channels, out, 3, padding=1, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        kernel = F.avg_pool2d(self.weight.flip(2, 3), 2, stride=1, padding=1, divisor_override=1)
        return F.conv_transpose2d(h, kernel.transpose(0, 1), self.bias, stride=2, padding=1)


class BilinearUpConv(nn.Conv2d):
    """conv3x3(bilinear(h)), corners not aligned."""

    def __init__(self, channels: int, out: int, bias: bool = True):
        super().__init__(channels, out, 3, padding=1, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(upsample(h, "bilinear"))


class SubpixelConv(nn.Conv2d):
    """pixel_shuffle(conv3x3(h))   (Shi et al., arXiv 1609.05158).

    The four kernels of an output channel start equal (ICNR, arXiv 1707.02937): without it the picture starts as a
    checkerboard.
    """

    def __init__(self, channels: int, out: int, bias: bool = True):
        super().__init__(channels, 4 * out, 3, padding=1, bias=bias)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for parameter in (self.weight, self.bias):
                if parameter is not None:
                    parameter.copy_(parameter[::4].repeat_interleave(4, 0))

    def forward(self, h: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(h), 2)


class PooledConv(nn.Conv2d):
    """avg_pool2x2(conv3x3(h)) = conv4x4(h), stride 2."""

    def __init__(self, channels: int, out: int, bias: bool = True):
        super().__init__(channels, out, 3, padding=1, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        return F.conv2d(h, F.avg_pool2d(self.weight, 2, stride=1, padding=1), self.bias, stride=2, padding=1)


def up_conv(kind: Up, channels: int, out: int, bias: bool = True) -> nn.Conv2d | nn.ConvTranspose2d:
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=bias)
    kinds = {"nearest": NearestUpConv, "bilinear": BilinearUpConv, "pixelshuffle": SubpixelConv}
    return kinds[kind](channels, out, bias)


def down_conv(kind: Down, channels: int, out: int, bias: bool = True) -> nn.Conv2d:
    if kind == "pooled":
        return PooledConv(channels, out, bias)
    return nn.Conv2d(channels, out, 4, stride=2, padding=1, bias=bias)


def upsample(h: Tensor, kind: Up) -> Tensor:
    """h at twice the size without a convolution: bilinear where asked for, else nearest."""
    if kind == "bilinear":
        return F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
    return F.interpolate(h, scale_factor=2, mode="nearest")
