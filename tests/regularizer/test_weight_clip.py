"""θ_D ← clamp(θ_D, −c, c) after every move of D."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from playing import Game, recipe
from torch import Tensor

from gantrick.regularizer.weight_clip import WeightClip

ONE_BIG_STEP = {name: {"name": "sgd", "lr": 0.5} for name in ("generator", "discriminator")}


@pytest.mark.parametrize("d_norm", ["none", "layer", "batch"])
def test_after_every_move(d_norm: str) -> None:
    """No parameter of D is ever left above c in size, gains of norms included; many lie at c; G is not clipped."""
    data, model = {"name": "digits", "size": 16}, {"d_norm": d_norm}
    game = Game(recipe("wgan", {"weight_clip": {"bound": 0.02}}, {}, model, data, optimizer=ONE_BIG_STEP, d_steps=3))
    seen: list[tuple[str, float, float]] = []

    def largest(player: Any) -> float:
        return max(p.abs().max().item() for p in game.gan.networks[player].parameters())

    game.play.observe = lambda record, norm: seen.append(
        (record.player, largest("discriminator"), largest("generator"))
    )
    game.rounds(2)
    assert [player for player, _, _ in seen] == 2 * (["discriminator"] * 3 + ["generator"])
    assert all(d == pytest.approx(0.02, rel=1e-6) and g > 0.5 for _, d, g in seen)
    parameters = dict(game.gan.discriminator.named_parameters())
    assert (len([name for name in parameters if "norm" in name]) > 0) == (d_norm != "none")
    assert all(p.abs().max() <= torch.tensor(0.02) for p in parameters.values())


def test_the_move_before_it_is_the_optimizers() -> None:
    """What stands after a move is clamp(θ − lr · gradient): small weights are left where the optimizer put them."""
    game = Game(recipe("wgan", {"weight_clip": {"bound": 0.02}}, optimizer=ONE_BIG_STEP))
    batch = game.play.draw("discriminator")
    before = {name: p.detach().clone() for name, p in game.gan.parameters["discriminator"].items()}
    record = game.play.evaluate("discriminator", *batch)
    game.play.move("discriminator", [record])
    inside = 0
    for name, parameter in game.gan.parameters["discriminator"].items():
        wanted = (before[name] - 0.5 * record.gradients[name]).clamp(-0.02, 0.02)
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-6, atol=1e-9)
        inside += int((wanted.abs() < 0.02).sum())
    assert inside > 0


def test_generator_is_left_alone() -> None:
    network = torch.nn.Linear(3, 3)
    before: Tensor = network.weight.detach().clone()
    WeightClip(1e-3).project("generator", network)
    assert torch.equal(network.weight, before)
    WeightClip(1e-3).project("discriminator", network)
    assert torch.equal(network.weight, before.clamp(-1e-3, 1e-3))
