"""torch-mimicry (kwotsin/mimicry), the named peer of the benchmarks: its networks without its metrics, their weights.

It comes from PyPI, `pip install --no-deps torch-mimicry`; nothing of it is needed to use gantrick.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gantrick.layers.normalization import BatchNorm


def load(nets: str = "sngan") -> types.ModuleType:
    """`torch_mimicry.nets.<nets>`. Its metrics import tensorflow, its trainer tensorboard: the networks do without."""
    for name in ("metrics", "datasets", "training"):
        sys.modules.setdefault(f"torch_mimicry.{name}", types.ModuleType(name))
    return importlib.import_module(f"torch_mimicry.nets.{nets}")


class MetricLog(dict[str, float]):
    """mimicry's own log of a step, without what its module imports: every value is taken from the device at once."""

    def add_metric(self, name: str, value: Any, group: str | None = None, precision: int = 4) -> None:
        self[name] = value.item() if isinstance(value, Tensor) else value


def children(network: nn.Module, prefix: str) -> list[Any]:
    return [module for name, module in network.named_children() if name.startswith(prefix)]


@torch.no_grad()
def copy_layer(layer: Any, source: Any) -> None:
    """Weight, bias, running statistics, and the state of spectral normalisation where both have it."""
    if parametrize.is_parametrized(layer, "weight"):
        chain = layer.parametrizations.weight
        chain.original.copy_(source.weight_orig)
        chain[0].u.copy_(source.weight_u)
        chain[0].v.copy_(source.weight_v)
    else:
        layer.weight.copy_(source.weight)
    layer.bias.copy_(source.bias)
    if isinstance(layer, BatchNorm):
        layer.running_mean.copy_(source.running_mean)
        layer.running_var.copy_(source.running_var)


def copy_generator(ours: Any, theirs: nn.Module) -> None:
    """mimicry's generator into the body of sngan_resnet's with bilinear up-sampling."""
    copy_layer(ours.first, theirs.l1)
    for block, source in zip(ours.ups, children(theirs, "block"), strict=True):
        for name, other in (("norm1", "b1"), ("conv1", "c1"), ("norm2", "b2"), ("conv2", "c2"), ("shortcut", "c_sc")):
            copy_layer(getattr(block, name), getattr(source, other))
    copy_layer(ours.norm, children(theirs, "b")[-1])
    copy_layer(ours.last, children(theirs, "c")[-1])


def copy_discriminator(ours: Any, theirs: nn.Module) -> None:
    """mimicry's discriminator into the body of sngan_resnet's. Its head is the last child of `theirs` named l…"""
    for block, source in zip(ours.blocks, children(theirs, "block"), strict=True):
        copy_layer(block.conv1, source.c1)
        copy_layer(block.conv2, source.c2)
        if isinstance(block.shortcut, nn.Conv2d):
            copy_layer(block.shortcut, source.c_sc)


class InPlaceRelu:
    """mimicry's relu is in place, so that a block's shortcut sees relu(h); inside, ours see it too."""

    def __init__(self, ours: Any):
        self.blocks = [block for block in ours.blocks if not block.first]

    def __enter__(self) -> None:
        for block in self.blocks:
            block.forward = lambda h, block=block: block.branch(h) + block.skip(F.relu(h))

    def __exit__(self, *_: object) -> None:
        for block in self.blocks:
            del block.forward
