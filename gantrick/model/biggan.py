"""The residual networks of BigGAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from gantrick import papers
from gantrick.layers.heads import Pool
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import norm
from gantrick.layers.plan import check_images, first_spec, halvings, with_dropout_rate
from gantrick.layers.resampling import Down, Up
from gantrick.layers.resnet import (
    BIGGAN,
    Discriminator,
    Generator,
    attended,
    biggan_row,
    biggan_widths,
    d_heights,
    g_heights,
)
from gantrick.types import Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate, Whole

Z_SIZE = {32: 128, 64: 120, 128: 120, 256: 140, 512: 160}


@dataclass
class BigGAN(Model):
    """G: z -> bottom -> up-blocks -> batch norm, relu, conv3x3, tanh; D: wide blocks -> relu -> sum over positions.

    (arXiv 1809.11096, tables 3 to 6). The channels are the paper's at 128, 256 and 512 pixels, BigGAN-PyTorch's at 32
    and 64, in multiples of a width, null being 96, or 64 up to 32 pixels; other sizes take the next larger one's, cut
    at the bottom. In D all blocks but the last halve, up to 32 pixels the first two. G's last norm is unconditional.

    attention is the height of the maps that attend, in both networks; 0 is none. null is 64, at 64 pixels the 32 inside
    (this project's choice: the paper has no such size), and none up to 32 pixels. z_size null is the paper's 120, 140
    and 160 at 128, 256 and 512 pixels, and 128 up to 32.

    These are the bodies alone. The paper's conditions are tricks, which other models take as well: shared_embedding,
    skip_z, projection and spectral_norm with network=both and epsilon 1e-6; experiment=biggan_imagenet has them all.
    Without them it is an unconditional BigGAN. Raises ConfigError for points, for images that cannot be halved that
    often and for an attention that is not there.
    """

    paper: ClassVar[Paper] = papers.BIGGAN
    auto_norms: ClassVar[tuple[str, str, str]] = ("batch", "none", "none")

    z_size: Count | None = None
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    attention: Whole | None = None
    up: Up = "nearest"
    down: Down = "pooled"
    pool: Pool = "sum"
    init: Init = "orthogonal"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        check_images("model.biggan", data, depth=None)
        self._attention(data)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size or Z_SIZE[biggan_row(data)],
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=halvings(data, 4),
        ).but(g_last_norm=norm(g_norm))

    def _attention(self, data: DataShape) -> int:
        g, d = g_heights(data, halvings(data, 4)), d_heights(data, self._downs(data))
        return attended("model.biggan", self.attention, BIGGAN[biggan_row(data)][2], g, d)

    def _downs(self, data: DataShape) -> list[Down | None]:
        count = len(BIGGAN[biggan_row(data)][1])
        halved = min(2 if biggan_row(data) == 32 else count - 1, halvings(data, 2))
        return [self.down if i < halved else None for i in range(count)]

    def generator(self, spec: NetworkSpec) -> nn.Module:
        widths = biggan_widths(spec.data, self.g_width or _width(spec.data))
        return Generator(spec, widths, self.up, self.output == "tanh", self._attention(spec.data))

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        widths = [(self.d_width or _width(spec.data)) * m for m in BIGGAN[biggan_row(spec.data)][1]]
        spec = with_dropout_rate(spec, self.d_dropout_rate)
        return Discriminator(spec, widths, self._downs(spec.data), wide=True, attention=self._attention(spec.data))


def _width(data: DataShape) -> int:
    return 64 if biggan_row(data) == 32 else 96
