"""(γ/2) E‖∇_x D(x)‖² on fakes, through the augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import F64, Array, TanhCritic, finite_differences, judged, penalty_inputs, weighted
from playing import Game, recipe
from torch import Tensor, nn

from gantrick import registry
from gantrick.layers.heads import Direction
from gantrick.regularizer.r2 import R2
from gantrick.stages import Arrangement, Component
from gantrick.types import Judged

SHAPES = [(3,), (2, 3, 4)]
RING = {"name": "ring", "samples": 100}
MLP = {"name": "mlp", "g_width": 4, "d_width": 4, "z_size": 4}


class Doubling(Component):
    """x -> 2x."""

    def augment(self, images: Tensor) -> Tensor:
        return 2 * images


def images(shape: tuple[int, ...], count: int = 8) -> Tensor:
    rng = np.random.default_rng(7)
    return torch.tensor(rng.normal(size=(count, *shape)))


def of_fakes(critic: Any, x: Tensor, weights: Any = (1.0,)) -> Any:
    """The penalty's inputs; the other side, and what D saw after augmentation, are NaN: nobody may look there."""
    nowhere = torch.full_like(x, torch.nan)
    batch = judged(torch.zeros(len(x), len(weights)), x).batch
    mine = Judged(batch, nowhere, judged(torch.zeros(len(x), len(weights))).output)
    return penalty_inputs(critic, nowhere, mine, weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_linear(shape: tuple[int, ...]) -> None:
    """D = ⟨a, x⟩ + b is γ/2 ‖a‖²."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=int(np.prod(shape)))
    inputs, calls = of_fakes(lambda x: x.flatten(1) @ torch.tensor(a)[:, None] + 0.3, images(shape))
    ((_, factor, call),) = Arrangement({"r2": R2(weight=7.0)}).penalties("discriminator", 0)
    assert factor * call(inputs).item() == pytest.approx(3.5 * (a @ a), rel=1e-5)
    assert calls.raw == [True]


@pytest.mark.parametrize("shape", SHAPES)
def test_quadratic(shape: tuple[int, ...]) -> None:
    """D = ½ xᵀ A x + bᵀ x is γ/2 E‖A x + b‖² at the fakes themselves."""
    rng = np.random.default_rng(1)
    size = int(np.prod(shape))
    half = rng.normal(size=(size, size))
    a, b = half + half.T, rng.normal(size=size)
    ta, tb, x = torch.tensor(a), torch.tensor(b), images(shape)

    def critic(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (0.5 * torch.einsum("bi,ij,bj->b", flat, ta, flat) + flat @ tb)[:, None]

    inputs, calls = of_fakes(critic, x)
    got = R2().d_penalty(inputs).item()
    assert torch.equal(calls.images[0], x)
    assert got == pytest.approx(0.5 * ((x.flatten(1).numpy() @ a + b) ** 2).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("scores", [1, 3])
def test_slope_in_every_parameter(scores: int) -> None:
    """The double backward against central differences of the numpy formula; D is the weighted sum of its scores."""
    critic, weights, x = TanhCritic(4, scores=scores), weighted(scores), images((4,))
    inputs, _ = of_fakes(critic, x, weights)
    got = critic.gradients(R2().d_penalty(inputs))

    def penalty(values: dict[str, Array]) -> float:
        return float(0.5 * (critic.gradient(values, x.numpy(), weights) ** 2).sum(1).mean())

    for name, slope in finite_differences(penalty, critic.values).items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(got["w"]).max() > 0.1


def test_no_gradient_into_the_samples() -> None:
    x = images((3,)).requires_grad_()
    weight = torch.randn(3, 1, dtype=F64, requires_grad=True)
    inputs, _ = of_fakes(lambda v: v.square() @ weight, x)
    found = torch.autograd.grad(R2().d_penalty(inputs), [weight, x], allow_unused=True)
    assert found[0] is not None and found[1] is None


def test_lazy() -> None:
    """Every sixteenth step and sixteen times as strong."""
    arrangement = Arrangement({"regularizer.r2": R2(weight=0.5, interval=16)})
    factors = {step: [f for _, f, _ in arrangement.penalties("discriminator", step)] for step in range(33)}
    assert {step: f for step, f in factors.items() if any(f)} == {0: [8.0], 16: [8.0], 32: [8.0]}
    assert not any(list(arrangement.penalties("generator", step)) for step in range(33))


def test_through_the_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """With D linear and every image doubled before D, the slope in the raw image doubles: the penalty is 4 times."""
    monkeypatch.setitem(registry._registered, "trick.doubling", Doubling)
    found = []
    for trick in ({}, {"doubling": {}}):
        game = Game(recipe("wgan", {"r2": {"weight": 6.0}}, trick, MLP, RING))
        game.gan.discriminator.body = nn.Flatten()
        game.gan.discriminator.head = head = Direction(2)
        with torch.no_grad():
            head.weight.copy_(torch.tensor([[0.6, -0.7]]))
        record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
        found.append(record.terms["penalty/r2"].item())
    plain = 6 / 2 * (0.6**2 + 0.7**2)
    assert found == [pytest.approx(plain, rel=1e-5), pytest.approx(4 * plain, rel=1e-5)]
