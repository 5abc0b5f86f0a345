"""The rotation loss against numpy, and that D learns it."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.trick.rotation import HEAD, Rotation
from gantrick.types import Batch, DiscriminatorOutput, Judged, PenaltyInputs


def test_all_four_rotations_each_with_its_number() -> None:
    rng = np.random.default_rng(0)
    images, w = rng.normal(size=(3, 2, 4, 4)), rng.normal(size=(32, 4))
    torch_w = torch.tensor(w)

    def critic(x: torch.Tensor, labels: torch.Tensor | None = None, **_: bool) -> DiscriminatorOutput:
        zero = torch.zeros(len(x), 1)
        return DiscriminatorOutput(zero, zero, {HEAD: x.flatten(1) @ torch_w})

    total = 0.0
    for turns in range(4):
        logits = np.rot90(images, turns, (2, 3)).reshape(3, -1) @ w
        total -= (logits[:, turns] - np.log(np.exp(logits).sum(1))).sum()
    x = torch.tensor(images)
    seen = Judged(Batch(x), x, critic(x))
    inputs = PenaltyInputs("discriminator", seen, seen, critic, None, torch.ones(1), 0)  # type: ignore[arg-type]
    trick = Rotation(d_weight=0.5, g_weight=0.2)
    assert trick.d_penalty(inputs).item() == pytest.approx(0.5 * total / 12)
    assert trick.g_penalty(inputs).item() == pytest.approx(0.2 * total / 12)


def test_d_learns_to_tell_rotations() -> None:
    game = Game(recipe(loss="hinge", trick={"rotation": {}}), batch_size=32).rounds(1)
    first = game.meter.read()["penalty/rotation"]
    game.rounds(80)
    assert game.meter.read()["penalty/rotation"] < 0.8 * first
