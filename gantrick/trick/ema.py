from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import Count, Paper, Rate, Whole


class Ema(Component):
    """θ̄ ← d θ̄ + (1 − d) θ of G after every step, or every so many; samples and figures are drawn from θ̄.

    network: whose weights are averaged. Of D they are for the figures of its own classes (metric=classification_error),
    as in the official code of semi-supervised GANs (there d = 0.9999, from θ̄ = 0); training never sees either.

    Up to step `start` θ̄ is a copy of θ. With `ramp` the decay is min(d, (1 + n)/(10 + n)) at the n-th update after
    that, so that a short run does not average in its beginning. mean=uniform: the mean of all weights since then, with
    decay (n − 1)/n (Gidel et al., 1802.10551, call it Avg), for which `decay` and `ramp` do nothing.

    buffers: the running statistics of normalisation are averaged too, or copied; all other buffers are copied. With
    every=5 beside lookahead's every=5 it is slow weights that are averaged, as in that paper (2006.14567). Source:
    Yazıcı et al., arXiv 1806.04498; decay, start and averaged statistics as in BigGAN, 1809.11096.
    """

    paper = Paper(
        "yazici2019unusual",
        "The Unusual Effectiveness of Averaging in GAN Training",
        "Yaz{\\i}c{\\i}, Yasin and Foo, Chuan-Sheng and Winkler, Stefan and Yap, Kim-Hui and Piliouras, Georgios and "
        "Chandrasekhar, Vijay",
        2019,
        "1806.04498",
        "International Conference on Learning Representations",
    )
    neutral = {"decay": 0.0, "ramp": False}
    averaged: nn.Module
    averaged_discriminator: nn.Module
    steps: Tensor

    def __init__(
        self,
        network: Literal["discriminator", "generator", "both"] = "generator",
        decay: Rate = 0.999,
        start: Whole = 0,
        ramp: bool = True,
        every: Count = 1,
        mean: Literal["exponential", "uniform"] = "exponential",
        buffers: Literal["average", "copy"] = "average",
    ):
        super().__init__()
        players = ("generator", "discriminator") if network == "both" else (network,)
        self.claims = frozenset(f"{player[0]}.average" for player in players)
        self.decay, self.start, self.ramp, self.every, self.mean = decay, start, ramp, every, mean
        self.statistics = ("running_mean", "running_var") if buffers == "average" else ()
        self.register_buffer("steps", torch.zeros(()))

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        if "g.average" in self.claims:
            self.averaged = copy.deepcopy(generator).requires_grad_(False)
        if "d.average" in self.claims:
            self.averaged_discriminator = copy.deepcopy(discriminator).requires_grad_(False)

    @torch.no_grad()
    def average(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.steps += 1
        n = ((self.steps / self.every).floor() - self.start // self.every).clamp_min(0)
        if self.mean == "uniform":
            decay = (n - 1).clamp_min(0) / n.clamp_min(1)
        else:
            decay = ((1 + n) / (10 + n)).clamp(max=self.decay) if self.ramp else torch.full_like(n, self.decay)
        due = (self.steps % self.every == 0) | (self.steps <= self.start)
        decay = torch.where(due, decay * (self.steps > self.start), 1.0)

        if "g.average" in self.claims:
            self._follow(self.averaged, generator, decay, due)
        if "d.average" in self.claims:
            self._follow(self.averaged_discriminator, discriminator, decay, due)

    def _follow(self, averaged: nn.Module, network: nn.Module, decay: Tensor, due: Tensor) -> None:
        targets: list[Tensor] = list(averaged.parameters())
        sources: list[Tensor] = list(network.parameters())
        for (name, target), source in zip(averaged.named_buffers(), network.buffers(), strict=True):
            if name.endswith(self.statistics):
                targets.append(target)
                sources.append(source)
            else:
                target.copy_(source if self.every == 1 else torch.where(due, source, target))
        torch._foreach_mul_(targets, decay)
        torch._foreach_add_(targets, torch._foreach_mul(sources, 1 - decay))
