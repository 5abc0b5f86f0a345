"""D: E φ(r − f); G: E φ(f − r), each real against the fake in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judging import verdict, weighted
from relativistic import check_game

import gantrick
from gantrick.loss.rpgan import Rpgan

FORMS = {  # φ and its slope
    "softplus": (lambda d: np.log(1 + np.exp(-d)), lambda d: -1 / (1 + np.exp(d))),
    "hinge": (lambda d: np.maximum(0, 1 - d), lambda d: -1.0 * (d < 1)),
    "least_squares": (lambda d: (d - 1) ** 2, lambda d: 2 * (d - 1)),
}


@pytest.mark.parametrize("scores", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_both_players(form: Any, scores: int) -> None:
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 2, (7, scores)), rng.normal(0, 2, (7, scores)), weighted(scores)
    cost, slope = FORMS[form]
    for player, d, sign in (("discriminator", r - f, 1), ("generator", f - r, -1)):
        got = verdict(Rpgan(form), player, r, f, w, real_in_g=True)
        assert got.terms == {"pairs": pytest.approx((cost(d) @ w).mean(), rel=1e-9)}
        np.testing.assert_allclose(got.real, sign * slope(d) * w / 7, rtol=1e-9)
        np.testing.assert_allclose(got.fake, -sign * slope(d) * w / 7, rtol=1e-9)


def test_pairs_as_far_as_both_go() -> None:
    r, f = np.array([[1.0], [2.0], [50.0]]), np.array([[0.0], [4.0]])
    got = verdict(Rpgan("hinge"), "discriminator", r, f, np.ones(1))
    assert got.terms["pairs"] == (0 + 3) / 2


def test_in_a_game() -> None:
    check_game("rpgan")


def test_rsgan_is_it_with_the_softplus() -> None:
    made = gantrick.compose(["loss=rsgan"])
    assert (made.loss.name, made.loss.options["form"], made.title) == ("rpgan", "softplus", "rsgan")
