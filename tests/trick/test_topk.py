"""G learns from the k fakes with the highest scores, k = max(⌈γ^e B⌉, ⌈ν B⌉)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.trick.topk import Topk
from gantrick.types import Batch, DiscriminatorOutput, Judged, Scored

MODEL = {"d_norm": "none", "g_norm": "none", "init": "default"}


def game(loss: str = "hinge", trick: Any = None, **options: Any) -> Game:
    made = {"topk": {"gamma": 0.8, "epoch": 10, **options}, **(trick or {})}
    return Game(recipe(loss, trick=made, model=MODEL, batch_size=12), batch_size=12)


@pytest.mark.parametrize("nu", [0.5, 0.25, 0.0])
@pytest.mark.parametrize("start", [0, 25])
def test_how_many(nu: float, start: int) -> None:
    played = game(nu=nu, start=start)
    for step in (0, 9, 10, 19, 20, 34, 35, 60, 500):
        played.gan.stages.all("schedule", step)
        record = played.play.evaluate("generator", *played.play.draw("generator"))
        k = max(ceil(0.8 ** (max(0, step - start) // 10) * 12), ceil(nu * 12))
        best = sorted(record.fake.scores.flatten().tolist(), reverse=True)[:k]
        assert record.terms["loss/g_fake"].item() == pytest.approx(-sum(best) / k, rel=1e-5), (step, k)


@pytest.mark.parametrize(("nu", "count"), [(0.55, 100), (0.07, 100), (0.28, 25), (0.14, 50)])
def test_a_share_that_is_a_whole_number_of_samples_is_not_rounded_up(nu: float, count: int) -> None:
    """In binary each of these products lies above the whole number that it is."""
    exact = Fraction(str(nu)) * count
    assert exact.denominator == 1 and ceil(nu * count) == exact + 1
    trick = Topk(gamma=0.0, nu=nu, epoch=1)
    trick.schedule(1)
    f = torch.arange(float(count))[:, None]
    batch = Batch(torch.zeros(count, 1))
    judged = Judged(batch, batch.images, DiscriminatorOutput(f, f))
    scored = trick.weigh(Scored({"fake": -f}), "generator", None, judged)
    assert int(scored.weights["fake"].sum()) == exact


def test_d_learns_from_all() -> None:
    played = game()
    played.gan.stages.all("schedule", 500)
    record = played.play.evaluate("discriminator", *played.play.draw("discriminator"))
    f = record.fake.scores.detach().double().numpy()
    assert record.terms["loss/d_fake"].item() == pytest.approx(np.maximum(0, 1 + f).mean(), rel=1e-5)


def test_of_several_scores_the_weighted_mean_counts() -> None:
    played = game(trick={"cascading": {"scores": 3, "weights": [4.0, 2.0, 1.0]}})
    played.gan.stages.all("schedule", 500)
    record = played.play.evaluate("generator", *played.play.draw("generator"))
    means = record.fake.scores.detach().double().numpy() @ (np.array([4, 2, 1]) / 7)
    assert record.terms["loss/g_fake"].item() == pytest.approx(-np.sort(means)[6:].mean(), rel=1e-5)


def test_relativistic_means_are_taken_first() -> None:
    """f̄ is of all fakes, and the term of the reals is a mean over all of them."""
    played = game("ragan")
    played.gan.stages.all("schedule", 500)
    record = played.play.evaluate("generator", *played.play.draw("generator"))
    assert record.real is not None
    r, f = (j.scores.detach().double().numpy()[:, 0] for j in (record.real, record.fake))
    best = np.sort(f)[6:]
    assert record.terms["loss/g_fake"].item() == pytest.approx(
        0.5 * np.logaddexp(0, -(best - r.mean())).mean(), rel=1e-5
    )
    assert record.terms["loss/g_real"].item() == pytest.approx(0.5 * np.logaddexp(0, r - f.mean()).mean(), rel=1e-5)


def test_pairs_and_packs() -> None:
    for loss, trick in (("rpgan", None), ("hinge", {"pacgan": {"size": 3}})):
        played = game(loss, trick)
        played.gan.stages.all("schedule", 500)
        record = played.play.evaluate("generator", *played.play.draw("generator"))
        f = record.fake.scores.detach().double().numpy()[:, 0]
        best = np.argsort(f)[len(f) // 2 :]
        if loss == "hinge":
            assert len(f) == 4 and record.terms["loss/g_fake"].item() == pytest.approx(-f[best].mean(), rel=1e-5)
        else:
            assert record.real is not None
            lead = (f - record.real.scores.detach().double().numpy()[:, 0])[best]
            assert record.terms["loss/g_pairs"].item() == pytest.approx(np.logaddexp(0, -lead).mean(), rel=1e-5)


def test_the_others_give_no_gradient() -> None:
    """G's gradient is that of a batch of the best alone, their mean taken."""
    played = game()
    played.gan.stages.all("schedule", 500)
    _, latents = played.play.draw("generator")
    record = played.play.evaluate("generator", None, latents)
    best = record.fake.scores.flatten().argsort()[6:]
    plain = Game(recipe("hinge", model=MODEL), batch_size=12)
    plain.gan.generator.load_state_dict(played.gan.generator.state_dict())
    plain.gan.discriminator.load_state_dict(played.gan.discriminator.state_dict())
    alone = plain.play.evaluate("generator", None, type(latents)(latents.z[best]))
    for name, gradient in alone.gradients.items():
        np.testing.assert_allclose(record.gradients[name], gradient, rtol=1e-3, atol=1e-6)
