"""t ← 1 − t with probability p, in D's turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playing import Game, equal, networks, recipe

from gantrick.trick.label_flipping import LabelFlipping
from gantrick.types import ConfigError, Targets


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_how_many(p: float) -> None:
    """Of 20000 reals and as many fakes, within 5 σ of a binomial: false alarm 1.2e-6; drawn apart."""
    got = LabelFlipping(p).mislabel(Targets(torch.ones(20000), torch.zeros(20000)))
    assert got.real is not None and got.fake is not None and got.generator is None
    flipped = [1 - got.real, got.fake]
    bound = 5 * (p * (1 - p) / 20000) ** 0.5
    for wrong in flipped:
        assert set(wrong.tolist()) == {0.0, 1.0} and abs(wrong.mean().item() - p) < bound
    assert abs((flipped[0] * flipped[1]).mean().item() - p * p) < bound


def test_g_is_never_told_wrong() -> None:
    got = LabelFlipping(1.0).mislabel(Targets(generator=torch.ones(5)))
    assert got.generator is not None and got.generator.tolist() == [1.0] * 5 and got.real is None


@pytest.mark.parametrize("order", [("label_flipping", "label_smoothing"), ("label_smoothing", "label_flipping")])
def test_a_flipped_real_has_the_target_of_fakes(order: tuple[str, str]) -> None:
    """All flipped, 0.9 and 0.1: reals aim at 0.1 and fakes at 0.9, in either order of the config."""
    options: dict[str, dict] = {"label_flipping": {"probability": 1.0}, "label_smoothing": {"real": 0.9, "fake": 0.2}}
    game = Game(recipe(trick={name: options[name] for name in order}, model={"init": "default"}))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    for name, judged, t in (("real", record.real, 0.2), ("fake", record.fake, 0.9)):
        s = judged.scores.detach().double().numpy()
        wanted = (t * np.logaddexp(0, -s) + (1 - t) * np.logaddexp(0, s)).mean()
        assert record.terms[f"loss/d_{name}"].item() == pytest.approx(wanted, rel=1e-5)


def test_the_order_does_not_matter() -> None:
    options: dict[str, dict] = {"label_flipping": {"probability": 0.4}, "label_smoothing": {}}
    one, other = (Game(recipe(trick=dict(items))).rounds(2) for items in (options.items(), reversed(options.items())))
    assert equal(networks(one.state()), networks(other.state()))


@pytest.mark.parametrize("loss", ["hinge", "wgan", "ragan"])
def test_a_loss_without_targets_is_refused(loss: str) -> None:
    with pytest.raises(ConfigError, match=r"label_flipping: needs that the loss compares scores with target"):
        Game(recipe(loss, trick={"label_flipping": {}}))
