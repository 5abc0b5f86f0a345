from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from gantrick import parallel
from gantrick.layers.matrices import matrices
from gantrick.stages import Component
from gantrick.types import ConfigError, Count, NonNegative, Paper, PenaltyInputs, Player, Positive

EPSILON = 1e-12  # of a unit that is 0 for the whole batch


class SelfOrthogonality(Component):
    """Σ_l [λ₁ (Σ_{i≠j} ϑ_ij)² + λ₂ Σ_{i≠j} ϑ_ij²], ϑ = ŶᵀŶ, Ŷ = tanh(γ Y) with columns of length 1: unlike units.

    Y (rows, k) are the values of a chosen layer before its activation; of a convolution every position of every sample
    is a row, which is recalled, not checked. They are those of a further pass: of the reals through D in D's turn, of
    the latents through G in G's. layers: names as in a checkpoint, * for any part, of linear layers and convolutions.
    γ = 10, λ₁ = 100, λ₂ = 1 are as secondary sources give them (0809zheng, kexue.fm/archives/7169); no result with a
    GAN is known, and that it acts on D's body with `weight` 1e-4 is this project's choice. Raises ConfigError for a
    pattern that names no layer. Source: Zhang et al., arXiv 2001.01275.
    """

    paper = Paper(
        "zhang2020self",
        "Self-Orthogonality Module: A Network Architecture Plug-in for Learning Orthogonal Filters",
        "Zhang, Ziming and Ma, Wenchi and Wu, Yuanwei and Wang, Guanghui",
        2020,
        "2001.01275",
        "Winter Conference on Applications of Computer Vision",
    )
    neutral = {"weight": 0.0}

    def __init__(
        self,
        weight: NonNegative = 1e-4,
        layers: Sequence[str] = ["discriminator.body.*"],
        gamma: Positive = 10.0,
        sum_weight: NonNegative = 100.0,
        square_weight: NonNegative = 1.0,
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.interval, self.layers, self.gamma = weight, interval, tuple(layers), gamma
        self.sum_weight, self.square_weight = sum_weight, square_weight
        players = {pattern.partition(".")[0] for pattern in self.layers}
        self.silent = frozenset(f"{p[0]}_penalty" for p in ("discriminator", "generator") if p not in players)
        self._heard: list[Tensor] | None = None

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        def listen(layer: nn.Module, inputs: Any, output: Tensor) -> None:  # no method: a copied network shares it
            if self._heard is not None:
                self._heard.append(output)

        unused = set(self.layers)
        players: dict[Player, nn.Module] = {"generator": generator, "discriminator": discriminator}
        for player, network in players.items():
            own = {name.partition(".parametrizations")[0].removesuffix(".weight") for name in matrices(network)}
            for name, layer in network.named_modules():
                fitting = [p for p in self.layers if name in own and fnmatchcase(f"{player}.{name}", p)]
                unused -= set(fitting)
                if fitting:
                    layer.register_forward_hook(listen)
        if unused:
            raise ConfigError(*(f"{self.label}.layers: {p!r} names no layer with weights" for p in sorted(unused)))

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        self._heard = []
        inputs.critic(inputs.real.seen.detach(), inputs.real.batch.labels)
        return self._likeness()

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.fake.latents is not None
        self._heard = []
        inputs.generate(inputs.fake.latents)
        return self._likeness()

    def _likeness(self) -> Tensor:
        heard, self._heard = self._heard, None
        assert heard
        total = heard[0].new_zeros((), dtype=torch.float32)
        for output in heard:
            rows = torch.tanh(self.gamma * output.float()).movedim(1, -1).flatten(0, -2)
            gram = parallel.mean(rows.T @ rows)
            length = gram.diagonal().clamp_min(EPSILON).sqrt()
            likeness = gram / torch.outer(length, length)
            others = likeness - torch.diag(likeness.diagonal())
            total = total + self.sum_weight * others.sum().square() + self.square_weight * others.square().sum()
        return total
