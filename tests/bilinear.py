"""The game min_x max_y x·y with optimizers of torch, played through an update rule: gradient descent spirals outwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gantrick.types import Record


class Bilinear:
    """A `types.Play` whose generator is x and whose discriminator is y; D's loss is −x·y, G's is x·y."""

    step, d_steps, g_steps, accumulate, real_in_g = 0, 1, 1, 1, False

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer],
        wrap: Any = None,
        size: int = 3,
        seed: int = 0,
        noise: float = 0.0,
        **options: Any,
    ):
        torch.manual_seed(seed)
        self.noise = noise  # its standard deviation, added to every gradient
        self.weights = {p: nn.Parameter(torch.randn(size, dtype=torch.float64)) for p in ("discriminator", "generator")}
        self.optimizers = {player: optimizer([w], **options) for player, w in self.weights.items()}
        if wrap is not None:
            self.optimizers = {p: wrap(o, p) for p, o in self.optimizers.items()}
        self.moves: list[str] = []

    def parameters(self, player: str) -> dict[str, nn.Parameter]:
        return {"w": self.weights[player]}

    def optimizer(self, player: str) -> torch.optim.Optimizer:
        return self.optimizers[player]

    def prepare(self, player: str) -> None: ...

    def draw(self, player: str) -> tuple[None, None]:
        return None, None

    def evaluate(self, player: str, batch: None, latents: None, **_: Any) -> Record:
        x, y = self.weights["generator"].detach(), self.weights["discriminator"].detach()
        gradient = y.clone() if player == "generator" else -x.clone()
        if self.noise:
            gradient += self.noise * torch.randn_like(gradient)
        return Record(player, {}, {}, {"w": gradient}, None, None)  # type: ignore[arg-type]

    def move(self, player: str, records: Sequence[Record]) -> None:
        self.look(player, records[0].gradients)

    def look(self, player: str, gradients: Mapping[str, torch.Tensor]) -> None:
        self.weights[player].grad = gradients["w"].clone()
        self.optimizers[player].step()
        self.moves.append(player)

    def turn(self, player: str) -> None:
        self.move(player, [self.evaluate(player, None, None)])

    def both_at_once(self) -> None:
        records = {player: self.evaluate(player, None, None) for player in self.weights}
        for player, record in records.items():
            self.move(player, [record])

    @property
    def distance(self) -> float:
        """From the equilibrium at 0."""
        return float(sum(w.detach().square().sum() for w in self.weights.values()) ** 0.5)
