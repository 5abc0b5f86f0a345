"""Targets of reals 0.9, of fakes 0: D's optimum is a p / (p + q), and G aims where it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import F64, judged
from playing import Game, recipe

from gantrick.loss.lsgan import Lsgan
from gantrick.loss.minimax import Minimax
from gantrick.loss.non_saturating import NonSaturating
from gantrick.trick.label_smoothing import LabelSmoothing
from gantrick.types import ConfigError, Targets

P, Q = np.array([6, 3, 1, 5, 1]), np.array([0, 3, 4, 1, 7])  # reals and fakes on five points, in numbers of samples


def best_scores(loss: Any, smoothing: LabelSmoothing) -> np.ndarray:
    """The score of each point that minimises D's loss over the samples, by Newton's method on the table of scores."""
    at_reals, at_fakes = (torch.repeat_interleave(torch.arange(5), torch.tensor(n)) for n in (P, Q))
    table = torch.zeros(5, dtype=F64)
    for _ in range(50):
        table.requires_grad_()
        targets = Targets(torch.ones(len(at_reals), dtype=F64), torch.zeros(len(at_fakes), dtype=F64))
        real, fake = judged(table[at_reals, None]), judged(table[at_fakes, None])
        scored = loss.d_loss(real, fake, smoothing.targets(targets))
        # sums, not means: p and q are then as P and Q
        total = torch.stack([value.sum() for value in scored.values.values()]).sum()
        (slope,) = torch.autograd.grad(total, table, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), table)
        table = (table - slope / curvature).detach()
    return np.asarray(table)


@pytest.mark.parametrize("loss", [NonSaturating, Minimax])
@pytest.mark.parametrize(("a", "b"), [(0.9, 0.0), (0.75, 0.0), (0.9, 0.1)])
def test_optimum_of_the_cross_entropies(loss: Any, a: float, b: float) -> None:
    """D* = (a p + b q) / (p + q); one-sided, with b = 0, it is a p / (p + q)."""
    d = 1 / (1 + np.exp(-best_scores(loss(), LabelSmoothing(a, b))))
    np.testing.assert_allclose(d, (a * P + b * Q) / (P + Q), rtol=1e-9)


def test_optimum_of_least_squares() -> None:
    """With the codes (−1, 1): a real's aim of 0.9 lies at 0.8, so that s* = (0.8 p − q) / (p + q)."""
    np.testing.assert_allclose(best_scores(Lsgan(-1.0, 1.0, 0.0), LabelSmoothing()), (0.8 * P - Q) / (P + Q), rtol=1e-9)


def test_the_default_is_one_sided() -> None:
    got = LabelSmoothing().targets(Targets(torch.ones(3), torch.zeros(2)))
    assert got.real is not None and got.fake is not None
    assert got.real.tolist() == pytest.approx([0.9] * 3) and got.fake.tolist() == [0.0] * 2 and got.generator is None
    aims = LabelSmoothing(0.7, 0.2).targets(Targets(generator=torch.ones(2))).generator
    assert aims is not None and aims.tolist() == [1.0] * 2


def test_the_generators_targets_stay() -> None:
    """In a game G's loss is E sp(−f), while D's is 0.9 sp(−r) + 0.1 sp(r) for reals and sp(f) for fakes."""
    game = Game(recipe(trick={"label_smoothing": {}}, model={"init": "default"}))  # scores that are not nearly 0
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    f = record.fake.scores.detach().double().numpy()
    assert np.abs(f.mean()) > 0.01
    assert record.terms["loss/g_fake"].item() == pytest.approx(np.logaddexp(0, -f).mean(), rel=1e-5)
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    r, f = (j.scores.detach().double().numpy() for j in (record.real, record.fake))
    wanted = (0.9 * np.logaddexp(0, -r) + 0.1 * np.logaddexp(0, r)).mean()
    assert record.terms["loss/d_real"].item() == pytest.approx(wanted, rel=1e-5)
    assert record.terms["loss/d_fake"].item() == pytest.approx(np.logaddexp(0, f).mean(), rel=1e-5)


@pytest.mark.parametrize("loss", ["hinge", "wgan"])
def test_a_loss_without_targets_is_refused(loss: str) -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing: needs that the loss compares scores with target"):
        Game(recipe(loss, trick={"label_smoothing": {}}))
