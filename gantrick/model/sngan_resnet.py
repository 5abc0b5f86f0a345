"""The residual networks of SNGAN and WGAN-GP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from gantrick import papers
from gantrick.layers.heads import Pool
from gantrick.layers.initialisation import Init
from gantrick.layers.plan import check_images, first_spec, halvings, with_dropout_rate
from gantrick.layers.resampling import Down, Up
from gantrick.layers.resnet import Discriminator, Generator
from gantrick.types import Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate


@dataclass
class SNGANResNet(Model):
    """G: z -> bottom -> up-blocks -> norm, relu, conv3x3, tanh; D: blocks -> relu -> sum over positions.

    (arXiv 1802.05957). Spectral normalisation itself is trick=spectral_norm.

    Up to 32 pixels all blocks have one width, null being the paper's 256 in G and 128 in D, and D halves in the first
    two of four blocks. Beyond, a width is that next to the images, null being 64; it doubles from block to block up to
    16 times, and D halves in five blocks or as far as the size allows, with one more block from 128 pixels on. g_depth
    is the number of up-blocks, d_depth that of D's blocks; null is the paper's.

    Raises ConfigError for points, and for images that cannot be halved that often.
    """

    paper: ClassVar[Paper] = papers.SPECTRAL_NORM
    auto_norms: ClassVar[tuple[str, str, str]] = ("batch", "none", "none")

    z_size: Count = 128
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_depth: Count | None = None
    d_depth: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    up: Up = "nearest"
    down: Down = "pooled"
    pool: Pool = "sum"
    init: Init = "xavier"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        check_images("model.sngan_resnet", data, g_depth=self.g_depth)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=self.g_depth or halvings(data, 4),
        )

    def generator(self, spec: NetworkSpec) -> nn.Module:
        depth = self.g_depth or halvings(spec.data, 4)
        if max(spec.data.shape[1:]) <= 32:
            widths = [self.g_width or 256] * (depth + 1)
        else:
            widths = [(self.g_width or 64) << min(i, 4) for i in reversed(range(depth + 1))]
        return Generator(spec, widths, self.up, self.output == "tanh")

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        ups, possible = halvings(spec.data, 4), halvings(spec.data, 2)
        if max(spec.data.shape[1:]) <= 32:
            widths, halved = [self.d_width or 128] * (self.d_depth or 4), min(2, possible)
        else:
            depth = self.d_depth or max(5, ups + 1)
            widths, halved = [(self.d_width or 64) << min(i, 4) for i in range(depth)], min(max(5, ups), possible)
        return Discriminator(
            with_dropout_rate(spec, self.d_dropout_rate),
            widths,
            [self.down if i < halved else None for i in range(len(widths))],
        )
