from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from gantrick.layers.normalization import unrecorded
from gantrick.layers.weight_norm import normalised, standardising, weight_norm
from gantrick.stages import Component, Forbidden
from gantrick.types import Batch, NetworkSpec, Paper, Positive, Whole


class WeightNorm(Component):
    """W_o = g_o θ_o / ‖θ_o‖ for each output o of each layer of D: its direction and its length are trained apart.

    At the start θ's entries have the root mean square `rms`, which sets how fast Adam turns directions, and on
    `samples` reals g and the biases are set so that every layer's outputs have mean 0 and deviation 1, those of D's
    heads `head_std`, one layer after the other with D's noise and dropout on; samples=0 leaves the network as it was.
    lengths=head trains g in D's heads alone; in its body it stays as it was set.
    Source: Salimans and Kingma, arXiv 1602.07868. rms 0.05 and lengths=head as in the official code of semi-supervised
    GANs for CIFAR-10, arXiv 1606.03498 and 1803.01541, there with head_std 0.1.
    """

    paper = Paper(
        "salimans2016weight",
        "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
        "Salimans, Tim and Kingma, Diederik P.",
        2016,
        "1602.07868",
        "Advances in Neural Information Processing Systems",
    )
    provides = frozenset({"d.weight_norm"})
    forbids: Mapping[str, Forbidden] = {
        "d.spectral_norm": Forbidden(
            "each gives D's weights a scale of its own, and the outer one undoes the inner",
            "leave one of the two out, or set trick.spectral_norm.network=generator",
        )
    }

    def __init__(
        self,
        lengths: Literal["all", "head"] = "all",
        samples: Whole = 500,
        head_std: Positive = 1.0,
        rms: Positive = 0.05,
    ):
        super().__init__()
        self.lengths, self.samples, self.head_std, self.rms = lengths, samples, head_std, rms

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def wrap(layer: nn.Module) -> nn.Module:
            return weight_norm(layer, self.rms)

        return spec.but(d_wrappers=(*spec.d_wrappers, wrap))

    def initialise(self, generator: nn.Module, discriminator: nn.Module, reals: Callable[[int], Batch]) -> None:
        if self.samples:
            body = set(discriminator.body.modules())  # type: ignore[union-attr]
            batch, deviation = reals(self.samples), lambda layer: 1.0 if layer in body else self.head_std
            with torch.no_grad(), unrecorded(discriminator), standardising(discriminator, deviation):
                discriminator(batch.images, batch.labels)

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        if self.lengths == "head":
            for _, norm in normalised(discriminator.body):  # type: ignore[arg-type]
                norm.g.requires_grad_(False)
