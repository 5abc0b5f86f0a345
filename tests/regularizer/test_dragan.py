"""λ E(‖∇_x̂ D(x̂)‖₂ − k)², x̂ = x + α · ½ · std(x) · u."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import Array, TanhCritic, finite_differences, penalty_inputs, weighted
from playing import Game, recipe
from scipy import stats

import gantrick
from gantrick.regularizer.dragan import Dragan


@pytest.mark.parametrize("target", [1.0, 0.0, 2.5])
def test_linear(target: float) -> None:
    a = np.random.default_rng(1).normal(size=24)
    real = torch.randn(8, 2, 3, 4, dtype=torch.float64)
    inputs, _ = penalty_inputs(lambda x: x.flatten(1) @ torch.tensor(a)[:, None], real, real)
    got = Dragan(target=target).d_penalty(inputs).item()
    assert got == pytest.approx((np.sqrt((a**2).sum()) - target) ** 2, rel=1e-5)


@pytest.mark.parametrize("scores", [1, 3])
def test_slope_in_every_parameter(scores: int) -> None:
    critic, weights = TanhCritic(4, scores=scores), weighted(scores)
    real = torch.randn(8, 4, dtype=torch.float64)
    inputs, calls = penalty_inputs(critic, real, real, weights)
    got = critic.gradients(Dragan().d_penalty(inputs))
    points = calls.images[0].numpy()

    def penalty(values: dict[str, Array]) -> float:
        return float(((np.linalg.norm(critic.gradient(values, points, weights), axis=1) - 1) ** 2).mean())

    for name, slope in finite_differences(penalty, critic.values).items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("variant", "low"), [("official", 0.0), ("centred", -0.5)])
def test_where_the_points_lie(variant: Any, low: float) -> None:
    """x̂ − x is α · ½ std(x) · u: one α a sample, one u a pixel, one std for the batch.

    α u (of 4000 samples, the first of 3 pixels) has the law of a product of two uniform numbers: Kolmogorov–Smirnov
    against 10⁶ products of numpy's, false alarm 1e-4, seed fixed. The largest of 2000 pixels of a sample gives its α.
    """
    rng = np.random.default_rng(3)
    real = torch.tensor(rng.normal(5, [[1.0, 2.0, 3.0]], size=(4000, 3)))
    inputs, calls = penalty_inputs(lambda x: x[:, :1], real, real)
    Dragan(variant=variant).d_penalty(inputs)
    moved = (calls.images[0] - real).numpy() / (0.5 * np.std(real.numpy()))
    products = rng.uniform(size=10**6) * rng.uniform(low, low + 1, size=10**6)
    assert stats.ks_2samp(moved[:, 0], products).pvalue > 1e-4
    wide = torch.tensor(rng.normal(size=(50, 2000)))
    inputs, calls = penalty_inputs(lambda x: x[:, :1], wide, wide)
    Dragan(variant=variant).d_penalty(inputs)
    moved = (calls.images[0] - wide).numpy() / (0.5 * np.std(wide.numpy()))
    alpha = moved.max(1) - moved.min(1)  # u spans 1 but for about 1/1000
    assert (alpha <= 1).all() and stats.kstest(alpha, "uniform").pvalue > 1e-4
    np.testing.assert_allclose(moved.mean(1), alpha * (low + 0.5), atol=0.05)
    assert (moved >= low - 1e-9).all()


def test_at_what_d_saw_of_reals() -> None:
    """The points are next to noisy reals, which are what D saw, and never augmented again."""
    game = Game(recipe(regularizer={"dragan": {}}, trick={"instance_noise": {"sigma": 3.0}}, model={"d_norm": "none"}))
    asked: list[torch.Tensor] = []
    handle = game.gan.discriminator.register_forward_pre_hook(lambda _, args: asked.append(args[0].detach()))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    handle.remove()
    assert record.real is not None
    moved = (asked[-1] - record.real.seen) / (0.5 * record.real.seen.std(correction=0))
    assert moved.min() >= -1e-5 and moved.max() <= 1 and len(asked) == 2


def test_recipe() -> None:
    made = gantrick.compose(["loss=dragan"])
    assert (made.loss.name, made.title, [p.key for p in made.regularizers]) == (
        "non_saturating",
        "dragan",
        ["dragan"],
    )
    for optimizer in (made.optimizers.generator, made.optimizers.discriminator):
        assert (optimizer.options["lr"], optimizer.options["betas"]) == (1e-4, (0.5, 0.9))
    assert made.settings.d_steps == 1
