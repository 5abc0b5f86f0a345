"""β Σ ‖W Wᵀ ⊙ (1 − I)‖_F², and β Σ ‖W Wᵀ − I‖_F²."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import nn
from torch.nn.utils import parametrize

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def rows(layer: Any) -> np.ndarray:
    """(out, in·h·w) of the weight that the optimizer moves."""
    weight = layer.parametrizations.weight.original if parametrize.is_parametrized(layer) else layer.weight
    found = weight.detach().double().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        found = np.moveaxis(found, 1, 0)
    return found.reshape(len(found), -1)


def by_hand(network: nn.Module, form: str) -> float:
    total = 0.0
    for layer in [m for m in network.modules() if isinstance(m, LAYERS)]:
        w = rows(layer)
        for i in range(len(w)):
            for j in range(len(w)):
                if i != j or form == "original":
                    total += (w[i] @ w[j] - float(i == j)) ** 2
    return total


@pytest.mark.parametrize("trick", [{}, {"spectral_norm": {"network": "both"}}])
@pytest.mark.parametrize("form", ["biggan", "original"])
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_every_matrix_of_a_network(player: Any, form: str, trick: Any) -> None:
    made = recipe(regularizer={"orthogonal": {"form": form, "network": player, "weight": 0.5}}, trick=trick)
    game = Game(made)
    for other in ("generator", "discriminator"):
        record = game.play.evaluate(other, *game.play.draw(other))
        assert ("penalty/orthogonal" in record.terms) == (other == player)
        if other == player:
            wanted = 0.5 * by_hand(game.gan.networks[player], form)
            assert record.terms["penalty/orthogonal"].item() == pytest.approx(wanted, rel=1e-4)


def test_gradient() -> None:
    """4 β (W Wᵀ ⊙ (1 − I)) W, twice what the official code adds."""
    found = []
    for weight in (0.0, 3.0):
        game = Game(recipe(regularizer={"orthogonal": {"weight": weight}}))
        torch.manual_seed(1)
        found.append(game.play.evaluate("generator", *game.play.draw("generator")).gradients)
    first: Any = game.gan.generator.body.first
    w = first.weight.detach().double().numpy()
    gram = w @ w.T
    np.fill_diagonal(gram, 0)
    got = (found[1]["body.first.weight"] - found[0]["body.first.weight"]).double().numpy()
    np.testing.assert_allclose(got, 4 * 3 * gram @ w, rtol=1e-3, atol=1e-7)
    assert not any((found[1][n] - found[0][n]).any() for n in found[0] if n.endswith("bias"))


@pytest.mark.parametrize(("gain", "original"), [(1.0, 0.0), (2.0, None)])
def test_orthogonal_rows_cost_nothing(gain: float, original: float | None) -> None:
    """At any length in BigGAN's form, at length 1 in the original one."""
    mlp = {"name": "mlp", "d_width": 6, "d_depth": 2, "d_norm": "none"}
    for form in ("biggan", "original"):
        options = {"orthogonal": {"form": form, "network": "discriminator", "weight": 1.0}}
        game = Game(recipe(regularizer=options, trick={"orthogonal_init": {"gain": gain}}, model=mlp))
        record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
        got = record.terms["penalty/orthogonal"].item()
        wanted = 0.0 if form == "biggan" or original == 0.0 else (6 + 6 + 1) * (gain**2 - 1) ** 2
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-9)
