"""The 2C loss against the sums of its definition, one sample after another."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.layers.contrast import Embedded
from gantrick.trick.contragan import HEAD, Contragan
from gantrick.types import Batch, DiscriminatorOutput, Judged, PenaltyInputs

B, F, CLASSES, SIZE = 8, 6, 3, 5


def judged(seed: int) -> tuple[Judged, np.ndarray, np.ndarray, np.ndarray]:
    """A batch, its embeddings and the proxies of length 1, and labels among which one stands alone."""
    torch.manual_seed(seed)
    head, features = Embedded(F, SIZE, CLASSES).double(), torch.randn(B, F, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 2, 0])
    said = head(features)
    zero = torch.zeros(B, 1)
    h = (features @ head.project.weight.T + head.project.bias).detach().numpy()
    e = head.proxies.weight.detach().numpy()
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h, e)]
    return Judged(Batch(zero, labels), zero, DiscriminatorOutput(zero, zero, {HEAD: said})), *unit, labels.numpy()


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_formula(temperature: float) -> None:
    batch, h, e, y = judged(0)
    total = 0.0
    for i in range(B):
        a = np.exp(h[i] @ e[y[i]] / temperature)
        b = {k: np.exp(h[i] @ h[k] / temperature) for k in range(B) if k != i}
        total -= np.log((a + sum(v for k, v in b.items() if y[k] == y[i])) / (a + sum(b.values())))
    trick = Contragan(temperature=temperature, size=SIZE)
    none: dict = {"critic": None, "generate": None, "score_weights": torch.ones(1), "step": 0}
    for inputs, act in (
        (PenaltyInputs("discriminator", batch, judged(1)[0], **none), trick.d_penalty),
        (PenaltyInputs("generator", None, batch, **none), trick.g_penalty),
    ):
        assert act(inputs).item() == pytest.approx(total / B, rel=1e-9)


def test_in_a_game_it_falls_with_training() -> None:
    game = Game(recipe(loss="hinge", trick={"contragan": {"size": 16, "weight": 1.0}}), batch_size=32).rounds(1)
    first = game.meter.read()["penalty/d_contragan"]
    game.rounds(60)
    assert game.meter.first_bad() is None and game.meter.read()["penalty/d_contragan"] < first
