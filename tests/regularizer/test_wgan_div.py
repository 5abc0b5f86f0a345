"""k E‖∇_x̂ D(x̂)‖₂^p, x̂ = x + α (G(z) − x)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judging import Array, TanhCritic, finite_differences, penalty_inputs, weighted
from torch import Tensor

import gantrick
from gantrick.regularizer.wgan_div import WganDiv


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(7)
    return torch.tensor(rng.normal(size=shape)), torch.tensor(rng.normal(1, 2, size=shape))


@pytest.mark.parametrize("power", [6.0, 2.0, 3.5])
def test_linear(power: float) -> None:
    """D = ⟨a, x⟩ is ‖a‖^p wherever x̂ lies, over all pixels of a sample."""
    a = np.random.default_rng(1).normal(size=24) / 3
    inputs, _ = penalty_inputs(lambda x: x.flatten(1) @ torch.tensor(a)[:, None], *pair(8, 2, 3, 4))
    got = WganDiv(power=power).d_penalty(inputs).item()
    assert got == pytest.approx(np.sqrt((a**2).sum()) ** power, rel=1e-5)


@pytest.mark.parametrize("scores", [1, 3])
def test_slope_in_every_parameter(scores: int) -> None:
    critic, weights = TanhCritic(4, scores=scores), weighted(scores)
    real, fake = pair(8, 4)
    inputs, calls = penalty_inputs(critic, real, fake, weights)
    got = critic.gradients(WganDiv(power=3.0).d_penalty(inputs))
    points = calls.images[0].numpy()
    alpha = ((points - real.numpy()) / (fake - real).numpy())[:, :1]
    np.testing.assert_allclose(points, real + alpha * (fake - real).numpy(), atol=1e-5)
    assert (alpha > 0).all() and (alpha < 1).all() and not calls.raw[0]

    def penalty(values: dict[str, Array]) -> float:
        return float((np.linalg.norm(critic.gradient(values, points, weights), axis=1) ** 3).mean())

    for name, slope in finite_differences(penalty, critic.values).items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-4, atol=1e-4, err_msg=name)


def test_at_the_ends_themselves() -> None:
    """Half of each side's mean of ‖∇D‖^p, by D's gradient in closed form, with other numbers of reals and fakes."""
    critic, weights = TanhCritic(4), weighted(1)
    real, fake = pair(8, 4)
    inputs, calls = penalty_inputs(critic, real, fake[:5], weights)
    got = critic.gradients(WganDiv(power=3.0, at="ends").d_penalty(inputs))
    assert len(calls.images) == 2 and torch.equal(calls.images[0], real) and torch.equal(calls.images[1], fake[:5])

    def penalty(values: dict[str, Array]) -> float:
        sides = [critic.gradient(values, side.numpy(), weights) for side in (real, fake[:5])]
        return float(sum(0.5 * (np.linalg.norm(side, axis=1) ** 3).mean() for side in sides))

    for name, slope in finite_differences(penalty, critic.values).items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-4, atol=1e-4, err_msg=name)


def test_recipe() -> None:
    made = gantrick.compose(["loss=wgan_div"])
    assert (made.loss.name, made.title, [p.key for p in made.regularizers]) == ("wgan", "wgan_div", ["wgan_div"])
    assert made.regularizers[0].options["weight"] == 2 and made.regularizers[0].options["power"] == 6
