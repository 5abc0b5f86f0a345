"""W Wᵀ = g² or Wᵀ W = g² at first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playing import Game, recipe
from torch import nn

from gantrick.types import ConfigError

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


def deviation(network: nn.Module, gain: float) -> float:
    """The largest entry of W Wᵀ − g² or Wᵀ W − g², whichever is the smaller matrix, over all layers."""
    worst = 0.0
    for layer in [m for m in network.modules() if isinstance(m, LAYERS)]:
        w = layer.weight.detach().double().numpy()
        w = np.moveaxis(w, 1, 0) if isinstance(layer, nn.ConvTranspose2d) else w
        w = w.reshape(len(w), -1)
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        worst = max(worst, float(np.abs(gram - gain**2 * np.eye(len(gram))).max()))
    return worst


@pytest.mark.parametrize("gain", [1.0, 1.4])
@pytest.mark.parametrize("network", ["both", "generator", "discriminator"])
@pytest.mark.parametrize("model", [{}, {"name": "mlp", "g_width": 8, "d_width": 8}])
def test_weights(model: dict[str, Any], network: str, gain: float) -> None:
    game = Game(recipe("hinge", trick={"orthogonal_init": {"network": network, "gain": gain}}, model=model))
    for player, net in game.gan.networks.items():
        if network in ("both", player):
            assert deviation(net, gain) < 1e-5
            assert all((b == 0).all() for n, b in net.named_parameters() if n.endswith("bias"))
        else:
            assert deviation(net, gain) > 0.01


def test_heads_of_components_are_drawn_too() -> None:
    labels = {"conditional_batch_norm": {}, "projection": {}, "d2d_ce": {"size": 20}}
    for tricks in ({}, labels):
        game = Game(recipe("hinge", trick={"orthogonal_init": {}, "cascading": {}, **tricks}))
        assert deviation(game.gan.discriminator, 1.0) < 1e-5


def test_under_two_names_each_network_once() -> None:
    both = recipe("hinge", trick={"orthogonal_init": {"network": "generator", "gain": 2.0}}).resolved
    from gantrick.recipe import check

    more = {"name": "orthogonal_init", "network": "discriminator"}
    game = Game(check({**both, "trick": {**both["trick"], "other": more}}))
    assert deviation(game.gan.generator, 2.0) < 1e-5 and deviation(game.gan.discriminator, 1.0) < 1e-5
    with pytest.raises(ConfigError, match=r"both hold d\.init"):
        Game(check({**both, "trick": {"one": more, "other": more}}))
