from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gantrick.layers.matrices import as_matrix, matrices
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, Paper, PenaltyInputs, Player

WARM_UP = 15  # power iterations before the first step


class SpectralPenalty(Component):
    """(λ/2) Σ_l σ(W_l)², σ the largest singular value by power iteration, `iterations` before each optimizer step.

    W is each weight of a linear layer or convolution as (out, in·kh·kw), of D, G or both; λ is `weight`. u and v are
    buffers and constants of the gradient, σ = uᵀ W v is not. Source: Yoshida and Miyato, arXiv 1705.10941; λ = 0.01 is
    recalled, not checked against it.
    """

    paper = Paper(
        "yoshida2017spectral",
        "Spectral Norm Regularization for Improving the Generalizability of Deep Learning",
        "Yoshida, Yuichi and Miyato, Takeru",
        2017,
        "1705.10941",
    )
    neutral = {"weight": 0.0}

    def __init__(
        self,
        weight: NonNegative = 0.01,
        network: Literal["discriminator", "generator", "both"] = "discriminator",
        iterations: Count = 1,
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.iterations, self.interval = weight, iterations, interval
        self.players: tuple[str, ...] = ("discriminator", "generator") if network == "both" else (network,)
        self.silent = frozenset(f"{p[0]}_penalty" for p in ("discriminator", "generator") if p not in self.players)
        self._matrices: dict[str, dict[str, bool]] = {}

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        players: dict[Player, nn.Module] = {"discriminator": discriminator, "generator": generator}
        for player in [p for p in players if p in self.players]:
            self._matrices[player] = matrices(players[player])
            for name, transposed in self._matrices[player].items():
                weight = as_matrix(players[player].get_parameter(name).detach(), transposed)
                for side, size in zip("uv", weight.shape, strict=True):
                    self.register_buffer(_slot(side, player, name), torch.randn(size, device=weight.device))
            self._iterate(player, players[player], WARM_UP)

    def prepare(self, player: Player, network: nn.Module) -> None:
        if player in self.players:
            self._iterate(player, network, self.iterations)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._half_squares(inputs)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._half_squares(inputs)

    @torch.no_grad()
    def _iterate(self, player: Player, network: nn.Module, iterations: int) -> None:
        for name, transposed in self._matrices[player].items():
            matrix = as_matrix(network.get_parameter(name), transposed)
            u, v = self._directions(player, name)
            for _ in range(iterations):
                v.copy_(nn.functional.normalize(matrix.T @ u, dim=0))
                u.copy_(nn.functional.normalize(matrix @ v, dim=0))

    def _half_squares(self, inputs: PenaltyInputs) -> Tensor:
        total = inputs.fake.scores.new_zeros(())
        for name, transposed in self._matrices[inputs.player].items():
            if name in inputs.weights:
                u, v = (direction.clone() for direction in self._directions(inputs.player, name))
                total = total + 0.5 * torch.dot(u, as_matrix(inputs.weights[name], transposed) @ v).square()
        return total

    def _directions(self, player: Player, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(_slot("u", player, name)), self.get_buffer(_slot("v", player, name))


def _slot(side: str, player: Player, name: str) -> str:
    return f"{side}_{player}_{name.replace('.', '_')}"
