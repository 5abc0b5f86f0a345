"""The residual networks of BigGAN-deep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.attention import SelfAttention
from gantrick.layers.blocks import DiscriminatorBottleneck, GeneratorBottleneck
from gantrick.layers.heads import Pool, count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import norm
from gantrick.layers.plan import check_images, first_size, first_spec, halvings, with_dropout_rate
from gantrick.layers.resampling import Up
from gantrick.layers.resnet import BIGGAN, attended, biggan_row, biggan_widths, g_heights
from gantrick.types import Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate, Whole


@dataclass
class BigGANDeep(Model):
    """BigGAN with two bottleneck blocks a stage, whose shortcuts drop channels in G and add them in D.

    G: z -> bottom -> [block, up-block] ... -> batch norm, relu, conv3x3, tanh; D: conv3x3 -> [down-block, block] ... ->
    relu -> sum over positions (arXiv 1809.11096, tables 7 to 9). The channels are the paper's at 128, 256 and 512
    pixels, BigGAN-PyTorch's at 32 and 64, in multiples of a width, null being 128, or 64 up to 32 pixels; other sizes
    take the next larger one's. D halves in every stage, up to 32 pixels in the first two of three.

    attention is the height of the maps that attend, in both networks; 0 is none. null is 64, at 64 pixels the 32 inside
    (this project's choice), and none up to 32 pixels. Every one of G's blocks is handed a condition; the paper's is all
    of z and the class: trick=[skip_z,shared_embedding,projection] with trick.skip_z.z=whole and
    trick.shared_embedding.first=true. Raises ConfigError as model=biggan.
    """

    paper: ClassVar[Paper] = papers.BIGGAN
    auto_norms: ClassVar[tuple[str, str, str]] = ("batch", "none", "none")

    z_size: Count = 128
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    attention: Whole | None = None
    up: Up = "nearest"
    pool: Pool = "sum"
    init: Init = "orthogonal"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        check_images("model.biggan_deep", data, depth=None)
        self._attention(data)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=2 * halvings(data, 4),
        ).but(g_last_norm=norm(g_norm))

    def _attention(self, data: DataShape) -> int:
        d = [data.shape[1] >> (i + 1) for i in range(_halved(data))]
        return attended(
            "model.biggan_deep", self.attention, BIGGAN[biggan_row(data)][2], g_heights(data, halvings(data, 4)), d
        )

    def generator(self, spec: NetworkSpec) -> nn.Module:
        widths = biggan_widths(spec.data, self.g_width or _width(spec.data))
        return Generator(spec, widths, self.up, self.output == "tanh", self._attention(spec.data))

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        widths = [(self.d_width or _width(spec.data)) * m for m in BIGGAN[biggan_row(spec.data)][1]]
        spec = with_dropout_rate(spec, self.d_dropout_rate)
        return Discriminator(spec, widths, _halved(spec.data), self._attention(spec.data))


def _width(data: DataShape) -> int:
    return 64 if biggan_row(data) == 32 else 128


def _halved(data: DataShape) -> int:
    """How many of D's stages halve, of the first ones."""
    stages = len(BIGGAN[biggan_row(data)][1]) - 1
    return min(2 if biggan_row(data) == 32 else stages, halvings(data, 2))


class Generator(nn.Module):
    """(B, Z) -> (B, C, H, W). `widths` are the bottom's and each stage's; maps of height `attention` attend."""

    def __init__(self, spec: NetworkSpec, widths: Sequence[int], up: Up, tanh: bool, attention: int):
        super().__init__()
        channels, height, wide = spec.data.shape
        depth = len(widths) - 1
        self.blocks, self.tanh = 2 * depth, tanh
        self.bottom = (widths[0], height >> depth, wide >> depth)
        self.first = nn.Linear(first_size(spec), widths[0] * self.bottom[1] * self.bottom[2])
        self.ups = nn.ModuleList()
        for before, after in pairwise(widths):
            self.ups.append(GeneratorBottleneck(before, before, spec.g_norm))
            self.ups.append(GeneratorBottleneck(before, after, spec.g_norm, up))
        heights = g_heights(spec.data, depth)
        self.attention = nn.ModuleDict(
            {str(2 * i + 1): SelfAttention(widths[i + 1]) for i, side in enumerate(heights) if side == attention}
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
    """(B, C, H, W) -> (B, F). `widths` are the first layer's and each stage's; the first `halved` stages halve."""

    def __init__(self, spec: NetworkSpec, widths: Sequence[int], halved: int, attention: int):
        super().__init__()
        channels, height, wide = spec.data.shape
        self.first = nn.Conv2d(spec.d_channels or channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                DiscriminatorBottleneck(before, after, spec.d_norm, down=i < halved),
                DiscriminatorBottleneck(after, after, spec.d_norm),
            )
            for i, (before, after) in enumerate(pairwise(widths))
        )
        self.attention = nn.ModuleDict(
            {str(i): SelfAttention(widths[i + 1]) for i in range(halved) if height >> (i + 1) == attention}
        )
        self.dropouts = nn.ModuleList(
            spec.d_dropout(0.5) if i >= len(widths) - 4 else nn.Identity() for i in range(len(widths) - 1)
        )
        self.tail = spec.tail()
        self.features = count_features(self.tail, widths[-1], height >> halved, wide >> halved)

    def forward(self, images: Tensor) -> Tensor:
        h = self.first(images)
        for i, (stage, dropout) in enumerate(zip(self.stages, self.dropouts, strict=True)):
            h = stage(h)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
            h = dropout(h)
        features: Tensor = self.tail(F.relu(h))
        return features
