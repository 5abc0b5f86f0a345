"""λ ‖θ − (1/t) Σ_{i≤t} θ[i]‖², or with the mean of the last N."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playing import Game, equal, recipe


def weights(game: Game, player: Any) -> dict[str, np.ndarray]:
    return {n: p.detach().double().numpy().copy() for n, p in game.gan.parameters[player].items()}


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("network", ["both", "generator", "discriminator"])
def test_the_mean_of_the_past(window: int | None, network: str) -> None:
    """The penalty and its gradient 2 λ (θ − m) against the list of all weights since the first."""
    options = {"window": window, "network": network, "weight": 5.0}
    games = [Game(recipe("hinge", {"historical_averaging": {**options, "weight": w}})) for w in (5.0, 0.0)]
    game = games[0]
    history: dict[str, list] = {"discriminator": [], "generator": []}
    for _ in range(6):
        for player in history:
            history[player].append(weights(game, player))
        game.rounds(1)
    for player, past in history.items():
        past.append(weights(game, player))
        record = game.play.evaluate(player, *game.play.draw(player))
        if network not in ("both", player):
            assert not any("historical_averaging" in name for name in record.terms)
            continue
        kept = past[-window:] if window else past
        means = {name: sum(each[name] for each in kept) / len(kept) for name in past[-1]}
        wanted = 5 * sum(((past[-1][name] - means[name]) ** 2).sum() for name in means)
        assert wanted > 1e-6
        name = f"penalty/{player[0]}_historical_averaging" if network == "both" else "penalty/historical_averaging"
        assert record.terms[name].item() == pytest.approx(wanted, rel=1e-4)


def test_gradient() -> None:
    found: dict[float, Any] = {}
    game = Game(recipe("hinge", {"historical_averaging": {"weight": 5.0}}, model={"d_norm": "none"})).rounds(3)
    component: Any = game.gan.stages["average"][0]
    batch, latents = game.play.draw("generator")
    for weight in (5.0, 0.0):
        component.weight = weight
        found[weight] = game.play.evaluate("generator", batch, latents).gradients
    for name, parameter in game.gan.parameters["generator"].items():
        mean = component.get_buffer(f"mean_generator_{name.replace('.', '_')}")
        np.testing.assert_allclose(
            found[5.0][name] - found[0.0][name], 10 * (parameter - mean).detach(), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("window", [None, 2])
def test_resume(window: int | None) -> None:
    made = recipe("hinge", {"historical_averaging": {"window": window}})
    whole = Game(made).rounds(2)
    state = {k: v for k, v in whole.gan.state_dict().items()}
    fresh = Game(made, seed=3)
    fresh.gan.load_state_dict(state)
    assert equal(fresh.state(), whole.state())
    for game in (whole, fresh):
        game.gan.stages.all("average", game.gan.generator, game.gan.discriminator)
    assert equal(fresh.state(), whole.state())
