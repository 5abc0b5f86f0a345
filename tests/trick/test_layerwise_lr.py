"""Rates by name, seen in the moves that the optimizers make."""

from __future__ import annotations

import pytest
import torch
from playing import Game, recipe

from gantrick.config import compose
from gantrick.gan import preflight
from gantrick.recipe import Recipe, check
from gantrick.types import ConfigError

RATES = {"generator.*": 0.5, "generator.body.first.*": 0.0, "discriminator.body.downs.0.*": 3.0}


def scaled(rates: dict[str, float], optimizer: str) -> Recipe:
    choice = {"name": optimizer, "lr": 1e-3}
    made = recipe(trick={"layerwise_lr": {"rates": rates}}).resolved
    return check({**made, "optimizer": {"generator": choice, "discriminator": choice}})


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_first_move_is_multiplied_by_the_rate(optimizer: str) -> None:
    """The first D move and then the first G move from one state, with and without; every weight by its own factor."""
    moves = []
    for rates in (RATES, {}):
        game = Game(scaled(rates, optimizer))
        before = {p: {n: w.detach().clone() for n, w in g.items()} for p, g in game.gan.parameters.items()}
        for player in ("generator", "discriminator"):
            record = game.play.evaluate(player, *game.play.draw(player))
            game.play.move(player, [record])
        moves.append({p: {n: w.detach() - before[p][n] for n, w in g.items()} for p, g in game.gan.parameters.items()})
    seen = set()
    for name, move in moves[0]["generator"].items():
        factor = 0.0 if name.startswith("body.first.") else 0.5
        seen.add(factor)
        torch.testing.assert_close(move, factor * moves[1]["generator"][name], rtol=2e-2, atol=2e-7)
    assert seen == {0.0, 0.5}
    factors = {n: 3.0 if n.startswith("body.downs.0.") else 1.0 for n in moves[0]["discriminator"]}
    assert set(factors.values()) == {1.0, 3.0}
    groups = game.gan.optimizers["discriminator"].param_groups
    assert [group["lr"] for group in groups] == [1e-3] and "lr_scale" not in groups[0]
    rated = Game(scaled(RATES, optimizer)).gan
    rates = {p: g["lr"] for g in rated.optimizers["discriminator"].param_groups for p in map(id, g["params"])}
    for name, parameter in rated.parameters["discriminator"].items():
        assert rates[id(parameter)] == pytest.approx(1e-3 * factors[name])


def test_a_schedule_scales_every_rate() -> None:
    gan = Game(scaled(RATES, "adam")).gan
    gan.set_learning_rates(0.1)
    assert {round(g["lr"], 9) for g in gan.optimizers["generator"].param_groups} == {5e-5, 0.0}


def test_of_several_patterns_the_last_counts() -> None:
    rates = {"generator.body.first.*": 0.0, "generator.*": 0.5}
    gan = Game(scaled(rates, "adam")).gan
    assert [g["lr"] for g in gan.optimizers["generator"].param_groups] == [5e-4]


def test_a_pattern_that_names_nothing_is_refused_before_a_run() -> None:
    with pytest.raises(
        ConfigError, match=r"trick\.layerwise_lr\.rates: no parameter.*'generator\.bodi\.\*'; there are"
    ):
        preflight(scaled({"generator.bodi.*": 1.0}, "adam"))
    with pytest.raises(ConfigError, match=r"must begin with generator\. or discriminator\."):
        scaled({"body.*": 1.0}, "adam")


def test_rates_are_given_on_the_command_line() -> None:
    words = ["trick=layerwise_lr", "+trick.layerwise_lr.rates={generator.body.*:0.1}"]
    assert compose(words).tricks[0].options["rates"] == {"generator.body.*": 0.1}
