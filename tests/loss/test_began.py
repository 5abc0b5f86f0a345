"""BEGAN's losses, its k and its measure against numpy, step by step."""

import numpy as np
import pytest
import torch
from judging import verdict, weighted
from playing import Game, equal, recipe

from gantrick.loss.began import Began


def test_the_losses_at_a_k() -> None:
    rng = np.random.default_rng(0)
    real, fake, loss = -rng.uniform(0, 2, (6, 1)), -rng.uniform(0, 2, (6, 1)), Began()
    loss.k.fill_(0.3)
    found = verdict(loss, "discriminator", real, fake, weighted(1))
    assert found.terms["real"] == pytest.approx(-real.mean())
    assert found.terms["fake"] == pytest.approx(0.3 * fake.mean(), rel=1e-6)
    assert verdict(loss, "generator", real, fake, weighted(1)).terms["fake"] == pytest.approx(-fake.mean())


def test_k_and_the_measure_follow_the_paper() -> None:
    """Every record of a real game is written down, and k is computed from these numbers alone."""
    game = Game(recipe(loss="began", trick={}), batch_size=8)
    loss = next(c for c in game.gan.stages.components.values() if isinstance(c, Began))
    loss.k_rate = 0.5
    seen, k, of_reals = [], 0.0, 0.0
    adapt = loss.adapt
    game.gan.stages._calls["adapt"] = [lambda records: (seen.append(records[0]), adapt(records))]
    for _ in range(6):
        game.play.round(0)
    for record in seen:
        if record.player == "discriminator":
            of_reals, of_fakes = (-float(x.scores.detach().mean()) for x in (record.real, record.fake))
            measure = of_reals + abs(0.5 * of_reals - of_fakes)
            assert float(record.diagnostics["convergence"]) == pytest.approx(measure, rel=1e-5)
            assert float(record.diagnostics["k"]) == pytest.approx(k, rel=1e-5, abs=1e-7)
        else:
            k = min(1.0, max(0.0, k + 0.5 * (0.5 * of_reals + float(record.fake.scores.detach().mean()))))
    assert k > 0 and float(loss.k) == pytest.approx(k, rel=1e-5)


def test_k_stays_between_0_and_1_and_in_the_checkpoint() -> None:
    loss = Began(diversity=1.0, k_rate=100.0)
    game = Game(recipe(loss="began"), batch_size=8).rounds(2)
    other = Game(recipe(loss="began"), seed=3, batch_size=8)
    other.gan.load_state_dict(game.gan.state_dict())
    assert equal(other.gan.components.state_dict(), game.gan.components.state_dict())
    loss.of_reals.fill_(5.0)
    loss.adapt([_g(-1.0)])
    assert float(loss.k) == 1
    loss.adapt([_g(-9.0)])
    assert float(loss.k) == 0


def _g(score: float):
    from gantrick.types import Batch, DiscriminatorOutput, Judged, Record

    s = torch.full((4, 1), score)
    fake = Judged(Batch(s), s, DiscriminatorOutput(s, s))
    return Record("generator", {}, {}, {}, None, fake)
