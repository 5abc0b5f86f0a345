"""Generators that more than one model has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.normalization import needs_bias
from gantrick.layers.plan import first_size
from gantrick.types import NetworkSpec


class Doubling(nn.Module):
    """fc, then `depth` times norm, relu and an up-convolution, tanh: (B, Z) -> (B, C, H, W).

    width: channels next to the images, twice as many a stage before. up: (before, after, bias) -> a layer that doubles
    the height and the width.
    """

    def __init__(
        self, spec: NetworkSpec, width: int, depth: int, up: Callable[[int, int, bool], nn.Module], tanh: bool
    ):
        super().__init__()
        channels, height, wide = spec.data.shape
        widths = [width << i for i in reversed(range(depth))]
        self.blocks, self.tanh = depth, tanh
        self.bottom = (widths[0], height >> depth, wide >> depth)
        self.norms = nn.ModuleList(spec.g_norm(w) for w in widths)
        biases = [*map(needs_bias, self.norms), True]
        self.first = nn.Linear(first_size(spec), widths[0] * (height >> depth) * (wide >> depth), bias=biases[0])
        self.ups = nn.ModuleList(
            up(before, after, bias)
            for before, after, bias in zip(widths, [*widths[1:], channels], biases[1:], strict=True)
        )

    def forward(self, first: Tensor, conditions: Sequence[Tensor | None]) -> Tensor:
        h = self.first(first).view(-1, *self.bottom)
        for norm, up, condition in zip(self.norms, self.ups, conditions, strict=True):
            h = up(F.relu(norm(h, condition)))
        return torch.tanh(h) if self.tanh else h
