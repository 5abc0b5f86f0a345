from __future__ import annotations

from collections.abc import Mapping

from gantrick.stages import Component
from gantrick.types import Paper, Play, Player, Record

PLAYERS: tuple[Player, Player] = ("discriminator", "generator")


class Simultaneous(Component):
    """θ_D ← θ_D − η_D A(∇L_D(θ_D, θ_G)); θ_G ← θ_G − η_G A(∇L_G(θ_D, θ_G)): both players move from the same weights.

    Both gradients are of one batch of reals and one of latents, so that G is taught by the fakes that D has learnt
    from; A is the optimizer. It is what a single loss does in which what belongs to one player is a constant to the
    other: with `loss=o_gan` the joint step of O-GAN's official code, where E(sg G) − E(G) hides G's term from E, and
    with `loss=hinge` Su's GAN in one step. d_steps and g_steps are 1, and both batches D's; of `accumulate` batches the
    gradients are averaged. Source: Mescheder et al., arXiv 1705.10461; as one loss Su, arXiv 1903.01931.
    """

    paper = Paper(
        "mescheder2017numerics",
        "The Numerics of GANs",
        "Lars Mescheder and Sebastian Nowozin and Andreas Geiger",
        2017,
        "1705.10461",
        "Advances in Neural Information Processing Systems",
    )
    ignores = frozenset({"d_steps", "g_steps", "generator_batch_size"})
    neutral = None

    def update_rule(self, play: Play) -> None:
        for player in PLAYERS:
            play.prepare(player)
        found = [self._gradients(play) for _ in range(play.accumulate)]
        for player in PLAYERS:
            play.move(player, [records[player] for records in found])

    def _gradients(self, play: Play) -> Mapping[Player, Record]:
        """Both players' on one batch; G sees reals where a component has it look at them."""
        batch, latents = play.draw("discriminator")
        seen = {"discriminator": batch, "generator": batch if play.real_in_g else None}
        return {player: play.evaluate(player, seen[player], latents) for player in PLAYERS}
