"""D: E relu(1 − r) + E relu(1 + f); G: −E f, which is never hinged."""

from __future__ import annotations

import numpy as np
import pytest
from judging import verdict, weighted

from gantrick.loss.hinge import Hinge


@pytest.mark.parametrize("scores", [1, 4])
def test_discriminator(scores: int) -> None:
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 2, (17, scores)), rng.normal(0, 2, (15, scores)), weighted(scores)
    assert (r > 1).any() and (r < 1).any() and (f > -1).any() and (f < -1).any()
    got = verdict(Hinge(), "discriminator", r, f, w)
    assert got.terms["real"] == pytest.approx((np.maximum(0, 1 - r) @ w).mean(), rel=1e-12)
    assert got.terms["fake"] == pytest.approx((np.maximum(0, 1 + f) @ w).mean(), rel=1e-12)
    np.testing.assert_allclose(got.real, -1.0 * (r < 1) * w / 17, rtol=1e-12)
    np.testing.assert_allclose(got.fake, 1.0 * (f > -1) * w / 15, rtol=1e-12)


@pytest.mark.parametrize("scores", [1, 4])
def test_generator_is_never_hinged(scores: int) -> None:
    rng = np.random.default_rng(1)
    f, w = rng.normal(0, 9, (5, scores)), weighted(scores)
    got = verdict(Hinge(), "generator", f, f, w)
    assert got.terms == {"fake": pytest.approx(-(f @ w).mean(), rel=1e-12)}
    np.testing.assert_allclose(got.fake, np.broadcast_to(-w / 5, f.shape), rtol=1e-12)
