"""The convolutional networks of DCGAN, for images of any size that can be halved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.generators import Doubling
from gantrick.layers.heads import Pool, count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import NoNorm, needs_bias
from gantrick.layers.plan import check_images, first_spec, halvings, with_dropout_rate
from gantrick.layers.resampling import Down, Up, down_conv, up_conv
from gantrick.types import Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate


@dataclass
class DCGAN(Model):
    """G: z -> bottom -> [norm, relu, up-convolution] ... -> tanh; D: [down-convolution, norm, leaky relu 0.2] ...

    (arXiv 1511.06434). The bottom has the size of the images halved as often as it stays whole and at least 4 pixels
    (32 -> 4x4, 28 -> 7x7), or, of small images, up to three times down to 2 (16 -> 2x2). Widths are those next to the
    images and double towards the bottom; null is 64. Depths are the numbers of halvings; null is all of them.

    Raises ConfigError for points, and for images that cannot be halved that often.
    """

    paper: ClassVar[Paper] = Paper(
        key="radford2016dcgan",
        title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
        authors="Alec Radford and Luke Metz and Soumith Chintala",
        year=2016,
        arxiv="1511.06434",
        venue="International Conference on Learning Representations",
    )

    z_size: Count = 100
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_depth: Count | None = None
    d_depth: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    up: Up = "transposed"
    down: Down = "strided"
    pool: Pool = "flatten"
    init: Init = "normal"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        check_images("model.dcgan", data, g_depth=self.g_depth, d_depth=self.d_depth)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=self.g_depth or _depth(data),
        )

    def generator(self, spec: NetworkSpec) -> nn.Module:
        depth = self.g_depth or _depth(spec.data)
        return Doubling(spec, self.g_width or 64, depth, partial(up_conv, self.up), self.output == "tanh")

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        return Discriminator(
            with_dropout_rate(spec, self.d_dropout_rate),
            self.d_width or 64,
            self.d_depth or _depth(spec.data),
            self.down,
        )


def _depth(data: DataShape) -> int:
    """As many halvings as leave 4 pixels or more; small images take up to three that leave 2."""
    return max(halvings(data, 4), min(3, halvings(data, 2)))


class Discriminator(nn.Module):
    """(B, C, H, W) -> (B, F). The first layer has no norm."""

    def __init__(self, spec: NetworkSpec, width: int, depth: int, down: Down):
        super().__init__()
        channels, height, wide = spec.data.shape
        widths = [spec.d_channels or channels, *(width << i for i in range(depth))]
        self.norms = nn.ModuleList(spec.d_norm(w) if i else NoNorm(w) for i, w in enumerate(widths[1:]))
        self.downs = nn.ModuleList(
            down_conv(down, before, after, needs_bias(norm))
            for before, after, norm in zip(widths, widths[1:], self.norms, strict=False)
        )
        self.dropouts = nn.ModuleList(spec.d_dropout(0.5) for _ in range(depth))
        self.tail = spec.tail()
        self.features = count_features(self.tail, widths[-1], height >> depth, wide >> depth)

    def forward(self, images: Tensor) -> Tensor:
        h = images
        for down, norm, dropout in zip(self.downs, self.norms, self.dropouts, strict=True):
            h = dropout(F.leaky_relu(norm(down(h)), 0.2))
        features: Tensor = self.tail(h)
        return features
