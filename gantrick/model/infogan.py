"""The small networks of InfoGAN, which the large study of GANs trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.heads import Pool, count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import needs_bias
from gantrick.layers.plan import check_images, first_size, first_spec, halvings, with_dropout_rate
from gantrick.types import ConfigError, Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate


@dataclass
class InfoGAN(Model):
    """G: fc 1024, fc 128·(H/4)·(W/4), deconv4x4 64, each norm and leaky relu, deconv4x4 C, tanh.

    D: conv4x4 64, leaky relu; conv4x4 128, fc 1024, each norm and leaky relu   (Chen et al., arXiv 1606.03657; as in
    Lucic et al.'s study, 1711.10337). All (de)convolutions have stride 2. A width is that of the layer next to the
    images (null: 64); the others are 2 and 16 times it. g_slope is that of G's leaky relu: 0.2 in the study's code, 0,
    a plain relu, in InfoGAN's own table. The study's G ends in a sigmoid and its images are in [0, 1]: tanh and [-1, 1]
    here are the same up to scale. The code of InfoGAN's latents is no part of these networks.

    Raises ConfigError for points, for sizes that are no multiples of 4, and for instance normalisation, which a fully
    connected layer has no positions for.
    """

    paper: ClassVar[Paper] = Paper(
        "lucic2018are",
        "Are GANs Created Equal? A Large-Scale Study",
        "Mario Lucic and Karol Kurach and Marcin Michalski and Sylvain Gelly and Olivier Bousquet",
        2018,
        "1711.10337",
        "Advances in Neural Information Processing Systems",
    )

    z_size: Count = 64
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    g_slope: Rate = 0.2
    pool: Pool = "flatten"
    init: Init = "normal"
    output: Literal["tanh", "none"] = "tanh"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        faults = [
            f"model.{name}: model.infogan has fully connected layers, which have no positions for instance "
            "normalisation; choose batch, layer or none"
            for name, kind in (("g_norm", g_norm), ("d_norm", d_norm))
            if kind == "instance"
        ]
        if not data.is_image:
            check_images("model.infogan", data)
        if halvings(data, 1) < 2:
            size = "x".join(map(str, data.shape[1:]))
            faults.append(
                f"model.infogan: images of {size} pixels cannot be halved twice; resize them to a multiple of 4"
            )
        if faults:
            raise ConfigError(*faults)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool=self.pool,
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=3,
        )

    def generator(self, spec: NetworkSpec) -> nn.Module:
        return Generator(spec, self.g_width or 64, self.g_slope, self.output == "tanh")

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        return Discriminator(with_dropout_rate(spec, self.d_dropout_rate), self.d_width or 64)


class Generator(nn.Module):
    """(B, Z) -> (B, C, H, W). Each of its three norms is a block of its own."""

    blocks = 3

    def __init__(self, spec: NetworkSpec, width: int, slope: float, tanh: bool):
        super().__init__()
        channels, height, wide = spec.data.shape
        self.slope, self.tanh = slope, tanh
        self.bottom = (2 * width, height // 4, wide // 4)
        units = 2 * width * (height // 4) * (wide // 4)
        self.norms = nn.ModuleList(spec.g_norm(size) for size in (16 * width, units, width))
        biases = [needs_bias(norm) for norm in self.norms]
        self.fc1 = nn.Linear(first_size(spec), 16 * width, bias=biases[0])
        self.fc2 = nn.Linear(16 * width, units, bias=biases[1])
        self.up1 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=biases[2])
        self.up2 = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)

    def forward(self, first: Tensor, conditions: Sequence[Tensor | None]) -> Tensor:
        h = F.leaky_relu(self.norms[0](self.fc1(first), conditions[0]), self.slope)
        h = F.leaky_relu(self.norms[1](self.fc2(h), conditions[1]), self.slope).view(-1, *self.bottom)
        h = self.up2(F.leaky_relu(self.norms[2](self.up1(h), conditions[2]), self.slope))
        return torch.tanh(h) if self.tanh else h


class Discriminator(nn.Module):
    """(B, C, H, W) -> (B, 16 width). The first layer has no norm."""

    def __init__(self, spec: NetworkSpec, width: int):
        super().__init__()
        channels, height, wide = spec.data.shape
        self.features = 16 * width
        self.norms = nn.ModuleList(spec.d_norm(size) for size in (2 * width, 16 * width))
        self.down1 = nn.Conv2d(spec.d_channels or channels, width, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=needs_bias(self.norms[0]))
        self.tail = spec.tail()
        units = count_features(self.tail, 2 * width, height // 4, wide // 4)
        self.fc = nn.Linear(units, self.features, bias=needs_bias(self.norms[1]))
        self.dropouts = nn.ModuleList(spec.d_dropout(0.5) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        h = self.dropouts[0](F.leaky_relu(self.down1(images), 0.2))
        h = self.dropouts[1](F.leaky_relu(self.norms[0](self.down2(h)), 0.2))
        features: Tensor = self.dropouts[2](F.leaky_relu(self.norms[1](self.fc(self.tail(h))), 0.2))
        return features
