from __future__ import annotations

from collections.abc import Mapping

import torch

from gantrick.stages import Component
from gantrick.types import Batch, Latents, Paper, Play, Player, Record

PLAYERS: tuple[Player, Player] = ("discriminator", "generator")


class Extragradient(Component):
    """θ_½ = θ − η A(g(θ)); θ ← θ − η A(g(θ_½)), for both players at once; A is the optimizer, Adam's is ExtraAdam.

    A step is one extrapolation and one update; both players' gradients are taken at the same weights, and the
    optimizer's moments follow both gradients. d_steps and g_steps are 1. same_batch: the update sees the batch of the
    extrapolation again; otherwise one of its own, as in the authors' code. Source: Gidel et al., arXiv 1802.10551.
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

    def __init__(self, same_batch: bool = False):
        super().__init__()
        self.same_batch = same_batch

    def update_rule(self, play: Play) -> None:
        before = {player: {n: p.detach().clone() for n, p in play.parameters(player).items()} for player in PLAYERS}
        drawn = {player: play.draw(player) for player in PLAYERS}
        for player, record in self._gradients(play, drawn).items():
            play.move(player, [record], final=False)
        if not self.same_batch:
            drawn = {player: play.draw(player) for player in PLAYERS}
        records = self._gradients(play, drawn)
        with torch.no_grad():
            for player in PLAYERS:
                for name, parameter in play.parameters(player).items():
                    parameter.copy_(before[player][name])
        for player, record in records.items():
            play.move(player, [record])

    def _gradients(self, play: Play, drawn: Mapping[Player, tuple[Batch | None, Latents]]) -> dict[Player, Record]:
        """Both players' at the present weights."""
        for player in PLAYERS:
            play.prepare(player)
        return {player: play.evaluate(player, *drawn[player]) for player in PLAYERS}
