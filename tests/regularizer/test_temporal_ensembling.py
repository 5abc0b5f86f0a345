"""Temporal ensembling against the epoch-wise arrays of the official code in numpy, in games and through a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from judging import penalty_inputs
from playing import Game, equal, recipe

from gantrick.regularizer.temporal_ensembling import TemporalEnsembling
from gantrick.types import CLASSES, Batch, ConfigError, DiscriminatorOutput, Judged, Record

SIZE, BATCH, CLASS_COUNT, FEATURES = 12, 4, 3, 5


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def reals(index: np.ndarray, said: np.ndarray, features: np.ndarray, compare: str) -> Judged:
    said_, features_ = torch.tensor(said), torch.tensor(features)
    scores = torch.zeros(len(index), 1).double() if compare == "classes" else said_
    output = DiscriminatorOutput(scores, features_, {CLASSES: said_} if compare == "classes" else {})
    batch = Batch(torch.zeros(len(index), 2), index=torch.tensor(index), population=SIZE)
    return Judged(batch, batch.images, output)


@pytest.mark.parametrize("compare", ["classes", "scores"])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_the_official_arrays_over_epochs(compare: Any, margin: float) -> None:
    """The code gathers an epoch's predictions and renews all targets at its end; each image is seen once in an epoch."""
    rng, decay, weight, share = np.random.default_rng(0), 0.6, 0.8, 0.1
    part = TemporalEnsembling(weight, margin, share, decay, compare).double()
    weights = np.array([0.5, 0.3, 0.2])
    targets, targets2 = np.zeros((SIZE, CLASS_COUNT)), np.zeros((SIZE, FEATURES))
    ensemble, ensemble2 = targets.copy(), targets2.copy()
    for epoch in range(4):
        gathered, gathered2 = np.zeros_like(ensemble), np.zeros_like(ensemble2)
        for index in rng.permutation(SIZE).reshape(-1, BATCH):
            said, features = rng.normal(size=(BATCH, CLASS_COUNT)), rng.normal(size=(BATCH, FEATURES))
            real = reals(index, said, features, compare)
            inputs, calls = penalty_inputs(lambda x: x, real, torch.zeros(BATCH, 3), weights)
            found = weight * part.d_penalty(inputs).item()
            part.adapt([Record("discriminator", {}, {}, {}, real, real)])
            if compare == "classes":
                apart = ((softmax(said) - softmax(targets[index])) ** 2).mean(1)
            else:
                apart = ((said - targets[index]) ** 2) @ weights
            apart = apart + share * ((features - targets2[index]) ** 2).mean(1)
            wanted = np.maximum(0, weight * apart - margin).mean()
            assert found == pytest.approx(wanted, rel=1e-6) and wanted > 0
            assert calls.images == []  # no second pass
            gathered[index], gathered2[index] = said, features
        ensemble, ensemble2 = decay * ensemble + (1 - decay) * gathered, decay * ensemble2 + (1 - decay) * gathered2
        targets, targets2 = (e / (1 - decay ** (epoch + 1.0)) for e in (ensemble, ensemble2))


def test_the_target_is_a_constant() -> None:
    part = TemporalEnsembling(compare="classes").double()
    said = torch.randn(2, CLASS_COUNT, dtype=torch.float64, requires_grad=True)
    batch = Batch(torch.zeros(2, 2), index=torch.tensor([3, 5]), population=SIZE)
    real = Judged(batch, batch.images, DiscriminatorOutput(said[:, :1], torch.zeros(2, 1).double(), {CLASSES: said}))
    inputs, _ = penalty_inputs(lambda x: x, real, torch.zeros(2, 2))
    part.d_penalty(inputs)
    part.adapt([Record("discriminator", {}, {}, {}, real, real)])
    assert not part.said.requires_grad and torch.equal(part.visits.nonzero()[:, 0], torch.tensor([3, 5]))
    assert part.d_penalty(inputs).item() == pytest.approx(0.0, abs=1e-12)  # just what was said
    other = replace(real, output=replace(real.output, extra={CLASSES: 2 * said}))
    [gradient] = torch.autograd.grad(part.d_penalty(penalty_inputs(lambda x: x, other, torch.zeros(2, 2))[0]), said)
    assert gradient.abs().max() > 0


def play(**more: Any) -> Game:
    return Game(
        recipe(
            "semi_supervised",
            {"temporal_ensembling": {"compare": "classes"}, "feature_matching": {"alone": True}},
            {"layer_noise": {}},
            **more,
        )
    )


def test_it_goes_on_from_a_checkpoint_in_the_same_bits() -> None:
    first = play().rounds(3)
    second = play()
    second.gan.load_state_dict(first.gan.state_dict())
    memory = second.gan.stages.components["regularizer.temporal_ensembling"]
    assert int(memory.visits.sum()) == 3 * 6 and len(memory.visits) == len(first.feed.images)
    second.feed.load_state_dict(first.feed.state_dict())
    batch, latents = first.play.draw("discriminator")
    values = []
    for game in (first, second):
        torch.manual_seed(7)
        values.append(game.play.evaluate("discriminator", batch, latents).terms["penalty/temporal_ensembling"])
    assert torch.equal(*values) and values[0] > 0
    assert equal(first.gan.components.state_dict(), second.gan.components.state_dict())


def test_each_image_is_visited_once_in_an_epoch() -> None:
    game = Game(recipe("hinge", {"temporal_ensembling": {}}), batch_size=60)
    memory = game.gan.stages.components["regularizer.temporal_ensembling"]
    size = len(game.feed.images)
    game.rounds(size // 60)
    assert int(memory.visits.max()) == 1 and int(memory.visits.sum()) == size // 60 * 60
    assert game.meter.first_bad() is None


def test_refused_without_what_it_remembers() -> None:
    with pytest.raises(ConfigError, match=r"temporal_ensembling: needs that D tells the classes .*semi_supervised"):
        Game(recipe("wgan", {"temporal_ensembling": {"compare": "classes"}}))
    with pytest.raises(ConfigError, match=r"temporal_ensembling with trick\.pacgan: it remembers"):
        Game(recipe("hinge", {"temporal_ensembling": {}}, {"pacgan": {}}, batch_size=6))
