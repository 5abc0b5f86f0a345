"""Weight normalisation as a parametrisation of a layer's weight, and its start from data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


class WeightNorm(nn.Module):
    """W_o = g_o θ_o / ‖θ_o‖ for each output o, θ (out, in·kh·kw) as it is trained   (Salimans & Kingma, 1602.07868).

    g (out,) is a parameter. torch's own parametrisation keeps it as a weight of as many dimensions as θ, which
    penalties on matrices would take for one.
    """

    def __init__(self, weight: Tensor, transposed: bool):
        super().__init__()
        self.dim = 1 if transposed else 0
        self.g = nn.Parameter(self._lengths(weight).flatten().clone())

    def _lengths(self, weight: Tensor) -> Tensor:
        inputs = [d for d in range(weight.ndim) if d != self.dim]
        lengths: Tensor = torch.linalg.vector_norm(weight, dim=inputs, keepdim=True)
        return lengths

    def forward(self, weight: Tensor) -> Tensor:
        shape = [1] * weight.ndim
        shape[self.dim] = -1
        return weight * (self.g.view(shape) / self._lengths(weight).clamp_min(1e-12))


def weight_norm(layer: nn.Module, rms: float) -> nn.Module:
    """The layer, its weight normalised from now on, θ's entries of this root mean square. W stays. In place."""
    transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    norm = WeightNorm(weight.detach(), transposed)
    with torch.no_grad():
        weight.mul_(rms / weight.square().mean().sqrt())
    parametrize.register_parametrization(layer, "weight", norm)
    return layer


def normalised(network: nn.Module) -> Iterator[tuple[nn.Module, WeightNorm]]:
    """The layers of a network with a normalised weight, and its normalisation."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            chain: Any = module.parametrizations["weight"]  # type: ignore[index]
            yield from ((module, norm) for norm in chain if isinstance(norm, WeightNorm))


@contextmanager
def standardising(network: nn.Module, std: Callable[[nn.Module], float]) -> Iterator[None]:
    """In a forward inside, each layer's g and bias are set so that its outputs have mean 0 and this deviation.

    Over the batch and all positions, in each channel, one layer after the other. A layer without a bias keeps its mean;
    one that is never called (an embedding's vectors taken as they are) keeps its g.
    """

    @torch.no_grad()
    def start(layer: Any, inputs: tuple[Tensor, ...], norm: WeightNorm) -> None:
        if layer.bias is not None:
            layer.bias.zero_()
        linear = isinstance(layer, nn.Linear)  # a head may make more of W h than W h
        out = (F.linear(inputs[0], layer.weight) if linear else layer.forward(*inputs)).float()
        places = [0, *range(2, out.ndim)]
        var, mean = torch.var_mean(out, places, correction=0)
        factor = std(layer) / var.sqrt().clamp_min(1e-6)
        norm.g.mul_(factor)
        if layer.bias is not None:
            layer.bias.copy_(-mean * factor)

    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs, norm=norm: start(module, inputs, norm))
        for layer, norm in normalised(network)
        if not isinstance(layer, nn.Embedding)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
