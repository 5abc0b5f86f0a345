"""(λ/2) Σ σ(W)²."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playing import Game, recipe
from torch import nn

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def half_squares(network: nn.Module) -> float:
    total = 0.0
    for layer in [m for m in network.modules() if isinstance(m, LAYERS)]:
        w = layer.weight.detach().double().numpy()
        w = np.moveaxis(w, 1, 0) if isinstance(layer, nn.ConvTranspose2d) else w
        total += 0.5 * np.linalg.svd(w.reshape(len(w), -1), compute_uv=False)[0] ** 2
    return total


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_against_singular_values(player: Any) -> None:
    """After many iterations it is exact; with one a move it stays near over moves."""
    options = {"network": player, "iterations": 200, "weight": 0.3}
    game = Game(recipe(regularizer={"spectral_penalty": options}))
    game.play.prepare(player)
    record = game.play.evaluate(player, *game.play.draw(player))
    wanted = 0.3 * half_squares(game.gan.networks[player])
    assert record.terms["penalty/spectral_penalty"].item() == pytest.approx(wanted, rel=1e-4)
    game = Game(recipe(regularizer={"spectral_penalty": {"network": player}})).rounds(4)
    game.play.prepare(player)
    record = game.play.evaluate(player, *game.play.draw(player))
    wanted = 0.01 * half_squares(game.gan.networks[player])
    assert record.terms["penalty/spectral_penalty"].item() == pytest.approx(wanted, rel=0.1)


def test_gradient_is_sigma_u_v() -> None:
    """d(½ σ²)/dW = σ u vᵀ, u and v the leading singular vectors."""
    found = []
    for weight in (0.0, 2.0):
        game = Game(recipe(regularizer={"spectral_penalty": {"weight": weight, "iterations": 300}}))
        game.play.prepare("discriminator")
        found.append(game.play.evaluate("discriminator", *game.play.draw("discriminator")).gradients)
    name = "body.downs.1.weight"
    weight = game.gan.parameters["discriminator"][name].detach().double().numpy()
    u, s, v = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
    got = (found[1][name] - found[0][name]).double().numpy().reshape(len(weight), -1)
    np.testing.assert_allclose(got, 2 * s[0] * np.outer(u[:, 0], v[0]), rtol=2e-2, atol=1e-4)
