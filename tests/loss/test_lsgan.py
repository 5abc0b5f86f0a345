"""D: ½ E(r − b)² + ½ E(f − a)²; G: ½ E(f − c)²."""

from __future__ import annotations

import numpy as np
import pytest
from judging import verdict, weighted

from gantrick.loss.lsgan import Lsgan

CODES = [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (-0.5, 2.0, 1.5)]


@pytest.mark.parametrize("scores", [1, 4])
@pytest.mark.parametrize(("a", "b", "c"), CODES)
def test_both_players(scores: int, a: float, b: float, c: float) -> None:
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 3, (7, scores)), rng.normal(0, 3, (5, scores)), weighted(scores)
    got = verdict(Lsgan(a, b, c), "discriminator", r, f, w)
    assert got.terms["real"] == pytest.approx(0.5 * ((r - b) ** 2 @ w).mean(), rel=1e-12)
    assert got.terms["fake"] == pytest.approx(0.5 * ((f - a) ** 2 @ w).mean(), rel=1e-12)
    np.testing.assert_allclose(got.real, (r - b) * w / 7, rtol=1e-12)
    np.testing.assert_allclose(got.fake, (f - a) * w / 5, rtol=1e-12)
    got = verdict(Lsgan(a, b, c), "generator", r, f, w)
    assert got.terms == {"fake": pytest.approx(0.5 * ((f - c) ** 2 @ w).mean(), rel=1e-12)}
    np.testing.assert_allclose(got.fake, (f - c) * w / 5, rtol=1e-12)


@pytest.mark.parametrize("scores", [1, 4])
@pytest.mark.parametrize(("a", "b", "c"), CODES)
def test_smoothed_targets(scores: int, a: float, b: float, c: float) -> None:
    """A target t lies at the share t of the way from a to b: 0.9 of (−1, 1) is 0.8."""
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 3, (7, scores)), rng.normal(0, 3, (5, scores)), weighted(scores)
    t, u = rng.uniform(0.6, 1, 7), rng.uniform(0, 0.3, 5)
    at_real, at_fake = ((1 - t) * a + t * b)[:, None], ((1 - u) * a + u * b)[:, None]
    got = verdict(Lsgan(a, b, c), "discriminator", r, f, w, (t, u))
    assert got.terms["real"] == pytest.approx(0.5 * ((r - at_real) ** 2 @ w).mean(), rel=1e-12)
    assert got.terms["fake"] == pytest.approx(0.5 * ((f - at_fake) ** 2 @ w).mean(), rel=1e-12)
    np.testing.assert_allclose(got.real, (r - at_real) * w / 7, rtol=1e-12)
    np.testing.assert_allclose(got.fake, (f - at_fake) * w / 5, rtol=1e-12)


def test_optimum_is_the_share_of_reals() -> None:
    """E(D) is least at D* = (b p + a q) / (p + q), found from the slope at two points of one score."""
    p, q, a, b = 0.7, 0.2, -1.0, 1.0

    def slope(s: float) -> float:
        got = verdict(Lsgan(a, b, 0.0), "discriminator", np.array([[s]]), np.array([[s]]), np.ones(1))
        assert got.real is not None and got.fake is not None
        return float(p * got.real.item() + q * got.fake.item())

    zero = -slope(0.0) / (slope(1.0) - slope(0.0))
    assert zero == pytest.approx((b * p + a * q) / (p + q), rel=1e-12)
    assert Lsgan(a, b, 0.0).boundary == 0.0 and Lsgan().boundary == 0.5
