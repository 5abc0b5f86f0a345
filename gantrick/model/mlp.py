"""Fully connected networks, for points and, flattened, for small images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.heads import count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import NoNorm, needs_bias
from gantrick.layers.plan import first_size, first_spec, with_dropout_rate
from gantrick.types import ConfigError, Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate


@dataclass
class MLP(Model):
    """G: h ↦ relu(norm(W h)) for each hidden layer, then W h; D: h ↦ dropout(leaky_relu(norm(W h), 0.2))   (1406.2661).

    Raises ConfigError where instance normalisation is asked for: a hidden unit has no positions to normalise over.
    """

    paper: ClassVar[Paper] = papers.GAN
    auto_norms: ClassVar[tuple[str, str, str]] = ("none", "none", "none")

    z_size: Count = 2
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | None = None
    d_width: Count | None = None
    g_depth: Count | None = None
    d_depth: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    init: Init = "default"
    output: Literal["auto", "tanh", "none"] = "auto"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        faults = [
            f"model.{name}: model.mlp has no positions for instance normalisation; choose batch, layer or none"
            for name, kind in (("g_norm", g_norm), ("d_norm", d_norm))
            if kind == "instance"
        ]
        if faults:
            raise ConfigError(*faults)
        return first_spec(
            data,
            g_norm,
            d_norm,
            z_size=self.z_size,
            z_distribution=self.z_distribution,
            pool="flatten",
            init=self.init,
            d_dropout=self.d_dropout,
            g_blocks=self.g_depth or 3,
        )

    def generator(self, spec: NetworkSpec) -> nn.Module:
        tanh = spec.data.is_image if self.output == "auto" else self.output == "tanh"
        return Generator(spec, self.g_width or 128, self.g_depth or 3, tanh)

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        return Discriminator(with_dropout_rate(spec, self.d_dropout_rate), self.d_width or 128, self.d_depth or 3)


class Generator(nn.Module):
    """(B, Z) -> (B, *shape)."""

    def __init__(self, spec: NetworkSpec, width: int, depth: int, tanh: bool):
        super().__init__()
        self.blocks, self.shape, self.tanh = depth, spec.data.shape, tanh
        self.norms = nn.ModuleList(spec.g_norm(width) for _ in range(depth))
        self.hidden = nn.ModuleList(
            nn.Linear(width if i else first_size(spec), width, bias=needs_bias(norm))
            for i, norm in enumerate(self.norms)
        )
        self.last = nn.Linear(width, prod(self.shape))

    def forward(self, first: Tensor, conditions: Sequence[Tensor | None]) -> Tensor:
        h = first
        for layer, norm, condition in zip(self.hidden, self.norms, conditions, strict=True):
            h = F.relu(norm(layer(h), condition))
        h = self.last(h).view(-1, *self.shape)
        return torch.tanh(h) if self.tanh else h


class Discriminator(nn.Module):
    """(B, *shape) -> (B, F). As in DCGAN the first layer has no norm."""

    def __init__(self, spec: NetworkSpec, width: int, depth: int):
        super().__init__()
        channels, *size = spec.data.shape
        inputs = (spec.d_channels or channels) * prod(size)
        self.norms = nn.ModuleList(spec.d_norm(width) if i else NoNorm(width) for i in range(depth))
        self.hidden = nn.ModuleList(
            nn.Linear(width if i else inputs, width, bias=needs_bias(norm)) for i, norm in enumerate(self.norms)
        )
        self.dropouts = nn.ModuleList(spec.d_dropout(0.5) for _ in range(depth))
        self.tail = spec.tail()
        self.features = count_features(self.tail, width)

    def forward(self, images: Tensor) -> Tensor:
        h = images.flatten(1)
        for layer, norm, dropout in zip(self.hidden, self.norms, self.dropouts, strict=True):
            h = dropout(F.leaky_relu(norm(layer(h)), 0.2))
        features: Tensor = self.tail(h)
        return features
