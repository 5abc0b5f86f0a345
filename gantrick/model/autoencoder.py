"""An autoencoder as discriminator: the networks of BEGAN, with the energy of BEGAN or of EBGAN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.heads import Pool, count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.plan import check_images, first_size, first_spec, halvings, with_dropout_rate
from gantrick.layers.resampling import NearestUpConv
from gantrick.types import ConfigError, Count, DataShape, Model, ModuleFactory, NetworkSpec, Norm, Paper, Rate


@dataclass
class Autoencoder(Model):
    """D(x) = −e(x), e(x) = mean |x − Dec(Enc(x))|^p over C, H, W: the score of D is minus an autoencoder's error.

    energy: `l1` (p = 1, BEGAN, arXiv 1703.10717) or `l2` (p = 2, EBGAN, arXiv 1609.03126). The features are the code
    Enc(x) `(B, code)`, code null being as many entries as z; the reconstruction is handed on beside them. A score
    never rises above 0. With the hinge loss this is EBGAN with margin 1.

    The networks are BEGAN's: 3x3 convolutions of n = g_width or d_width channels (null: 128), elu, no normalisation.
    G and the decoder: fc -> bottom -> [conv, conv] at each size, nearest up-sampling in between -> conv; nothing after
    it, as in carpedm20's code. The encoder: conv -> [conv, conv, conv of stride 2] with n, 2n, 3n … channels, the last
    without the third -> fc. The bottom has the size of the images halved as often as it stays at least 8 pixels (of
    small images 4). The paper's skip connections and vanishing residuals are left out; a norm, where one is asked for
    or a trick brings one, stands after every convolution but the strided and the last.

    D has no head, so what would change it is refused. Raises ConfigError for points, for images that cannot be halved,
    and where a trick adds to the features that a head would read.
    """

    paper: ClassVar[Paper] = papers.BEGAN
    auto_norms: ClassVar[tuple[str, str, str]] = ("none", "none", "none")
    claims: ClassVar[frozenset[str]] = frozenset({"d.head", "d.direction"})
    provides: ClassVar[frozenset[str]] = frozenset({"d.energy"})

    z_size: Count = 64
    z_distribution: Literal["normal", "uniform"] = "uniform"
    code: Count | None = None
    energy: Literal["l1", "l2"] = "l1"
    g_width: Count | None = None
    d_width: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    pool: Pool = "flatten"
    init: Init = "xavier"
    output: Literal["tanh", "none"] = "none"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        check_images("model.autoencoder", data, depth=None)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=_depth(data) + 1,
        ).but(energy=absolute_error if self.energy == "l1" else squared_error)

    def generator(self, spec: NetworkSpec) -> nn.Module:
        width, shape = self.g_width or 128, (spec.data.shape[0], *spec.data.shape[1:])
        return Decoder(first_size(spec), width, shape, spec.g_norm, _depth(spec.data), self.output == "tanh")

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        if spec.necks:
            raise ConfigError(
                "model.autoencoder: its score is the error of a reconstruction, so nothing reads what a trick adds to "
                "D's features; leave that trick out, or have it act at D's input"
            )
        spec = with_dropout_rate(spec, self.d_dropout_rate)
        return Discriminator(spec, self.d_width or 128, self.code or self.z_size, _depth(spec.data), self.output)


def absolute_error(images: Tensor, reconstruction: Tensor) -> Tensor:
    """mean |x − x̂| of each sample: (B,)."""
    return (images - reconstruction).abs().flatten(1).mean(1)


def squared_error(images: Tensor, reconstruction: Tensor) -> Tensor:
    """mean (x − x̂)² of each sample: (B,)."""
    return (images - reconstruction).square().flatten(1).mean(1)


def _depth(data: DataShape) -> int:
    return halvings(data, 8) or halvings(data, 4)


class Decoder(nn.Module):
    """(B, Z) -> (B, C, H, W); every size is a block, whose two norms are handed its condition."""

    def __init__(self, inputs: int, width: int, shape: tuple[int, ...], norm: ModuleFactory, depth: int, tanh: bool):
        super().__init__()
        channels, height, wide = shape
        self.blocks, self.tanh = depth + 1, tanh
        self.bottom = (width, height >> depth, wide >> depth)
        self.first = nn.Linear(inputs, width * self.bottom[1] * self.bottom[2])
        self.conv1 = nn.ModuleList(
            NearestUpConv(width, width) if i else nn.Conv2d(width, width, 3, padding=1) for i in range(depth + 1)
        )
        self.conv2 = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth + 1))
        self.norm1 = nn.ModuleList(norm(width) for _ in range(depth + 1))
        self.norm2 = nn.ModuleList(norm(width) for _ in range(depth + 1))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, first: Tensor, conditions: Sequence[Tensor | None]) -> Tensor:
        h = self.first(first).view(-1, *self.bottom)
        for i, condition in enumerate(conditions):
            h = F.elu(self.norm1[i](self.conv1[i](h), condition))
            h = F.elu(self.norm2[i](self.conv2[i](h), condition))
        h = self.last(h)
        return torch.tanh(h) if self.tanh else h


class Encoder(nn.Module):
    """(B, C, H, W) -> code (B, F)."""

    def __init__(self, spec: NetworkSpec, width: int, code: int, depth: int):
        super().__init__()
        channels, height, wide = spec.data.shape
        widths = [width * (i + 1) for i in range(depth + 1)]
        before = [width, *widths]
        self.first = nn.Conv2d(spec.d_channels or channels, width, 3, padding=1)
        self.conv1 = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(before, widths, strict=False))
        self.conv2 = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths)
        self.norm1 = nn.ModuleList(spec.d_norm(w) for w in widths)
        self.norm2 = nn.ModuleList(spec.d_norm(w) for w in widths)
        self.downs = nn.ModuleList(nn.Conv2d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.dropouts = nn.ModuleList(spec.d_dropout(0.5) for _ in widths)
        self.tail = spec.tail()
        self.last = nn.Linear(count_features(self.tail, widths[-1], height >> depth, wide >> depth), code)

    def forward(self, images: Tensor) -> Tensor:
        h = F.elu(self.first(images))
        for i in range(len(self.conv1)):
            h = F.elu(self.norm1[i](self.conv1[i](h)))
            h = F.elu(self.norm2[i](self.conv2[i](h)))
            if i < len(self.downs):
                h = F.elu(self.downs[i](h))
            h = self.dropouts[i](h)
        code: Tensor = self.last(self.tail(h))
        return code


class Discriminator(nn.Module):
    """What D saw (B, C, H, W) -> (code (B, F), reconstruction of it (B, C, H, W))."""

    def __init__(self, spec: NetworkSpec, width: int, code: int, depth: int, output: str):
        super().__init__()
        self.features = code
        self.encoder = Encoder(spec, width, code, depth)
        shape = (spec.d_channels or spec.data.shape[0], *spec.data.shape[1:])
        self.decoder = Decoder(code, width, shape, spec.d_norm, depth, output == "tanh")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(images)
        return code, self.decoder(code, [None] * self.decoder.blocks)
