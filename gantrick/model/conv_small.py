"""The networks of the semi-supervised GANs, whose discriminator is the classifier that later papers call Conv-Small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.dropout import Dropout
from gantrick.layers.generators import Doubling
from gantrick.layers.heads import Pool, count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import NoNorm, needs_bias
from gantrick.layers.plan import check_images, first_spec, halvings, with_dropout_rate
from gantrick.types import ConfigError, Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate


@dataclass
class ConvSmall(Model):
    """G: fc 4w at H/8 × W/8, deconv5x5 2w, deconv5x5 w, each norm and relu, deconv5x5 C, tanh; all of stride 2.

    D: dropout; conv3x3 w, w, w/2; dropout; conv3x3 2w, 2w, 2w/2; dropout; conv3x3 4w without padding, conv1x1 2w,
    conv1x1 w; mean over positions; each with leaky relu 0.2, "/2" of stride 2   (Salimans et al., arXiv 1606.03498;
    1803.01541). w is the width of the layers next to the images, G's and D's own (null: 128), which for 32 pixels are
    the papers'. Dropout is D's own: `auto` is 0.2 on images and 0.5 later. The papers have weight normalisation in
    every layer of D: trick=weight_norm.

    Raises ConfigError for points, and for sizes that cannot be halved three times down to 2 pixels or more.
    """

    paper: ClassVar[Paper] = papers.IMPROVED
    auto_norms: ClassVar[tuple[str, str, str]] = ("batch", "none", "none")

    z_size: Count = 50
    z_distribution: Literal["normal", "uniform"] = "uniform"
    g_width: Count | None = None
    d_width: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    pool: Pool = "mean"
    init: Init = "xavier"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate | Literal["auto"] = "auto"
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        if not data.is_image:
            check_images("model.conv_small", data)
        if halvings(data, 2) < 3:
            size = "x".join(map(str, data.shape[1:]))
            raise ConfigError(
                f"model.conv_small: images of {size} pixels cannot be halved three times; resize them to a multiple of "
                "8, of at least 16"
            )
        spec = first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=0.0 if self.d_dropout == "auto" else self.d_dropout,
            g_blocks=3,
        )
        return spec.but(d_dropout=Dropout) if self.d_dropout == "auto" else spec

    def generator(self, spec: NetworkSpec) -> nn.Module:
        return Doubling(spec, self.g_width or 128, 3, _up, self.output == "tanh")

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        return Discriminator(with_dropout_rate(spec, self.d_dropout_rate), self.d_width or 128)


def _up(before: int, after: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1, bias=bias)


class Discriminator(nn.Module):
    """(B, C, H, W) -> (B, F). The first layer has no norm."""

    def __init__(self, spec: NetworkSpec, width: int):
        super().__init__()
        channels, height, wide = spec.data.shape
        w = width
        # out, kernel, stride, padding; dropout comes before the first of each three
        rows = [(w, 3, 1, 1), (w, 3, 1, 1), (w, 3, 2, 1), (2 * w, 3, 1, 1), (2 * w, 3, 1, 1), (2 * w, 3, 2, 1)]
        rows += [(4 * w, 3, 1, 0), (2 * w, 1, 1, 0), (w, 1, 1, 0)]
        self.norms = nn.ModuleList(spec.d_norm(out) if i else NoNorm(out) for i, (out, *_) in enumerate(rows))
        before = [spec.d_channels or channels, *(out for out, *_ in rows)]
        self.convs = nn.ModuleList(
            nn.Conv2d(into, out, kernel, stride, padding, bias=needs_bias(norm))
            for into, (out, kernel, stride, padding), norm in zip(before, rows, self.norms, strict=False)
        )
        self.dropouts = nn.ModuleList(spec.d_dropout(rate) for rate in (0.2, 0.5, 0.5))
        self.tail = spec.tail()
        self.features = count_features(self.tail, w, (height + 3) // 4 - 2, (wide + 3) // 4 - 2)

    def forward(self, images: Tensor) -> Tensor:
        h = images
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i % 3 == 0:
                h = self.dropouts[i // 3](h)
            h = F.leaky_relu(norm(conv(h)), 0.2)
        features: Tensor = self.tail(h)
        return features
