"""D: E[−Δ + Δ² / (2 λ d)]; G: E Δ, Δ = D(x) − D(G(z)) of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import F64, judged, weighted
from playing import Game, recipe

from gantrick.loss.gan_qp import GanQp
from gantrick.types import Targets

SHAPE = (2, 3, 4)


def apart(x: Any, g: Any, distance: str) -> list[float]:
    """Means over all pixels of a pair, not sums, and not over the batch."""
    found = []
    for a, b in zip(x, g, strict=True):
        gaps = [abs(p - q) for p, q in zip(a.flatten(), b.flatten(), strict=True)]
        found.append(sum(gaps) / 24 if distance == "l1" else (sum(v * v for v in gaps) / 24) ** 0.5)
    return found


@pytest.mark.parametrize("scores", [1, 3])
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("scale", [10.0, 0.7])
def test_both_players(distance: Any, scale: float, scores: int) -> None:
    rng = np.random.default_rng(1)
    r, f, w = rng.normal(0, 2, (6, scores)), rng.normal(0, 2, (6, scores)), weighted(scores)
    x, g = rng.normal(size=(6, *SHAPE)), rng.normal(size=(6, *SHAPE))
    d = np.array(apart(x, g, distance))
    tr, tf = (torch.tensor(v, requires_grad=True) for v in (r, f))
    images = torch.tensor(g, requires_grad=True)
    real, fake = judged(tr, torch.tensor(x)), judged(tf, images)
    loss, weights = GanQp(scale, distance), torch.tensor(w)
    value = loss.d_loss(real, fake, Targets()).means(weights)["pairs"]
    lead = r - f
    wanted = ((-lead + lead**2 / (2 * scale * d[:, None])) @ w).mean()
    assert value.item() == pytest.approx(wanted, rel=1e-6)
    slopes = torch.autograd.grad(value, [tr, tf, images], allow_unused=True)
    np.testing.assert_allclose(slopes[0], (-1 + lead / (scale * d[:, None])) * w / 6, rtol=1e-6)
    np.testing.assert_allclose(slopes[1], -slopes[0].numpy(), rtol=1e-12)
    assert slopes[2] is None, "the distance is a constant"
    value = loss.g_loss(real, fake, Targets()).means(weights)["pairs"]
    assert value.item() == pytest.approx((lead @ w).mean(), rel=1e-9), "G has no quadratic term"


def test_the_optimum() -> None:
    """Δ* = λ d of each pair, where the slope in the scores vanishes."""
    x, g = torch.randn(4, *SHAPE, dtype=F64), torch.randn(4, *SHAPE, dtype=F64)
    best = 10.0 * torch.tensor(apart(x.numpy(), g.numpy(), "l1"), dtype=F64)[:, None]
    scores = best.clone().requires_grad_()
    value = GanQp().d_loss(judged(scores, x), judged(torch.zeros(4, 1, dtype=F64), g), Targets()).values["pairs"].sum()
    (slope,) = torch.autograd.grad(value, scores)
    assert slope.abs().max().item() < 1e-6
    assert value.item() == pytest.approx(-0.5 * best.sum().item(), rel=1e-6)


def test_a_fake_that_is_its_real_divides_by_no_zero() -> None:
    x = torch.randn(2, *SHAPE)
    scored = GanQp(distance="l2").d_loss(judged(torch.ones(2, 1), x), judged(torch.ones(2, 1), x), Targets())
    assert torch.isfinite(scored.values["pairs"]).all()


def test_packs_have_a_distance_each() -> None:
    norms = {"d_norm": "none", "init": "default"}
    game = Game(recipe("gan_qp", trick={"pacgan": {"size": 3}}, model=norms, batch_size=6))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    lead = (record.real.scores - record.fake.scores).detach().double().numpy()[:, 0]
    gaps = (record.real.images - record.fake.images).abs().double().reshape(2, -1).mean(1).numpy()
    assert record.terms["loss/d_pairs"].item() == pytest.approx((lead**2 / (20 * gaps) - lead).mean(), rel=1e-5)
