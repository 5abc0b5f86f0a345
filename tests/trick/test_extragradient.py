"""Extragradient against its two lines in numpy, and on the game where plain descent leaves the equilibrium."""

from typing import Any

import numpy as np
import pytest
import torch
from bilinear import Bilinear
from playing import Game, recipe

from gantrick.trick.extragradient import Extragradient
from gantrick.types import ConfigError


def test_the_two_lines_with_descent() -> None:
    game, lr = Bilinear(torch.optim.SGD, lr=0.2), 0.2
    x, y = (game.weights[p].detach().numpy().copy() for p in ("generator", "discriminator"))
    for _ in range(5):
        half_x, half_y = x - lr * y, y + lr * x
        x, y = x - lr * half_y, y + lr * half_x
        Extragradient().update_rule(game)  # type: ignore[arg-type]
    np.testing.assert_allclose(game.weights["generator"].detach(), x, rtol=1e-12)
    np.testing.assert_allclose(game.weights["discriminator"].detach(), y, rtol=1e-12)


def test_extraadam_updates_its_moments_at_both_points() -> None:
    game = Bilinear(torch.optim.Adam, lr=0.1, betas=(0.5, 0.9), eps=1e-8)
    x, y = (game.weights[p].detach().numpy().copy() for p in ("generator", "discriminator"))
    moments = {k: [np.zeros(3), np.zeros(3), 0] for k in "xy"}

    def adam(k: str, g: np.ndarray) -> np.ndarray:
        m, v, t = moments[k]
        m, v, t = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2, t + 1
        moments[k] = [m, v, t]
        return 0.1 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)

    for _ in range(4):
        half_y, half_x = y - adam("y", -x), x - adam("x", y)
        y, x = y - adam("y", -half_x), x - adam("x", half_y)
        Extragradient().update_rule(game)  # type: ignore[arg-type]
    np.testing.assert_allclose(game.weights["generator"].detach(), x, rtol=1e-9)
    np.testing.assert_allclose(game.weights["discriminator"].detach(), y, rtol=1e-9)


def past(game: Bilinear) -> Extragradient:
    trick = Extragradient(from_past=True)
    trick.begin(*(torch.nn.ParameterDict({"w": game.weights[player]}) for player in ("generator", "discriminator")))
    return trick


def test_from_the_past_with_descent() -> None:
    """Algorithm 3: the look-ahead goes along the last update's gradient; at first along the present one."""
    game, lr = Bilinear(torch.optim.SGD, lr=0.2), 0.2
    trick = past(game)
    x, y = (game.weights[p].detach().numpy().copy() for p in ("generator", "discriminator"))
    gx, gy = y, -x
    for game.step in range(6):
        half_x, half_y = x - lr * gx, y - lr * gy
        gx, gy = half_y, -half_x
        x, y = x - lr * gx, y - lr * gy
        trick.update_rule(game)  # type: ignore[arg-type]
    np.testing.assert_allclose(game.weights["generator"].detach(), x, rtol=1e-6)
    np.testing.assert_allclose(game.weights["discriminator"].detach(), y, rtol=1e-6)


def test_plain_descent_leaves_the_equilibrium_and_this_finds_it() -> None:
    plain, extra, late = (Bilinear(torch.optim.SGD, lr=0.1) for _ in range(3))
    start, trick = plain.distance, past(late)
    for late.step in range(1500):
        plain.both_at_once()
        Extragradient().update_rule(extra)  # type: ignore[arg-type]
        trick.update_rule(late)  # type: ignore[arg-type]
    assert plain.distance > 100 * start and extra.distance < 1e-3 * start and late.distance < 1e-3 * start


def test_clipping_holds_after_the_update_too() -> None:
    made = recipe(loss="wgan", regularizer={"weight_clip": {"bound": 0.01}}, trick={"extragradient": {}})
    game = Game(made).rounds(2)
    assert max(float(p.detach().abs().max()) for p in game.gan.discriminator.parameters()) <= 0.01 + 1e-9


def test_what_follows_a_move_follows_the_update_alone() -> None:
    """BEGAN's k moves once a step, by what the update saw; D's running statistics and the rows are of the update too."""
    game = Game(recipe(loss="began", trick={"extragradient": {}}), batch_size=8)
    adapted, seen = [], []
    loss = game.gan.stages["adapt"][0]
    adapt, observe = loss.adapt, game.play.observe
    game.gan.stages._calls["adapt"] = [lambda records: (adapted.append(records[0].player), adapt(records))[1]]
    game.play.observe = lambda record, norm: (seen.append(record.player), observe(record, norm))[1]
    game.rounds(3)
    assert adapted == ["discriminator", "generator"] * 3 == seen


@pytest.mark.parametrize("same", [False, True])
def test_the_update_has_a_batch_of_its_own_or_the_same(same: bool) -> None:
    game = Game(recipe(trick={"extragradient": {"same_batch": same}}))
    drawn: list[Any] = []
    draw = game.play.draw
    game.play.draw = lambda player: (drawn.append(player), draw(player))[1]  # type: ignore[method-assign]
    game.rounds(1)
    assert drawn == ["discriminator", "generator"] * (1 if same else 2)


def test_from_the_past_a_step_draws_once_and_remembers_what_it_moved_along() -> None:
    game = Game(recipe(trick={"extragradient": {"from_past": True}}))
    trick: Any = game.gan.stages.components["trick.extragradient"]
    counts: list[int] = []
    records: list[Any] = []
    draw, move = game.play.draw, game.play.move
    game.play.draw = lambda player: (counts.append(1), draw(player))[1]  # type: ignore[method-assign]
    game.play.move = lambda player, found: (records.append(found[0]), move(player, found))[1]  # type: ignore[method-assign]
    game.rounds(3)
    assert len(counts) == 4 + 2 + 2
    remembered = [trick.get_buffer(slot) for slots in trick._slots.values() for slot in slots.values()]
    moved = [gradient for record in records[-2:] for gradient in record.gradients.values()]
    assert len(remembered) == len(moved) and all(torch.equal(a, b) for a, b in zip(remembered, moved, strict=True))


def test_no_batch_of_the_past() -> None:
    with pytest.raises(ConfigError, match="same_batch and from_past"):
        Extragradient(same_batch=True, from_past=True)
