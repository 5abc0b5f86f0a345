"""The residual networks of SAGAN: SNGAN's with self-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from gantrick.layers.heads import Pool
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import norm
from gantrick.layers.plan import check_images, first_spec, halvings, with_dropout_rate
from gantrick.layers.resampling import Down, Up
from gantrick.layers.resnet import Discriminator, Generator, attended, d_heights, g_heights
from gantrick.types import Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate, Whole


@dataclass
class SAGAN(Model):
    """The residual networks of SNGAN with a self-attention layer on the 32x32 maps of G and of D   (1805.08318).

    G: z -> bottom -> up-blocks -> norm, relu, conv3x3, tanh, the last norm unconditional; D: blocks as wide between
    their convolutions as behind them -> relu -> sum over positions. At 128 pixels G has 1024, 1024, 512, 256, 128, 64
    channels and D 64, 128, 256, 512, 1024, 1024, as in the official code; at other sizes they are those of
    model=sngan_resnet. A width is that next to the images (null: 64), up to 32 pixels of all blocks (null: 256 in G,
    128 in D).

    attention is the height of the maps that attend, in both networks; 0 is none. null is 32, or where G and D have no
    such map inside of them the largest below: 16 for images of 32 pixels, which is this project's choice.

    The rest of the paper are tricks: spectral_norm with network=both, conditional_batch_norm, projection; the hinge
    loss, and learning rates of 1e-4 for G and 4e-4 for D. Raises ConfigError for points, for images that cannot be
    halved that often and for an attention that is not there.
    """

    paper: ClassVar[Paper] = Paper(
        "zhang2019self",
        "Self-Attention Generative Adversarial Networks",
        "Han Zhang and Ian Goodfellow and Dimitris Metaxas and Augustus Odena",
        2019,
        "1805.08318",
        "International Conference on Machine Learning",
    )
    auto_norms: ClassVar[tuple[str, str, str]] = ("batch", "none", "none")

    z_size: Count = 128
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    attention: Whole | None = None
    up: Up = "nearest"
    down: Down = "pooled"
    pool: Pool = "sum"
    init: Init = "xavier"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        check_images("model.sagan", data, depth=None)
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
            g_blocks=halvings(data, 4),
        ).but(g_last_norm=norm(g_norm))

    def _attention(self, data: DataShape) -> int:
        inside = (
            g_heights(data, halvings(data, 4))[:-1] if self.attention is None else g_heights(data, halvings(data, 4))
        )
        return attended("model.sagan", self.attention, 32, inside, d_heights(data, self._downs(data)))

    def _downs(self, data: DataShape) -> list[Down | None]:
        possible, ups = halvings(data, 2), halvings(data, 4)
        if max(data.shape[1:]) <= 32:
            return [self.down if i < min(2, possible) else None for i in range(4)]
        return [self.down if i < min(max(5, ups), possible) else None for i in range(max(5, ups + 1))]

    def generator(self, spec: NetworkSpec) -> nn.Module:
        depth = halvings(spec.data, 4)
        if max(spec.data.shape[1:]) <= 32:
            widths = [self.g_width or 256] * (depth + 1)
        else:
            widths = [(self.g_width or 64) << min(i, 4) for i in reversed(range(depth + 1))]
        return Generator(spec, widths, self.up, self.output == "tanh", self._attention(spec.data))

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        downs = self._downs(spec.data)
        if max(spec.data.shape[1:]) <= 32:
            widths = [self.d_width or 128] * len(downs)
        else:
            widths = [(self.d_width or 64) << min(i, 4) for i in range(len(downs))]
        spec = with_dropout_rate(spec, self.d_dropout_rate)
        return Discriminator(spec, widths, downs, wide=True, attention=self._attention(spec.data))
