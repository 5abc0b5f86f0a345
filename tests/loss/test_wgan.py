"""D: E f − E r; G: −E f."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judging import judged, verdict, weighted

from gantrick.loss.wgan import Wgan
from gantrick.types import Targets


@pytest.mark.parametrize("scores", [1, 4])
def test_both_players(scores: int) -> None:
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 3, (7, scores)), rng.normal(0, 3, (5, scores)), weighted(scores)
    got = verdict(Wgan(), "discriminator", r, f, w)
    assert got.terms == {
        "real": pytest.approx(-(r @ w).mean(), rel=1e-12),
        "fake": pytest.approx((f @ w).mean(), rel=1e-12),
    }
    np.testing.assert_allclose(got.real, np.broadcast_to(-w / 7, r.shape), rtol=1e-12)
    np.testing.assert_allclose(got.fake, np.broadcast_to(w / 5, f.shape), rtol=1e-12)
    got = verdict(Wgan(), "generator", r, f, w)
    assert got.terms == {"fake": pytest.approx(-(f @ w).mean(), rel=1e-12)}
    np.testing.assert_allclose(got.fake, np.broadcast_to(-w / 5, f.shape), rtol=1e-12)


def test_the_estimate_of_the_distance_is_looked_at_only() -> None:
    """E r − E f of each score, which is the objective with its sign turned, and no gradient runs through it."""
    r, f = torch.randn(7, 4, requires_grad=True), torch.randn(5, 4)
    scored = Wgan().d_loss(judged(r), judged(f), Targets())
    distance = scored.diagnostics["wasserstein"]
    np.testing.assert_allclose(distance, r.detach().numpy().mean(0) - f.numpy().mean(0), rtol=1e-5, atol=1e-7)
    assert not distance.requires_grad
