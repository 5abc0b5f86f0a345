"""The residual networks that SNGAN, SAGAN and BigGAN share, and the places of their attention."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.attention import SelfAttention
from gantrick.layers.blocks import DiscriminatorBlock, GeneratorBlock
from gantrick.layers.heads import count_features
from gantrick.layers.plan import first_size, halvings
from gantrick.layers.resampling import Down, Up
from gantrick.types import ConfigError, DataShape, NetworkSpec

# BigGAN (arXiv 1809.11096, tables 4 to 9; BigGAN-PyTorch to 64 pixels): channels of G's bottom and blocks, of D's, in
# multiples of a width, and the height of the maps that attend, for images of up to so many pixels.
BIGGAN = {
    32: ((4, 4, 4, 4), (4, 4, 4, 4), 0),
    64: ((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 32),
    128: ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 64),
    256: ((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 64),
    512: ((16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 64),
}
DROPOUT = (0.2, 0.5, 0.5)  # of the last three blocks, in WGAN-CT's ResNet (arXiv 1803.01541)


class Generator(nn.Module):
    """(B, Z) -> (B, C, H, W). `widths` are the bottom's and each block's; maps of height `attention` attend."""

    def __init__(self, spec: NetworkSpec, widths: Sequence[int], up: Up, tanh: bool, attention: int = 0):
        super().__init__()
        channels, height, wide = spec.data.shape
        self.blocks, self.tanh = len(widths) - 1, tanh
        self.bottom = (widths[0], height >> self.blocks, wide >> self.blocks)
        self.first = nn.Linear(first_size(spec), widths[0] * self.bottom[1] * self.bottom[2])
        self.ups = nn.ModuleList(GeneratorBlock(before, after, spec.g_norm, up) for before, after in pairwise(widths))
        heights = g_heights(spec.data, self.blocks)
        self.attention = nn.ModuleDict(
            {str(i): SelfAttention(widths[i + 1]) for i, side in enumerate(heights) if side == attention}
        )
        self.norm = (spec.g_last_norm or spec.g_norm)(widths[-1])
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, first: Tensor, conditions: Sequence[Tensor | None]) -> Tensor:
        h = self.first(first).view(-1, *self.bottom)
        for i, (block, condition) in enumerate(zip(self.ups, conditions, strict=True)):
            h = block(h, condition)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        h = self.last(F.relu(self.norm(h, conditions[-1])))
        return torch.tanh(h) if self.tanh else h


class Discriminator(nn.Module):
    """(B, C, H, W) -> (B, F). `downs` says how each block halves, None where it keeps the size.

    The first map of height `attention` attends.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        widths: Sequence[int],
        downs: Sequence[Down | None],
        wide: bool = False,
        attention: int = 0,
    ):
        super().__init__()
        channels, height, width = spec.data.shape
        before = [spec.d_channels or channels, *widths]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(before[i], widths[i], spec.d_norm, downs[i], first=i == 0, wide=wide)
            for i in range(len(widths))
        )
        heights = d_heights(spec.data, downs)
        self.attention = nn.ModuleDict(
            {str(heights.index(attention)): SelfAttention(widths[heights.index(attention)])} if attention else {}
        )
        rates = [None] * (len(widths) - len(DROPOUT)) + [*DROPOUT[-len(widths) :]]
        self.dropouts = nn.ModuleList(nn.Identity() if rate is None else spec.d_dropout(rate) for rate in rates)
        self.tail = spec.tail()
        halved = sum(down is not None for down in downs)
        self.features = count_features(self.tail, widths[-1], height >> halved, width >> halved)

    def forward(self, images: Tensor) -> Tensor:
        h = images
        for i, (block, dropout) in enumerate(zip(self.blocks, self.dropouts, strict=True)):
            h = block(h)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
            h = dropout(h)
        features: Tensor = self.tail(F.relu(h))
        return features


def g_heights(data: DataShape, blocks: int) -> list[int]:
    """The height of the map after each of G's blocks."""
    return [data.shape[1] >> i for i in reversed(range(blocks))]


def d_heights(data: DataShape, downs: Sequence[Down | None]) -> list[int]:
    """The height of the map after each of D's blocks."""
    return [data.shape[1] >> sum(down is not None for down in downs[: i + 1]) for i in range(len(downs))]


def attended(who: str, asked: int | None, wanted: int, g: Sequence[int], d: Sequence[int]) -> int:
    """The height of the maps that attend: the one asked for (0: none), or the largest of both up to the wanted one.

    g, d: heights of the maps of G and of D. Raises ConfigError where a height that was asked for is not there.
    """
    common = sorted({side for side in d if side in g and side > 1})
    if asked is None:
        return max((side for side in common if side <= wanted), default=0)
    if asked and asked not in common:
        there = f"they have {', '.join(map(str, common))}" if common else "they have none in common"
        raise ConfigError(
            f"model.attention: {who} has no maps {asked} pixels high in both networks; {there}, and 0 is no attention"
        )
    return asked


def biggan_row(data: DataShape) -> int:
    """The size in the table that images are built by: the next larger one."""
    return min((size for size in BIGGAN if size >= max(data.shape[1:])), default=max(BIGGAN))


def biggan_widths(data: DataShape, width: int) -> list[int]:
    """The channels of G's bottom and blocks: the table's last ones, where images have fewer blocks than it."""
    multiples, count = BIGGAN[biggan_row(data)][0], halvings(data, 4) + 1
    return [width * m for m in (*multiples[:1] * (count - len(multiples)), *multiples[-count:])]
