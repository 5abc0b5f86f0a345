"""Fully connected networks, for points and, flattened, for small images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.heads import count_features
from gantrick.layers.initialisation import Init
from gantrick.layers.normalization import NoNorm, needs_bias
from gantrick.layers.plan import first_size, first_spec, with_dropout_rate
from gantrick.types import Bound, ConfigError, Count, DataShape, Model, NetworkSpec, Norm, Paper, Rate


@dataclass
class MLP(Model):
    """G: h ↦ relu(norm(W h)) for each hidden layer, then W h; D: h ↦ dropout(leaky_relu(norm(W h), 0.2))   (1406.2661).

    A width is that of all hidden layers, or a list of the widths of each, which is then the depth. d_slope is that of
    D's leaky relu, 0 a plain one. d_activation=maxout: a unit is the largest of d_pieces linear functions, which the
    norm is of (Goodfellow et al., arXiv 1302.4389).
    Raises ConfigError where instance normalisation is asked for: a hidden unit has no positions to normalise over; and
    where a list of widths does not have as many entries as the depth says.
    """

    paper: ClassVar[Paper] = papers.GAN
    auto_norms: ClassVar[tuple[str, str, str]] = ("none", "none", "none")

    z_size: Count = 2
    z_distribution: Literal["normal", "uniform"] = "normal"
    g_width: Count | list[Count] | None = None
    d_width: Count | list[Count] | None = None
    g_depth: Count | None = None
    d_depth: Count | None = None
    g_norm: Norm = "auto"
    d_norm: Norm = "auto"
    init: Init = "default"
    g_activation: Literal["relu", "softplus", "tanh"] = "relu"
    d_activation: Literal["leaky_relu", "tanh", "maxout"] = "leaky_relu"
    d_slope: Rate = 0.2
    d_pieces: Annotated[int, Bound(ge=2)] = 5
    output: Literal["auto", "tanh", "none"] = "auto"
    d_dropout: Rate = 0.0
    d_dropout_rate: Rate | None = None

    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        faults = [
            f"model.{name}: model.mlp has no positions for instance normalisation; choose batch, layer or none"
            for name, kind in (("g_norm", g_norm), ("d_norm", d_norm))
            if kind == "instance"
        ]
        faults += [
            f"model.{player}_depth: {depth} hidden layers, and model.{player}_width has {len(widths)}; leave "
            f"model.{player}_depth at null"
            for player, widths, depth in (("g", self.g_width, self.g_depth), ("d", self.d_width, self.d_depth))
            if isinstance(widths, list) and depth not in (None, len(widths))
        ]
        faults += [
            f"model.{player}_width: an empty list; give a width, or one for each hidden layer"
            for player, widths in (("g", self.g_width), ("d", self.d_width))
            if widths == []
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
            g_blocks=len(_widths(self.g_width, self.g_depth)),
        )

    def generator(self, spec: NetworkSpec) -> nn.Module:
        tanh = spec.data.is_image if self.output == "auto" else self.output == "tanh"
        return Generator(spec, _widths(self.g_width, self.g_depth), tanh, ACTIVATIONS[self.g_activation])

    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        spec = with_dropout_rate(spec, self.d_dropout_rate)
        activation: Activation = {
            "leaky_relu": lambda h: F.leaky_relu(h, self.d_slope),
            "tanh": torch.tanh,
            "maxout": lambda h: h.unflatten(1, (-1, self.d_pieces)).amax(2),
        }[self.d_activation]
        pieces = self.d_pieces if self.d_activation == "maxout" else 1
        return Discriminator(spec, _widths(self.d_width, self.d_depth), activation, pieces)


Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "softplus": F.softplus, "tanh": torch.tanh}


def _widths(width: int | list[int] | None, depth: int | None) -> list[int]:
    return width if isinstance(width, list) else [width or 128] * (depth or 3)


class Generator(nn.Module):
    """(B, Z) -> (B, *shape)."""

    def __init__(self, spec: NetworkSpec, widths: Sequence[int], tanh: bool, activation: Activation):
        super().__init__()
        self.blocks, self.shape, self.tanh, self.activation = len(widths), spec.data.shape, tanh, activation
        self.norms = nn.ModuleList(spec.g_norm(width) for width in widths)
        self.hidden = nn.ModuleList(
            nn.Linear(before, width, bias=needs_bias(norm))
            for before, width, norm in zip([first_size(spec), *widths[:-1]], widths, self.norms, strict=True)
        )
        self.last = nn.Linear(widths[-1], prod(self.shape))

    def forward(self, first: Tensor, conditions: Sequence[Tensor | None]) -> Tensor:
        h = first
        for layer, norm, condition in zip(self.hidden, self.norms, conditions, strict=True):
            h = self.activation(norm(layer(h), condition))
        h = self.last(h).view(-1, *self.shape)
        return torch.tanh(h) if self.tanh else h


class Discriminator(nn.Module):
    """(B, *shape) -> (B, F). As in DCGAN the first layer has no norm. pieces: linear functions a unit is made of."""

    def __init__(self, spec: NetworkSpec, widths: Sequence[int], activation: Activation, pieces: int = 1):
        super().__init__()
        channels, *size = spec.data.shape
        self.activation = activation
        inputs = (spec.d_channels or channels) * prod(size)
        outputs = [pieces * width for width in widths]
        self.norms = nn.ModuleList(spec.d_norm(count) if i else NoNorm(count) for i, count in enumerate(outputs))
        self.hidden = nn.ModuleList(
            nn.Linear(before, count, bias=needs_bias(norm))
            for before, count, norm in zip([inputs, *widths[:-1]], outputs, self.norms, strict=True)
        )
        self.dropouts = nn.ModuleList(spec.d_dropout(0.5) for _ in widths)
        self.tail = spec.tail()
        self.features = count_features(self.tail, widths[-1])

    def forward(self, images: Tensor) -> Tensor:
        h = images.flatten(1)
        for layer, norm, dropout in zip(self.hidden, self.norms, self.dropouts, strict=True):
            h = dropout(self.activation(norm(layer(h))))
        features: Tensor = self.tail(h)
        return features
