"""D: a sp(−r) + (1 − a) sp(r) + sp(f) with a = 1; G: sp(−f)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judging import F64, Array, judged, verdict, weighted

from gantrick.loss.non_saturating import NonSaturating
from gantrick.types import Scored, Targets


def sp(x: Array) -> Array:
    return np.logaddexp(0, x)


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


@pytest.mark.parametrize("scores", [1, 4])
@pytest.mark.parametrize("smoothed", [False, True])
def test_discriminator(scores: int, smoothed: bool) -> None:
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 3, (7, scores)), rng.normal(0, 3, (5, scores)), weighted(scores)
    a, b = (rng.uniform(0.6, 1, 7), rng.uniform(0, 0.3, 5)) if smoothed else (np.ones(7), np.zeros(5))
    got = verdict(NonSaturating(), "discriminator", r, f, w, (a, b))
    a, b = a[:, None], b[:, None]
    assert got.terms["real"] == pytest.approx(((a * sp(-r) + (1 - a) * sp(r)) @ w).mean(), rel=1e-12)
    assert got.terms["fake"] == pytest.approx(((b * sp(-f) + (1 - b) * sp(f)) @ w).mean(), rel=1e-12)
    np.testing.assert_allclose(got.real, (-a * sigmoid(-r) + (1 - a) * sigmoid(r)) * w / 7, rtol=1e-9)
    np.testing.assert_allclose(got.fake, (-b * sigmoid(-f) + (1 - b) * sigmoid(f)) * w / 5, rtol=1e-9)


@pytest.mark.parametrize("scores", [1, 4])
@pytest.mark.parametrize("smoothed", [False, True])
def test_generator(scores: int, smoothed: bool) -> None:
    rng = np.random.default_rng(1)
    f, w = rng.normal(0, 3, (5, scores)), weighted(scores)
    c = rng.uniform(0.6, 1, 5) if smoothed else np.ones(5)
    got = verdict(NonSaturating(), "generator", f, f, w, c)
    c = c[:, None]
    assert got.terms == {"fake": pytest.approx(((c * sp(-f) + (1 - c) * sp(f)) @ w).mean(), rel=1e-12)}
    np.testing.assert_allclose(got.fake, (-c * sigmoid(-f) + (1 - c) * sigmoid(f)) * w / 5, rtol=1e-9)


def test_generator_has_its_full_slope_where_the_discriminator_is_sure() -> None:
    f = np.array([[-50.0]])
    assert verdict(NonSaturating(), "generator", f, f, np.ones(1)).fake == pytest.approx(-1.0)


def test_samples_may_weigh_unevenly() -> None:
    """Σ_b w_b v_b / Σ_b w_b, only in the term that is weighed."""
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), weighted(3)
    targets = Targets(torch.ones(4, dtype=F64), torch.zeros(4, dtype=F64))
    scored = NonSaturating().d_loss(judged(torch.tensor(r)), judged(torch.tensor(f)), targets)
    samples = np.array([0.0, 1.0, 2.0, 0.5])
    terms = Scored(scored.values, {"fake": torch.tensor(samples)}).means(torch.tensor(w))
    assert terms["real"].item() == pytest.approx((sp(-r) @ w).mean(), rel=1e-12)
    assert terms["fake"].item() == pytest.approx((samples * (sp(f) @ w)).sum() / 3.5, rel=1e-12)


@pytest.mark.parametrize("extreme", [100.0, 1000.0])
def test_extreme_scores_stay_finite(extreme: float) -> None:
    s, one = np.array([[extreme], [-extreme]]), np.ones(1)
    got = verdict(NonSaturating(), "discriminator", s, s, one, dtype=torch.float32)
    assert got.terms == {"real": pytest.approx(extreme / 2), "fake": pytest.approx(extreme / 2)}
    np.testing.assert_allclose(got.real, [[0], [-0.5]], atol=1e-9)
    np.testing.assert_allclose(got.fake, [[0.5], [0]], atol=1e-9)


def test_a_sure_discriminator_keeps_its_digits() -> None:
    """sp(−16) = 1.1e-7 is no rounding error: in float32 the loss and its slope have it to five digits."""
    r, f, one = np.array([[16.0]]), np.array([[-16.0]]), np.ones(1)
    got = verdict(NonSaturating(), "discriminator", r, f, one, dtype=torch.float32)
    for value in (got.terms["real"], got.terms["fake"], -got.real.item(), got.fake.item()):
        assert value == pytest.approx(1.1253517e-07, rel=1e-5)
