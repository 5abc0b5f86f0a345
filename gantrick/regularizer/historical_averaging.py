from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, PenaltyInputs, Player


class HistoricalAveraging(Component):
    """λ ‖θ − (1/t) Σ_{i≤t} θ[i]‖² for each player: weights that stay near the mean of their own past.

    The θ[i] are the first weights and those after each step, and their mean m is a constant of the gradient; it is kept
    as m ← m + (θ − m)/t. window=N has the mean of the last N instead, and keeps N copies. λ is `weight`; the paper
    gives no number, 1 is torchgan's. Source: Salimans et al., arXiv 1606.03498, section 3.3.
    """

    paper = papers.IMPROVED
    neutral = {"weight": 0.0}
    count: Tensor

    def __init__(
        self,
        weight: NonNegative = 1.0,
        window: Count | None = None,
        network: Literal["both", "generator", "discriminator"] = "both",
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.window, self.interval = weight, window, interval
        self.players: tuple[str, ...] = ("discriminator", "generator") if network == "both" else (network,)
        self.silent = frozenset(f"{p[0]}_penalty" for p in ("discriminator", "generator") if p not in self.players)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._slots: dict[str, dict[str, str]] = {}

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        for player, network in (("discriminator", discriminator), ("generator", generator)):
            if player in self.players:
                names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
                self._slots[player] = {name: f"{player}_{name.replace('.', '_')}" for name in names}
                for name, slot in self._slots[player].items():
                    weight = network.get_parameter(name).detach()
                    self.register_buffer(f"mean_{slot}", torch.zeros_like(weight))
                    if self.window:
                        self.register_buffer(f"past_{slot}", weight.new_zeros(self.window, *weight.shape))
        self.average(generator, discriminator)

    @torch.no_grad()
    def average(self, generator: nn.Module, discriminator: nn.Module) -> None:
        place = self.count % (self.window or 1)
        self.count += 1
        for player, network in (("discriminator", discriminator), ("generator", generator)):
            for name, slot in self._slots.get(player, {}).items():
                weight, mean = network.get_parameter(name), self.get_buffer(f"mean_{slot}")
                if self.window:
                    past = self.get_buffer(f"past_{slot}")
                    past.index_copy_(0, place[None], weight[None])
                    mean.copy_(past.sum(0) / self.count.clamp(max=self.window))
                else:
                    mean.add_((weight - mean) / self.count)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._distance(inputs, "discriminator")

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._distance(inputs, "generator")

    def _distance(self, inputs: PenaltyInputs, player: Player) -> Tensor:
        total = inputs.fake.scores.new_zeros(())
        for name, weight in inputs.weights.items():
            total = total + (weight - self.get_buffer(f"mean_{self._slots[player][name]}")).square().sum()
        return total
