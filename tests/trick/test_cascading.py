"""s_i = ⟨v_i, w_i⟩, v_{i+1} = v_i − (⟨v_i, w_i⟩ / ‖w_i‖²) w_i, and the weighted sum of what a loss makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import F64
from playing import Game, recipe
from torch import nn

from gantrick.layers.cascade import CascadingClassifier, CascadingHead
from gantrick.layers.spectral_norm import spectral_norm
from gantrick.trick.cascading import Cascading
from gantrick.types import ConfigError


def naive(v: Any, w: Any, b: Any) -> np.ndarray:
    """The formula, one sample and one score at a time."""
    out = np.zeros((len(v), len(w)))
    for n in range(len(v)):
        rest = v[n].copy()
        for i in range(len(w)):
            dot = sum(rest[j] * w[i][j] for j in range(len(rest)))
            out[n, i] = dot + b[i]
            rest = rest - dot / sum(x * x for x in w[i]) * w[i]
    return out


def parts(head: CascadingHead) -> tuple[np.ndarray, np.ndarray]:
    directions: Any = head.directions
    w = np.stack([d.weight.detach().double().numpy()[0] for d in directions])
    b = np.array([0.0 if d.bias is None else d.bias.item() for d in directions])
    return w, b


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("features", "scores"), [(9, 4), (4, 4), (5, 1)])
def test_against_the_formula(features: int, scores: int, bias: bool) -> None:
    head = CascadingHead(features, scores, bias=bias)
    v = torch.randn(6, features)
    got = head(v)
    assert got.shape == (6, scores) and got.dtype == torch.float32
    np.testing.assert_allclose(got.detach(), naive(v.double().numpy(), *parts(head)), rtol=1e-5, atol=1e-5)


def test_the_rest_is_orthogonal_to_what_was_taken_out() -> None:
    """⟨v_{i+1}, w_i⟩ = 0: a second score along the first direction is nothing but its bias."""
    head = CascadingHead(9, 2)
    one, two = head.directions
    with torch.no_grad():
        two.weight.copy_(3 * one.weight)
    v = 5 * torch.randn(50, 9)
    np.testing.assert_allclose(head(v)[:, 1].detach(), two.bias.item(), atol=1e-5, rtol=0)


def test_only_the_direction_before_is_orthogonal() -> None:
    """v_3 is not ⟂ w_1 unless w_1 ⟂ w_2, so a third score along the first direction is alive."""
    head = CascadingHead(9, 3, bias=False)
    with torch.no_grad():
        head.directions[2].weight.copy_(head.directions[0].weight)
        assert head(torch.randn(50, 9))[:, 2].abs().min() > 1e-4
        head.directions[1].weight -= (
            (head.directions[1].weight @ head.directions[0].weight.T) / head.directions[0].weight.square().sum()
        ) * head.directions[0].weight
        assert head(torch.randn(50, 9))[:, 2].abs().max() < 1e-5


def test_one_score_is_a_linear_head_bit_for_bit() -> None:
    for features in (2, 64, 1000):
        head, linear = CascadingHead(features, 1), nn.Linear(features, 1)
        linear.load_state_dict(head.directions[0].state_dict())
        v = torch.randn(33, features)
        assert torch.equal(head(v), linear(v))


def test_it_is_linear_in_the_features() -> None:
    """s_i = ⟨v, u_i⟩ with u_i = Π_{j<i} (1 − w_j w_jᵀ / ‖w_j‖²) w_i."""
    head = CascadingHead(7, 4, bias=False)
    w, _ = parts(head)
    u = []
    for i in range(4):
        row = w[i]
        for j in reversed(range(i)):
            row = row - (row @ w[j]) / (w[j] @ w[j]) * w[j]
        u.append(row)
    v = torch.randn(6, 7)
    np.testing.assert_allclose(head(v).detach(), v.double().numpy() @ np.stack(u).T, rtol=1e-5, atol=1e-6)


def test_scaling_a_direction_scales_its_score_only() -> None:
    head, v = CascadingHead(7, 4, bias=False), torch.randn(6, 7)
    before = head(v).detach()
    with torch.no_grad():
        head.directions[1].weight *= 8.0
    np.testing.assert_allclose(head(v).detach(), before * torch.tensor([1, 8, 1, 1]), rtol=1e-5, atol=1e-6)


def test_the_gradient_runs_through_the_rejection() -> None:
    """d/dw of Σ s² against central differences of the formula."""
    head = CascadingHead(5, 3)
    v = torch.randn(4, 5)
    head(v).square().sum().backward()
    w, b = parts(head)
    for i, direction in enumerate(head.directions):
        for j in range(5):
            ends = []
            for sign in (1, -1):
                moved = w.copy()
                moved[i, j] += sign * 1e-6
                ends.append((naive(v.double().numpy(), moved, b) ** 2).sum())
            assert direction.weight.grad[0, j].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3, abs=1e-3)


def test_spectral_norm_gives_unit_directions() -> None:
    head = CascadingHead(7, 4)
    for direction in head.directions:
        spectral_norm(direction)
        direction.parametrizations.weight[0].iterate(direction.parametrizations.weight.original, 1)
        assert direction.weight.norm().item() == pytest.approx(1.0, rel=1e-6)
    game = Game(recipe("hinge", trick={"cascading": {}, "spectral_norm": {}})).rounds(2)
    for direction in game.gan.discriminator.head.directions:
        weight = direction.parametrizations.weight.original
        assert direction.weight.norm().item() == pytest.approx(1.0, rel=0.05), "σ is one move of Adam old"
        direction.parametrizations.weight[0].iterate(weight, 1)
        assert direction.weight.norm().item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [0.25] * 4),
        ({"scores": 1}, [1.0]),
        ({"scores": 3, "weights": "geometric"}, [4 / 7, 2 / 7, 1 / 7]),
        ({"scores": 3, "weights": "geometric", "decay": 2.0}, [1 / 7, 2 / 7, 4 / 7]),
        ({"scores": 3, "weights": [1.0, 0.0, 3.0]}, [0.25, 0.0, 0.75]),
    ],
)
def test_weights(options: dict[str, Any], weights: list[float]) -> None:
    trick = Cascading(**options)
    assert trick.score_weights == pytest.approx(weights, rel=1e-12)
    assert sum(trick.score_weights) == pytest.approx(1.0, rel=1e-12)
    game = Game(recipe(trick={"cascading": options}))
    assert game.gan.discriminator.score_weights.tolist() == pytest.approx(weights, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"scores": 3, "weights": [1.0, 2.0]}, {"scores": 2, "weights": [0.0, 0.0]}, {"weights": []}]
)
def test_weights_that_do_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="one for each score"):
        Cascading(**options)
    with pytest.raises(ConfigError, match=r"trick\.cascading: weights: must be"):
        recipe(trick={"cascading": options})


def test_more_scores_than_features() -> None:
    made = recipe(trick={"cascading": {"scores": 3}}, model={"name": "mlp", "d_width": 2})
    with pytest.raises(ConfigError, match="3 directions cannot be told apart in 2 features"):
        Game(made)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan"])
def test_the_loss_is_the_weighted_mean_over_scores(loss: str) -> None:
    """Both players: Σ_i λ_i E ℓ(s_i), computed again from the scores in the record."""
    game = Game(recipe(loss, trick={"cascading": {"scores": 3, "weights": "geometric"}}, model={"init": "default"}))
    lam = np.array([4, 2, 1]) / 7
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    r, f = (j.scores.detach().double().numpy() for j in (record.real, record.fake))
    ell = {
        "non_saturating": (np.logaddexp(0, -r), np.logaddexp(0, f)),
        "hinge": (np.maximum(0, 1 - r), np.maximum(0, 1 + f)),
        "wgan": (-r, f),
    }[loss]
    wanted = [sum(lam[i] * e[:, i].mean() for i in range(3)) for e in ell]
    got = [record.terms["loss/d_real"].item(), record.terms["loss/d_fake"].item()]
    assert got == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    f = record.fake.scores.detach().double().numpy()
    wanted_g = np.logaddexp(0, -f) if loss == "non_saturating" else -f
    assert record.terms["loss/g_fake"].item() == pytest.approx((wanted_g @ lam).mean(), rel=1e-5, abs=1e-6)


def test_every_score_is_logged() -> None:
    game = Game(
        recipe("wgan", trick={"cascading": {"scores": 3, "weights": [1.0, 2.0, 1.0]}}, model={"init": "default"})
    )
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    for name, judged in (("real", record.real), ("fake", record.fake)):
        means = judged.scores.detach().to(F64).mean(0)
        for i in range(3):
            assert record.diagnostics[f"score/{name}_{i + 1}"].item() == pytest.approx(
                means[i].item(), rel=1e-5, abs=1e-7
            )
        mean = means @ torch.tensor([0.25, 0.5, 0.25], dtype=F64)
        assert record.diagnostics[f"score/{name}"].item() == pytest.approx(mean.item(), rel=1e-5, abs=1e-7)
    assert "score/real_4" not in record.diagnostics
    single = Game(recipe("wgan"))
    assert "score/real_1" not in single.play.evaluate("discriminator", *single.play.draw("discriminator")).diagnostics


def test_directions_begin_unlike() -> None:
    """Equal ones would make every later score dead."""
    head: Any = Game(recipe(trick={"cascading": {}})).gan.discriminator.head
    rows = [d.weight.detach() for d in head.directions]
    cosines = [float(nn.functional.cosine_similarity(a, b)) for i, a in enumerate(rows) for b in rows[:i]]
    assert max(map(abs, cosines)) < 0.9


def test_the_head_of_a_classifier_is_a_cascade_for_each_class() -> None:
    torch.manual_seed(0)
    head, v = CascadingClassifier(7, 3, cascades=4).double(), torch.randn(5, 7, dtype=torch.float64)
    logits = head(v)
    w, b = head.weight.detach().numpy(), head.bias.detach().numpy()
    for n in range(5):
        for k in range(3):
            rest = v[n].numpy()
            for i in range(4):
                along = rest @ w[i, k]
                assert logits[n, i, k].item() == pytest.approx(along + b[i, k], rel=1e-4, abs=1e-5)
                rest = rest - along / (w[i, k] @ w[i, k]) * w[i, k]
                assert rest @ w[i, k] == pytest.approx(0, abs=1e-9)
    y = torch.tensor([0, 1, 2, 2, 1])
    expected = np.mean([torch.nn.functional.cross_entropy(logits[:, i], y).item() for i in range(4)])
    assert CascadingClassifier.loss(logits, y).item() == pytest.approx(expected)
    torch.testing.assert_close(CascadingClassifier.probabilities(logits).sum(1), torch.ones(5, dtype=logits.dtype))
