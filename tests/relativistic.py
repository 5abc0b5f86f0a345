"""Relativistic averages by hand: values and slopes of ½ [E φ(r − f̄) + E ψ(f − r̄)], one score at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from judging import Array, finite_differences, verdict, weighted
from playing import Game, recipe

from gantrick.types import Player

Form = Callable[[Array], Array]


def by_hand(of_reals: Form, of_fakes: Form, r: Array, f: Array, weights: Array) -> tuple[float, float]:
    total = np.zeros(2)
    for k, weight in enumerate(weights):
        mean_r, mean_f = sum(r[:, k]) / len(r), sum(f[:, k]) / len(f)
        total[0] += weight * 0.5 * sum(of_reals(v - mean_f) for v in r[:, k]) / len(r)
        total[1] += weight * 0.5 * sum(of_fakes(v - mean_r) for v in f[:, k]) / len(f)
    return float(total[0]), float(total[1])


def check(loss: Any, forms: dict[Player, tuple[Form, Form]]) -> None:
    """Both terms of both players and, by finite differences, the slopes, which run through the means."""
    rng = np.random.default_rng(1)
    for scores in (1, 3):
        r, f, w = rng.normal(0.3, 2, (6, scores)), rng.normal(-0.2, 2, (5, scores)), weighted(scores)
        for player, (of_reals, of_fakes) in forms.items():
            got = verdict(loss, player, r, f, w, real_in_g=True)
            real, fake = by_hand(of_reals, of_fakes, r, f, w)
            assert got.terms == {"real": pytest.approx(real, rel=1e-9), "fake": pytest.approx(fake, rel=1e-9)}

            def total(v: dict[str, Array], forms: Any = (of_reals, of_fakes), w: Array = w) -> float:
                return sum(by_hand(*forms, v["r"], v["f"], w))

            slopes = finite_differences(total, {"r": r, "f": f})
            np.testing.assert_allclose(got.real, slopes["r"], atol=1e-7)
            np.testing.assert_allclose(got.fake, slopes["f"], atol=1e-7)
            shifted = verdict(loss, player, r + 7, f + 7, w, real_in_g=True)
            assert shifted.terms == pytest.approx(got.terms, rel=1e-9), "scores are defined up to a constant"


def check_game(loss: str) -> None:
    """G's turn has reals of its own, and every weight of G moves."""
    game = Game(recipe(loss, model={"d_norm": "none"}))
    d = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    g = game.play.evaluate("generator", *game.play.draw("generator"))
    assert d.real is not None and g.real is not None
    assert not torch.equal(d.real.images, g.real.images)
    assert all(gradient.abs().sum() > 0 for name, gradient in g.gradients.items() if name.endswith("weight"))
