"""λ (1 / (B (B − 1))) Σ_{i≠j} cos²(S_i, S_j)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judging import F64, judged, penalty_inputs
from playing import Game, recipe
from torch import Tensor

from gantrick.regularizer.pulling_away import PullingAway


def penalty(features: Tensor) -> Tensor:
    fake = judged(torch.zeros(len(features), 1, dtype=F64), features=features)
    inputs, _ = penalty_inputs(lambda x: x[:, :1], torch.zeros(2, 2), fake)
    return PullingAway().g_penalty(inputs)


def by_hand(s: np.ndarray) -> float:
    total = 0.0
    for i in range(len(s)):
        for j in range(len(s)):
            if i != j:
                total += (s[i] @ s[j] / np.sqrt((s[i] @ s[i]) * (s[j] @ s[j]))) ** 2
    return total / (len(s) * (len(s) - 1))


def test_value_and_slope() -> None:
    s = np.random.default_rng(1).normal(size=(5, 4))
    features = torch.tensor(s, requires_grad=True)
    value = penalty(features)
    assert value.item() == pytest.approx(by_hand(s), rel=1e-12)
    (slope,) = torch.autograd.grad(value, features)
    for index in np.ndindex(s.shape):
        ends = []
        for sign in (1, -1):
            moved = s.copy()
            moved[index] += sign * 1e-6
            ends.append(by_hand(moved))
        assert slope[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_extremes() -> None:
    """Orthogonal codes cost 0, codes along one line 1, whatever their signs and lengths; one fake alone costs 0."""
    assert penalty(torch.diag(torch.tensor([1.0, -2.0, 5.0], dtype=F64))).item() == 0
    line = torch.tensor([[1.0], [-3.0], [0.1]], dtype=F64) * torch.tensor([1.0, 2.0], dtype=F64)
    assert penalty(line).item() == pytest.approx(1.0, rel=1e-12)
    assert penalty(torch.ones(1, 3, dtype=F64)).item() == 0


def test_in_a_game() -> None:
    """Of G's fakes alone, at a tenth."""
    game = Game(recipe("hinge", {"pulling_away": {}}, model={"d_norm": "none"}))
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    wanted = 0.1 * by_hand(record.fake.output.features.detach().double().numpy())
    assert record.terms["penalty/pulling_away"].item() == pytest.approx(wanted, rel=1e-4)
    assert "penalty/pulling_away" not in game.play.evaluate("discriminator", *game.play.draw("discriminator")).terms
