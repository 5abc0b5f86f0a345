"""Optimistic Adam against its formula in numpy, and on the game where plain descent leaves the equilibrium."""

import numpy as np
import pytest
import torch
from bilinear import Bilinear
from playing import Game, recipe
from torch import nn

from gantrick.trick.optimistic_adam import OptimisticAdam


def test_the_papers_formula() -> None:
    rng = np.random.default_rng(0)
    gradients, lr, b1, b2, eps = rng.normal(size=(9, 4)), 0.01, 0.5, 0.9, 1e-8
    w = nn.Parameter(torch.tensor(rng.normal(size=4)))
    theta, m, v, last = w.detach().numpy().copy(), np.zeros(4), np.zeros(4), None
    optimizer = OptimisticAdam().wrap_optimizer(torch.optim.Adam([w], lr=lr, betas=(b1, b2), eps=eps), "generator")
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        now = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        theta = theta - lr * now if last is None else theta - 2 * lr * now + lr * last
        last = now
        w.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(w.detach().numpy(), theta, rtol=1e-10, atol=1e-12)


def test_plain_descent_leaves_the_equilibrium_and_this_finds_it() -> None:
    plain = Bilinear(torch.optim.SGD, lr=0.1)
    optimistic = Bilinear(torch.optim.SGD, OptimisticAdam().wrap_optimizer, lr=0.1)
    start = plain.distance
    for _ in range(2500):
        plain.both_at_once()
        optimistic.both_at_once()
    assert plain.distance > 100 * start and optimistic.distance < 1e-3 * start


def test_the_last_step_is_in_the_optimizers_state() -> None:
    first = Game(recipe(trick={"optimistic_adam": {}})).rounds(3)
    second = Game(recipe(trick={"optimistic_adam": {}}), seed=4)
    second.gan.load_state_dict(first.gan.state_dict())
    for player, optimizer in first.gan.optimizers.items():
        other = second.gan.optimizers[player]
        for a, b in zip(optimizer.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
            assert torch.equal(optimizer.state[a]["step_before"], other.state[b]["step_before"])


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_any_optimizer(optimizer: str) -> None:
    one = {"name": optimizer, "lr": 1e-3}
    made = recipe(trick={"optimistic_adam": {}}, optimizer={"generator": one, "discriminator": one})
    assert Game(made).rounds(3).meter.first_bad() is None


@pytest.mark.parametrize("optimism", [0.5, 1.0])
def test_optimism_times_the_change_of_the_step(optimism: float) -> None:
    """With gradient descent: θ − η ((1 + o) g_t − o g_{t−1})."""
    w, gradients = nn.Parameter(torch.zeros(2, dtype=torch.float64)), np.array([[1.0, 2.0], [3.0, -1.0]])
    optimizer = OptimisticAdam(optimism).wrap_optimizer(torch.optim.SGD([w], lr=0.1), "generator")
    for g in gradients:
        w.grad = torch.tensor(g)
        optimizer.step()
    expected = -0.1 * gradients[0] - 0.1 * ((1 + optimism) * gradients[1] - optimism * gradients[0])
    np.testing.assert_allclose(w.detach().numpy(), expected)


@pytest.mark.parametrize("skipped", [[1, 0, 0], [0, 1, 0], [1, 1, 0, 1, 0]])
def test_steps_that_a_scaled_loss_has_spoilt_leave_no_trace(skipped: list[int]) -> None:
    """Descent by 0.1 g where found_inf is 0, and what is left out is as if it had never been."""
    ends = []
    for played in (skipped, [0] * skipped.count(0)):
        w = nn.Parameter(torch.zeros(1))
        adam = torch.optim.Adam([w], lr=0.1, betas=(0.5, 0.9), fused=True)
        optimizer = OptimisticAdam().wrap_optimizer(adam, "generator")
        taken = 0
        for bad in played:
            taken += not bad
            w.grad = torch.tensor([float("inf") if bad else float(taken**2)])
            optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(float(bad))  # type: ignore[attr-defined]
            optimizer.step()
        ends.append(w.detach().item())
    assert ends[0] == pytest.approx(ends[1], rel=1e-6) and ends[0] != 0
