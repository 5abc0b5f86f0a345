"""The gradient in the input against closed forms, and what it may not touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judging import F64, TanhCritic, finite_differences
from torch import Tensor

from gantrick.input_gradient import gradient_norm, input_gradient, squared_gradient_norm

SHAPES = [(6, 3), (6, 2, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_quadratic(shape: tuple[int, ...]) -> None:
    """s = ½ xᵀ A x + bᵀ x has the gradient ½ (A + Aᵀ) x + b."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape[1:]))
    a, b, x = rng.normal(size=(size, size)), rng.normal(size=size), rng.normal(size=shape)
    expected = x.reshape(6, size) @ (a + a.T) / 2 + b
    ta, tb, tx = torch.tensor(a), torch.tensor(b), torch.tensor(x)

    def score(images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return 0.5 * torch.einsum("bi,ij,bj->b", flat, ta, flat) + flat @ tb

    got = input_gradient(score, tx).detach()
    assert got.shape == shape and got.dtype == torch.float32
    np.testing.assert_allclose(got.reshape(6, size), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient_norm(score, tx).detach(), np.linalg.norm(expected, axis=1), rtol=1e-6)
    np.testing.assert_allclose(squared_gradient_norm(score, tx).detach(), (expected**2).sum(1), rtol=1e-6)


def test_it_can_be_differentiated_again() -> None:
    """d/dθ of Σ_b ‖∇_x s‖² and of Σ_b ‖∇_x s‖, against central differences of the numpy formula."""
    critic, x = TanhCritic(4), np.random.default_rng(0).normal(size=(6, 4))
    for of, power in ((squared_gradient_norm, 2), (gradient_norm, 1)):
        got = critic.gradients(of(lambda images: critic(images)[:, 0], torch.tensor(x)).sum())
        expected = finite_differences(
            lambda v, power=power: float((np.linalg.norm(critic.gradient(v, x, np.ones(1)), axis=1) ** power).sum()),
            critic.values,
        )
        for name in expected:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_nothing_else_is_touched() -> None:
    """It works where gradients are off and on images that belong to a graph, and leaves no .grad behind."""
    weight = torch.randn(3, requires_grad=True)
    leaf = torch.randn(5, 3, requires_grad=True)
    plain = torch.randn(5, 3)
    with torch.no_grad():
        assert input_gradient(lambda x: x @ weight, plain).equal(weight.detach().expand(5, 3))
    penalty = squared_gradient_norm(lambda x: (x @ weight).square(), leaf * 2).sum()
    assert torch.autograd.grad(penalty, leaf, allow_unused=True) == (None,)
    assert not plain.requires_grad and plain.grad is None and leaf.grad is None and weight.grad is None


def test_a_flat_critic_has_finite_slopes() -> None:
    """At ‖∇‖ = 0 the norm has a corner; its slope in the weights is taken to be 0, never NaN."""
    weight = torch.zeros(3, dtype=F64, requires_grad=True)
    norm = gradient_norm(lambda x: x @ weight, torch.randn(5, 3, dtype=F64))
    (slope,) = torch.autograd.grad((norm - 1).square().mean(), weight)
    assert norm.eq(0).all() and slope.eq(0).all()


def test_scores_of_half_precision_give_a_gradient_in_float32() -> None:
    got = input_gradient(lambda images: images.bfloat16()[:, 0] * 3, torch.linspace(-1, 1, 512)[:, None])
    assert got.dtype == torch.float32 and got.eq(3).all()
