"""One more channel: the mean over channels and positions of the standard deviation over the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.layers.minibatch import append_deviation


@pytest.mark.parametrize("shape", [(6, 3, 2, 4), (6, 5)])
def test_whole_batch(shape: tuple[int, ...]) -> None:
    h = torch.randn(shape)
    got = append_deviation(h, None)
    assert got.shape == (6, shape[1] + 1, *shape[2:]) and torch.equal(got[:, :-1], h)
    wanted = np.sqrt(h.double().numpy().var(0) + 1e-8).mean()
    np.testing.assert_allclose(got[:, -1], np.full((6, *shape[2:]), wanted), rtol=1e-5)


def test_groups() -> None:
    """Samples n, n + B/G, … are one group, as in StyleGAN; a G that does not divide the batch becomes one that does.

    Groups of one would see nothing, so that they are the whole batch, as where a batch of seven is to have groups of 4.
    """
    h = torch.randn(12, 3, 2, 2)
    for group, size in ((4, 4), (5, 4), (12, 12), (100, 12), (1, 12)):
        got = append_deviation(h, group)[:, -1, 0, 0]
        for n in range(12):
            members = h[[m for m in range(12) if (m - n) % (12 // size) == 0]].double().numpy()
            assert len(members) == size
            assert got[n].item() == pytest.approx(np.sqrt(members.var(0) + 1e-8).mean(), rel=1e-5)
    seven = h[:7].double().numpy()
    assert append_deviation(h[:7], 4)[0, -1, 0, 0].item() == pytest.approx(
        np.sqrt(seven.var(0) + 1e-8).mean(), rel=1e-5
    )


@pytest.mark.parametrize(("model", "more"), [({}, 4), ({"pool": "mean"}, 1), ({"name": "mlp", "d_width": 8}, 1)])
def test_in_a_game(model: dict[str, Any], more: int) -> None:
    """Equal fakes are told by it: D's features are one channel more, and reals and fakes have each their own."""
    without = Game(recipe("hinge", model={**model, "d_norm": "none"})).gan.discriminator
    game = Game(recipe("hinge", trick={"minibatch_stddev": {}}, model={**model, "d_norm": "none"}))
    d: Any = game.gan.discriminator
    assert d.body.features == without.body.features + more
    assert set(d.state_dict()) == set(without.state_dict())
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    levels = [j.output.features[:, -1] for j in (record.real, record.fake)]
    assert all((level == level[0]).all() for level in levels) and levels[0][0] != levels[1][0]
    same = record.fake.seen[:1].expand(6, *record.fake.seen.shape[1:])
    assert d(same).features[:, -1].max().item() == pytest.approx(
        1e-4 * (more if model.get("pool") == "sum" else 1), rel=1e-3
    )


def test_r1_lives_with_it() -> None:
    Game(recipe(regularizer={"r1": {}, "r2": {}}, trick={"minibatch_stddev": {"group": 3}})).rounds(2)
