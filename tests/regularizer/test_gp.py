"""λ E(‖∇_x̂ D(x̂)‖₂ − target)², x̂ = x + α (G(z) − x)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import F64, Array, TanhCritic, finite_differences, penalty_inputs, weighted
from playing import Game, recipe
from scipy import stats
from torch import Tensor

import gantrick
from gantrick.regularizer.gp import Gp
from gantrick.stages import Arrangement

SHAPES = [(3,), (2, 3, 4)]


def pair(shape: tuple[int, ...], reals: int = 8, fakes: int = 8) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(7)
    return torch.tensor(rng.normal(size=(reals, *shape))), torch.tensor(rng.normal(1, 2, size=(fakes, *shape)))


def expected(norms: Array, target: float, sides: str) -> float:
    excess = np.maximum(norms - target, 0) if sides == "one" else norms - target
    return float((excess**2).mean())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options", [{}, {"target": 0.0}, {"target": 2.5}, {"sides": "one"}, {"sides": "one", "target": 9.0}]
)
def test_linear(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    """D = ⟨a, x⟩ + b is λ (‖a‖ − target)² wherever x̂ lies; one-sided it is 0 below the target."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=int(np.prod(shape)))
    inputs, _ = penalty_inputs(lambda x: x.flatten(1) @ torch.tensor(a)[:, None] + 0.3, *pair(shape))
    ((_, factor, call),) = Arrangement({"gp": Gp(weight=7.0, **options)}).penalties("discriminator", 0)
    wanted = 7 * expected(np.array([np.linalg.norm(a)]), options.get("target", 1.0), options.get("sides", "two"))
    assert factor * call(inputs).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sides", ["two", "one"])
@pytest.mark.parametrize("target", [1.0, 6.0])
def test_quadratic(shape: tuple[int, ...], sides: Any, target: float) -> None:
    """D = ½ xᵀ A x + bᵀ x, with its gradient A x̂ + b taken at the x̂ that the critic was asked about."""
    rng = np.random.default_rng(1)
    size = int(np.prod(shape))
    half = rng.normal(size=(size, size))
    a, b = half + half.T, rng.normal(size=size)
    ta, tb = torch.tensor(a), torch.tensor(b)

    def critic(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (0.5 * torch.einsum("bi,ij,bj->b", flat, ta, flat) + flat @ tb)[:, None]

    inputs, calls = penalty_inputs(critic, *pair(shape))
    got = Gp(target=target, sides=sides).d_penalty(inputs).item()
    (points,), (raw,) = calls.images, calls.raw
    norms = np.linalg.norm(points.flatten(1).numpy() @ a + b, axis=1)
    assert (norms > target).any() and not raw  # raw: x̂ lies between images that were augmented before
    assert got == pytest.approx(expected(norms, target, sides), rel=1e-5)


@pytest.mark.parametrize("scores", [1, 3])
@pytest.mark.parametrize("sides", ["two", "one"])
def test_slope_in_every_parameter(scores: int, sides: Any) -> None:
    """The double backward against central differences of the numpy formula; D is the weighted sum of its scores."""
    critic, weights = TanhCritic(4, scores=scores), weighted(scores)
    inputs, calls = penalty_inputs(critic, *pair((4,)), weights)
    got = critic.gradients(Gp(sides=sides).d_penalty(inputs))
    points = calls.images[0].numpy()

    def penalty(values: dict[str, Array]) -> float:
        return expected(np.linalg.norm(critic.gradient(values, points, weights), axis=1), 1.0, sides)

    for name, slope in finite_differences(penalty, critic.values).items():
        np.testing.assert_allclose(got[name], slope, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(got["w"]).max() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_points_lie_between_pairs(shape: tuple[int, ...]) -> None:
    """One α for each sample, the same for all its pixels, uniform over [0, 1].

    Kolmogorov–Smirnov on 4000 of them; false alarm 1e-4, seed fixed.
    """
    real, fake = pair(shape, 4000, 4000)
    inputs, calls = penalty_inputs(lambda x: x.flatten(1)[:, :1], real, fake)
    Gp().d_penalty(inputs)
    alpha = ((calls.images[0] - real) / (fake - real)).flatten(1).numpy()
    np.testing.assert_allclose(alpha, np.broadcast_to(alpha[:, :1], alpha.shape), atol=1e-6, rtol=0)
    assert stats.kstest(alpha[:, 0], "uniform").pvalue > 1e-4


def test_batches_of_unlike_size_are_paired_as_far_as_they_go() -> None:
    real, fake = pair((3,), 8, 5)
    inputs, calls = penalty_inputs(lambda x: x[:, :1], real, fake)
    Gp().d_penalty(inputs)
    alpha = (calls.images[0] - real[:5]) / (fake - real[:5])
    assert calls.images[0].shape == (5, 3) and (alpha.amax(1) - alpha.amin(1) < 1e-6).all()


def test_no_gradient_into_the_samples() -> None:
    """x and G(z) are constants of the penalty."""
    real, fake = (v.requires_grad_() for v in pair((3,)))
    weight = torch.randn(3, 1, dtype=F64, requires_grad=True)
    inputs, _ = penalty_inputs(lambda x: x.square() @ weight, real, fake)
    found = torch.autograd.grad(Gp().d_penalty(inputs), [weight, real, fake], allow_unused=True)
    assert found[0] is not None and found[1:] == (None, None)


def test_lazy() -> None:
    """Every fourth step and four times as strong: the mean over steps is the weight; weight 0 never asks the critic."""
    arrangement = Arrangement({"regularizer.gp": Gp(weight=3.0, interval=4)})
    factors = [[factor for _, factor, _ in arrangement.penalties("discriminator", step)] for step in range(8)]
    assert factors == [[12.0], [0.0], [0.0], [0.0], [12.0], [0.0], [0.0], [0.0]]
    assert list(Arrangement({"regularizer.gp": Gp(weight=0.0)}).penalties("discriminator", 0)) == []
    assert list(arrangement.penalties("generator", 0)) == []


def test_in_a_game_of_cascading_scores() -> None:
    """The term in a real D turn is 10 (‖∇ Σ_k λ_k s_k‖ − 1)², found again from finite differences of D in its input."""
    game = Game(recipe("wgan", {"gp": {}}, {"cascading": {"scores": 3, "weights": "geometric"}}))
    asked: list[Tensor] = []
    handle = game.gan.discriminator.register_forward_pre_hook(lambda _, args: asked.append(args[0].detach().double()))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    handle.remove()
    points = asked[-1]
    d = game.gan.discriminator.double()
    weights = torch.tensor([4, 2, 1], dtype=F64) / 7
    slopes = []
    for index in range(points[0].numel()):
        move = torch.zeros_like(points[:1]).flatten()
        move[index] = 1e-5
        ends = [
            d.head.double()(d.body(points + sign * move.view_as(points[:1]))).double() @ weights for sign in (1, -1)
        ]
        slopes.append(((ends[0] - ends[1]) / 2e-5).detach().numpy())
    norms = np.linalg.norm(np.stack(slopes, 1), axis=1)
    assert record.terms["penalty/gp"].item() == pytest.approx(10 * ((norms - 1) ** 2).mean(), rel=1e-4)


def test_lp_is_it_with_one_side() -> None:
    made = gantrick.compose(["loss=wgan_lp"])
    assert (made.loss.name, made.title, made.missing) == ("wgan", "wgan_lp", ())
    (part,) = made.regularizers
    assert (part.key, part.name, part.options["sides"], part.options["weight"]) == ("lp", "gp", "one", 10.0)
    alone = gantrick.compose(["loss=hinge", "regularizer=[lp]", "regularizer.lp.weight=3"])
    assert alone.regularizers[0].options["weight"] == 3.0
    assert gantrick.compose(["loss=wgan_lp", "regularizer=[r1]"]).title == "wgan_lp without lp"
