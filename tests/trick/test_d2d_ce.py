"""The data-to-data cross entropy against the sums of its definition, one sample after another."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.layers.contrast import Embedded
from gantrick.trick.d2d_ce import D2DCE, HEAD
from gantrick.types import Batch, DiscriminatorOutput, Judged, PenaltyInputs

B, F, CLASSES, SIZE = 8, 6, 3, 5
NONE: dict = {"critic": None, "generate": None, "score_weights": torch.ones(1), "step": 0}


@pytest.mark.parametrize(("m_p", "m_n"), [(0.98, None), (0.3, 0.5)])
def test_the_formula(m_p: float, m_n: float | None) -> None:
    torch.manual_seed(0)
    head, features = Embedded(F, SIZE, CLASSES).double(), torch.randn(B, F, dtype=torch.float64)
    labels, zero, t = torch.tensor([0, 1, 0, 1, 1, 0, 2, 0]), torch.zeros(B, 1), 0.5
    h = (features @ head.project.weight.T + head.project.bias).detach().numpy()
    e, y = head.proxies.weight.detach().numpy(), labels.numpy()
    h, e = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h, e))
    below, total = 1 - m_p if m_n is None else m_n, 0.0
    for i in range(B):
        a = np.exp(min(0, h[i] @ e[y[i]] - m_p) / t)
        b = sum(np.exp(max(0, h[i] @ h[j] - below) / t) for j in range(B) if y[j] != y[i])
        total -= np.log(a / (a + b))
    trick = D2DCE(temperature=t, m_p=m_p, m_n=m_n, size=SIZE)
    batch = Judged(Batch(zero, labels), zero, DiscriminatorOutput(zero, zero, {HEAD: head(features)}))
    assert trick.d_penalty(PenaltyInputs("discriminator", batch, batch, **NONE)).item() == pytest.approx(total / B)
    assert trick.g_penalty(PenaltyInputs("generator", None, batch, **NONE)).item() == pytest.approx(total / B)


def test_what_is_easy_has_no_pull() -> None:
    """A sample on its own proxy and far from all others: its positive's gradient is zero."""
    trick = D2DCE(m_p=0.5, size=2)
    own = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    proxies = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    said = torch.cat([own, own @ proxies.T], 1)
    zero = torch.zeros(2, 1)
    batch = Judged(Batch(zero, torch.tensor([0, 1])), zero, DiscriminatorOutput(zero, zero, {HEAD: said}))
    (slope,) = torch.autograd.grad(trick.g_penalty(PenaltyInputs("generator", None, batch, **NONE)), own)
    assert not slope.any()


def test_in_a_game_it_falls_with_training() -> None:
    game = Game(recipe(loss="hinge", trick={"d2d_ce": {"size": 16}}), batch_size=32).rounds(1)
    first = game.meter.read()["penalty/d_d2d_ce"]
    game.rounds(60)
    assert game.meter.first_bad() is None and game.meter.read()["penalty/d_d2d_ce"] < first
