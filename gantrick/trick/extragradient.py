from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import Batch, ConfigError, Latents, Paper, Play, Player, Record

PLAYERS: tuple[Player, Player] = ("discriminator", "generator")
Drawn = dict[Player, tuple[Batch | None, Latents]]


class Extragradient(Component):
    """θ_½ = θ − η A(g(θ)); θ ← θ − η A(g(θ_½)), for both players at once; A is the optimizer, Adam's is ExtraAdam.

    A step is one extrapolation and one update; both players' gradients are taken at the same weights, and the
    optimizer's moments follow both gradients. d_steps and g_steps are 1. same_batch: the update sees the batch of the
    extrapolation again; otherwise one of its own, as in the authors' code. from_past: the extrapolation goes along the
    gradient of the last update, which halves the cost; at step 0, where there is none, along the present one. Raises
    ConfigError for both. Source: Gidel et al., arXiv 1802.10551 (algorithm 4, options 1 and 2).
    """

    paper = Paper(
        "gidel2019variational",
        "A Variational Inequality Perspective on Generative Adversarial Networks",
        'Gauthier Gidel and Hugo Berard and Ga{\\"e}tan Vignoud and Pascal Vincent and Simon Lacoste-Julien',
        2019,
        "1802.10551",
        "International Conference on Learning Representations",
    )
    ignores = frozenset({"d_steps", "g_steps", "accumulate"})
    neutral = None
    exercise = {"from_past": True}

    def __init__(self, same_batch: bool = False, from_past: bool = False):
        super().__init__()
        if same_batch and from_past:
            raise ConfigError(
                "same_batch and from_past: an extrapolation from the past has no batch; leave one of them out"
            )
        self.same_batch, self.from_past = same_batch, from_past
        self._slots: dict[Player, dict[str, str]] = {}

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        networks: dict[Player, nn.Module] = {"discriminator": discriminator, "generator": generator}
        for player, network in networks.items() if self.from_past else ():
            weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
            self._slots[player] = {name: f"past_{player}_{number}" for number, name in enumerate(weights)}
            for name, slot in self._slots[player].items():
                self.register_buffer(slot, torch.zeros_like(weights[name], requires_grad=False))

    def update_rule(self, play: Play) -> None:
        before = {player: {n: p.detach().clone() for n, p in play.parameters(player).items()} for player in PLAYERS}
        drawn: Drawn = {}
        ahead: Mapping[Player, Mapping[str, Tensor]]
        if self.from_past and play.step:
            ahead = {p: {n: self.get_buffer(slot) for n, slot in slots.items()} for p, slots in self._slots.items()}
        else:
            drawn = _draw(play)
            ahead = {player: record.gradients for player, record in _records(play, drawn).items()}
        for player, gradients in ahead.items():
            play.look(player, gradients)
        records = _records(play, drawn if self.same_batch else _draw(play))
        with torch.no_grad():
            for player in PLAYERS:
                for name, parameter in play.parameters(player).items():
                    parameter.copy_(before[player][name])
        for player, record in records.items():
            play.move(player, [record])
            self._remember(player, record.gradients)

    @torch.no_grad()
    def _remember(self, player: Player, gradients: Mapping[str, Tensor]) -> None:
        for name, slot in self._slots.get(player, {}).items():
            past, gradient = self.get_buffer(slot), gradients.get(name)
            if gradient is not None:
                finite = gradient.isfinite().all()  # else of a loss that was scaled too much
                past.copy_(torch.where(finite, gradient, past))


def _draw(play: Play) -> Drawn:
    return {player: play.draw(player) for player in PLAYERS}


def _records(play: Play, drawn: Drawn) -> dict[Player, Record]:
    """Both players' at the present weights."""
    for player in PLAYERS:
        play.prepare(player)
    return {player: play.evaluate(player, *drawn[player]) for player in PLAYERS}
