"""Normalisation layers, all called as norm(h, condition); the plain ones here ignore the condition.

Batch normalisation keeps its moving statistics out of the forward pass: a forward only remembers what it saw, `take`
hands that over and `commit` writes it. So an objective can be evaluated any number of times before a move is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import parallel
from gantrick.types import ModuleFactory

EPS = 1e-5


class BatchNorm(nn.Module):
    """γ (h − μ) / √(σ² + ε) + β per channel of `(B, C)` or `(B, C, H, W)`   (Ioffe & Szegedy, arXiv 1502.03167).

    μ and σ² are the batch's in training and the running ones in evaluation. A training forward leaves the batch's mean
    and unbiased variance in `seen` until `take` takes them away. The batch is that of all processes.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, affine: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.seen: list[tuple[Tensor, Tensor]] = []  # (mean, unbiased variance) of each forward, waiting for `take`
        self.recording = True

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        if not self.training:
            return F.batch_norm(h, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, EPS)
        if parallel.world() > 1:
            return self._over_processes(h)
        if not self.recording:
            return F.batch_norm(h, None, None, self.weight, self.bias, True, 0.0, EPS)
        # Fresh each time: the graph of an earlier forward holds its own, and 1·new + 0·old keeps no NaN of a bad batch.
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        out = F.batch_norm(h, mean, var, self.weight, self.bias, True, 1.0, EPS)
        self.seen.append((mean, var))
        return out

    def _over_processes(self, h: Tensor) -> Tensor:
        """The same over the rows of all processes: σ² = E_r σ_r² + E_r (μ_r − μ)², any number of derivatives."""
        places = [0, *range(2, h.ndim)]
        x = h.float()
        own = torch.stack(torch.var_mean(x, places, correction=0))
        variances, means = parallel.gather(own[None]).unbind(1)
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        if self.recording:
            count = h.numel() // h.shape[1] * parallel.world()
            self.seen.append((mean.detach(), var.detach() * (count / (count - 1))))
        shape = (1, -1, *[1] * (h.ndim - 2))
        scale, shift = torch.rsqrt(var + EPS), self.bias
        if self.weight is not None:
            scale = scale * self.weight
        out = (x - mean.view(shape)) * scale.view(shape)
        return (out if shift is None else out + shift.view(shape)).to(h.dtype)


def _batch_norms(network: nn.Module) -> list[BatchNorm]:
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


Statistics = list[tuple[BatchNorm, Tensor, Tensor]]


def take(network: nn.Module) -> Statistics:
    """(layer, mean, variance) of every training forward since the last taking, in order; nothing waits afterwards."""
    taken: Statistics = []
    for layer in _batch_norms(network):
        taken += [(layer, mean, var) for mean, var in layer.seen]
        layer.seen = []
    return taken


@torch.no_grad()
def commit(statistics: Statistics, momentum: float = 0.1, accepted: Tensor | None = None) -> None:
    """running ← (1 − momentum) · running + momentum · batch, once for each forward, in order.

    accepted: 1 or 0 on the device; with 0 nothing changes.
    """
    while statistics:
        now: dict[int, tuple[BatchNorm, Tensor, Tensor]] = {}
        later: Statistics = []
        for entry in statistics:
            if id(entry[0]) in now:
                later.append(entry)
            else:
                now[id(entry[0])] = entry
        running = [t for layer, _, _ in now.values() for t in (layer.running_mean, layer.running_var)]
        seen = [t for _, mean, var in now.values() for t in (mean, var)]
        if accepted is not None:
            seen = [torch.where(accepted > 0, new, old) for new, old in zip(seen, running, strict=True)]
        torch._foreach_lerp_(running, seen, momentum)
        statistics = later


@contextmanager
def unrecorded(network: nn.Module) -> Iterator[None]:
    """Training forwards inside leave nothing for `take`, and what waited for it before stays."""
    layers = [layer for layer in _batch_norms(network) if layer.recording]
    for layer in layers:
        layer.recording = False
    try:
        yield
    finally:
        for layer in layers:
            layer.recording = True


class GroupNorm(nn.Module):
    """γ_c (h − μ_bg) / √(σ²_bg + ε) + β_c over each sample's groups of channels   (Wu & He, arXiv 1803.08494).

    One group is layer normalisation over (C, H, W), one for each channel is instance normalisation.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.group_norm(h, self.groups, self.weight, self.bias, EPS)


def layer_norm(channels: int) -> GroupNorm:
    return GroupNorm(channels, 1)


def instance_norm(channels: int) -> GroupNorm:
    return GroupNorm(channels, channels)


class NoNorm(nn.Module):
    """h ↦ h."""

    def __init__(self, channels: int):
        super().__init__()

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        return h


def norm(kind: str) -> ModuleFactory:
    """channels -> layer, for the kinds of `types.Norm` but auto, which is resolved before."""
    kinds: dict[str, ModuleFactory] = {
        "batch": BatchNorm,
        "layer": layer_norm,
        "instance": instance_norm,
        "none": NoNorm,
    }
    return kinds[kind]


def needs_bias(norm: nn.Module) -> bool:
    """Whether a layer before this norm is worth a bias: batch normalisation subtracts it again."""
    return not isinstance(norm, BatchNorm)
