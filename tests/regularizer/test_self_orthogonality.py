"""Σ_l [λ₁ (Σ_{i≠j} ϑ_ij)² + λ₂ Σ_{i≠j} ϑ_ij²], ϑ = ŶᵀŶ, Ŷ = tanh(γ Y) with columns of length 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import Tensor

from gantrick.types import ConfigError

NO_NORM = {"g_norm": "none", "d_norm": "none", "init": "default"}


def by_hand(y: np.ndarray, gamma: float, of_sum: float, of_squares: float) -> float:
    """Of the values (rows, k) of one layer."""
    columns = [np.tanh(gamma * y[:, i]) for i in range(y.shape[1])]
    columns = [c / np.sqrt((c**2).sum()) for c in columns]
    theta = [a @ b for i, a in enumerate(columns) for j, b in enumerate(columns) if i != j]
    return of_sum * sum(theta) ** 2 + of_squares * sum(t**2 for t in theta)


def values(layer: Any, call: Any) -> np.ndarray:
    heard: list[Tensor] = []
    handle = layer.register_forward_hook(lambda m, i, o: heard.append(o.detach().double()))
    call()
    handle.remove()
    y = heard[0].numpy()
    return np.concatenate([y[:, :, a, b] for a in range(y.shape[2]) for b in range(y.shape[3])]) if y.ndim == 4 else y


@pytest.mark.parametrize("options", [{}, {"gamma": 0.5, "sum_weight": 2.0, "square_weight": 3.0}])
def test_chosen_layers_of_both(options: dict[str, Any]) -> None:
    layers = ["discriminator.body.downs.1", "discriminator.head", "generator.body.first", "generator.body.ups.*"]
    game = Game(recipe(regularizer={"self_orthogonality": {"layers": layers, "weight": 1.0, **options}}, model=NO_NORM))
    constants = (options.get("gamma", 10.0), options.get("sum_weight", 100.0), options.get("square_weight", 1.0))
    d, g = game.gan.discriminator, game.gan.generator
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    seen = record.real.seen
    wanted = sum(by_hand(values(layer, lambda: d(seen)), *constants) for layer in (d.body.downs[1], d.head))
    assert record.terms["penalty/d_self_orthogonality"].item() == pytest.approx(wanted, rel=1e-3)
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    latents = record.fake.latents
    wanted = sum(by_hand(values(layer, lambda: g(latents)), *constants) for layer in (g.body.first, *g.body.ups))
    assert record.terms["penalty/g_self_orthogonality"].item() == pytest.approx(wanted, rel=1e-3)


def test_columns_that_share_no_sample_cost_nothing() -> None:
    """Units that answer to samples of their own: ϑ_ij = 0 for all i ≠ j."""
    component: Any = Game(recipe(regularizer={"self_orthogonality": {}})).gan.stages["d_penalty"][0]
    apart = torch.block_diag(torch.randn(3, 1), torch.randn(4, 1), torch.randn(2, 1))
    component._heard = [apart]
    assert component._likeness().item() == 0
    component._heard = [torch.ones(5, 3)]
    assert component._likeness().item() == pytest.approx(100 * 6**2 + 6, rel=1e-5), "equal units: ϑ_ij = 1"


def test_only_its_player() -> None:
    game = Game(recipe(regularizer={"self_orthogonality": {}}))
    assert game.gan.stages["d_penalty"] and not game.gan.stages["g_penalty"]


def test_a_pattern_that_names_nothing() -> None:
    with pytest.raises(ConfigError, match=r"self_orthogonality\.layers: 'discriminator\.tial\.\*' names no layer"):
        Game(recipe(regularizer={"self_orthogonality": {"layers": ["discriminator.tial.*"]}}))
