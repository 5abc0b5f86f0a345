"""Crammer and Singer's hinge over classes and fake, by its own definition on the logits."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.loss.multi_hinge import Margins, MultiHinge
from gantrick.types import Batch, ConfigError, DiscriminatorOutput, Judged, Targets

B, F, CLASSES = 6, 5, 3


def crammer_singer(logits: np.ndarray, y: np.ndarray) -> float:
    found = []
    for row, label in zip(logits, y, strict=True):
        wrong = max(value for k, value in enumerate(row) if k != label)
        found.append(max(0.0, 1 + wrong - row[label]))
    return float(np.mean(found))


def test_both_losses() -> None:
    torch.manual_seed(0)
    head = Margins(F, CLASSES).double()
    real, fake = (torch.randn(B, F, dtype=torch.float64) for _ in range(2))
    y, of_fakes = torch.tensor([0, 2, 1, 1, 0, 2]), torch.tensor([1, 1, 0, 2, 2, 0])
    logits = [(x @ head.weight.T + head.bias).detach().numpy() for x in (real, fake)]
    judged = [
        Judged(Batch(x, labels), x, DiscriminatorOutput(head(x, labels), x))
        for x, labels in ((real, y), (fake, of_fakes))
    ]
    loss, weights, none = MultiHinge(), torch.ones(2, dtype=torch.float64), Targets()
    found = loss.d_loss(*judged, none).means(weights)
    assert found["real"].item() == pytest.approx(crammer_singer(logits[0], y.numpy()))
    assert found["fake"].item() == pytest.approx(crammer_singer(logits[1], np.full(B, CLASSES)))
    found = loss.g_loss(None, judged[1], none).means(weights)
    assert found["fake"].item() == pytest.approx(crammer_singer(logits[1], of_fakes.numpy()))


def test_it_trains_with_penalties_and_holds_the_head() -> None:
    made = recipe(loss="multi_hinge", trick={"conditional_batch_norm": {}}, regularizer={"gp": {}}, partners=False)
    game = Game(made).rounds(2)
    assert game.meter.first_bad() is None
    for trick in ("cascading", "projection"):
        with pytest.raises(ConfigError, match=f"loss.multi_hinge and trick.{trick}: both hold"):
            Game(recipe(loss="multi_hinge", trick={"conditional_batch_norm": {}, trick: {}}, partners=False))
