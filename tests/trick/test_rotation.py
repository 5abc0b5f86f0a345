"""The rotation loss against numpy, and that D learns it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.gan import preflight
from gantrick.trick.rotation import HEAD, Rotation
from gantrick.types import Batch, ConfigError, DiscriminatorOutput, Judged, PenaltyInputs


def test_all_four_rotations_each_with_its_number() -> None:
    rng = np.random.default_rng(0)
    shown: list[int] = []
    images, w = rng.normal(size=(3, 2, 4, 4)), rng.normal(size=(32, 4))
    torch_w = torch.tensor(w)

    def critic(x: torch.Tensor, labels: torch.Tensor | None = None, **_: bool) -> DiscriminatorOutput:
        zero = torch.zeros(len(x), 1)
        shown.append(len(x))
        return DiscriminatorOutput(zero, zero, {HEAD: x.flatten(1) @ torch_w})

    total = 0.0
    for turns in range(4):
        logits = np.rot90(images, turns, (2, 3)).reshape(3, -1) @ w
        total -= (logits[:, turns] - np.log(np.exp(logits).sum(1))).sum()
    x = torch.tensor(images)
    seen = Judged(Batch(x), x, critic(x))
    inputs = PenaltyInputs("discriminator", seen, seen, critic, None, torch.ones(1), 0)  # type: ignore[arg-type]
    trick = Rotation(d_weight=0.5, g_weight=0.2)
    trick._error(inputs, seen)
    assert shown == [3] * 4, "batches as large as the first"
    assert trick.d_penalty(inputs).item() == pytest.approx(0.5 * total / 12)
    assert trick.g_penalty(inputs).item() == pytest.approx(0.2 * total / 12)


def test_d_learns_to_tell_rotations() -> None:
    game = Game(recipe(loss="hinge", trick={"rotation": {}}), batch_size=32).rounds(1)
    first = game.meter.read()["penalty/d_rotation"]
    game.rounds(80)
    assert game.meter.read()["penalty/d_rotation"] < 0.8 * first


def test_the_answer_is_not_in_the_size_of_a_batch() -> None:
    """Of noise no rotation can be told, and a D that sums over batches does not tell it either: CE stays at ln 4.

    Where the three turned batches were one of three times the size, CE fell below 1 in as many rounds.
    """
    trick = {"rotation": {"g_weight": 0.0}, "minibatch_discrimination": {"kernels": 20}}
    game = Game(recipe(loss="hinge", trick=trick), batch_size=16)
    draw = game.play.draw

    def noise(player: Any) -> Any:
        batch, latents = draw(player)
        return None if batch is None else Batch(torch.rand_like(batch.images) * 2 - 1), latents

    game.play.draw = noise  # type: ignore[method-assign]
    game.rounds(150)
    game.meter.read()
    game.rounds(50)
    assert game.meter.read()["penalty/d_rotation"] > np.log(4) - 0.1


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    np.savez(path, images=np.zeros((20, 16, 8, 1), np.uint8))
    data = {"name": "npz", "path": str(path), "images": "images"}
    with pytest.raises(ConfigError, match=r"trick\.rotation: a quarter turn makes 8×16 pixels of 16×8.*square images"):
        preflight(recipe(loss="hinge", trick={"rotation": {}}, dataset=data))
