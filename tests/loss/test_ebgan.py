"""EBGAN's hinge on each sample's energy against numpy, and a game in which the energies part."""

import numpy as np
import pytest
from judging import verdict, weighted
from playing import Game, recipe

from gantrick.loss.ebgan import Ebgan
from gantrick.types import ConfigError


def test_the_losses_and_the_margin_of_each_sample() -> None:
    rng = np.random.default_rng(0)
    real, fake = -rng.uniform(0, 2, (6, 1)), -rng.uniform(0, 2, (6, 1))
    weights = weighted(1)
    found = verdict(Ebgan(margin=1.2), "discriminator", real, fake, weights)
    assert found.terms["real"] == pytest.approx(-real.mean())
    assert found.terms["fake"] == pytest.approx(np.maximum(0, 1.2 + fake).mean())
    assert found.terms["fake"] != pytest.approx(max(0, 1.2 + fake.mean())), "not of the batch's mean"
    np.testing.assert_allclose(found.fake[:, 0], (fake[:, 0] > -1.2) / 6)
    assert verdict(Ebgan(), "generator", real, fake, weights).terms["fake"] == pytest.approx(-fake.mean())


def test_it_needs_an_energy_and_d_learns_to_rebuild() -> None:
    with pytest.raises(ConfigError, match=r"loss.ebgan: needs that D's score is minus the error of an autoencoder"):
        Game(recipe(loss="ebgan", model={"name": "dcgan"}))
    game = Game(recipe(loss="ebgan", regularizer={"pulling_away": {}}), batch_size=16).rounds(1)
    first = game.meter.read()["score/real"]
    game.rounds(40)
    assert game.meter.first_bad() is None and game.meter.read()["score/real"] > first + 0.05, (
        "D learns to rebuild reals"
    )
