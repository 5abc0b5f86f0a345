"""w · mean_j |E f(x)_j − E f(G(z))_j|, or w · ‖E f(x) − E f(G(z))‖²."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.types import ConfigError

MODEL = {"d_norm": "none", "init": "default"}


def by_hand(record: Any, distance: str) -> float:
    f, g = (j.output.features.detach().double().numpy() for j in (record.real, record.fake))
    gaps = [sum(f[:, j]) / len(f) - sum(g[:, j]) / len(g) for j in range(f.shape[1])]
    return sum(abs(v) for v in gaps) / len(gaps) if distance == "l1" else sum(v**2 for v in gaps)


@pytest.mark.parametrize("loss", ["hinge", "ragan"])
@pytest.mark.parametrize("distance", ["l1", "squared"])
def test_added(distance: str, loss: str) -> None:
    game = Game(recipe(loss, {"feature_matching": {"distance": distance, "weight": 3.0}}, model=MODEL))
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    wanted = 3 * by_hand(record, distance)
    assert wanted > 1e-6
    assert record.terms["penalty/feature_matching"].item() == pytest.approx(wanted, rel=1e-4)
    assert "loss/g_fake" in record.terms
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert "penalty/feature_matching" not in record.terms


@pytest.mark.parametrize("scores", [1, 3])
@pytest.mark.parametrize("distance", ["l1", "squared"])
def test_alone(distance: str, scores: int) -> None:
    """It is all that G plays for, whatever the loss, the head and the weights of samples; D's loss stays."""
    tricks = {"cascading": {"scores": scores}, "topk": {"gamma": 0.1, "epoch": 1}}
    options = {"distance": distance, "weight": 3.0, "alone": True}
    game = Game(recipe("hinge", {"feature_matching": options}, tricks, model=MODEL))
    game.gan.stages.all("schedule", 3)
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    assert list(record.terms) == ["penalty/feature_matching"]
    assert record.terms["penalty/feature_matching"].item() == pytest.approx(3 * by_hand(record, distance), rel=1e-4)
    d = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert set(d.terms) == {"loss/d_real", "loss/d_fake"}


def test_alone_beside_scores_whose_weights_do_not_add_up_to_one() -> None:
    """multi_hinge's two margins count one each; the term is once what it is, and the rows have it."""
    game = Game(recipe("multi_hinge", {"feature_matching": {"weight": 3.0, "alone": True}}, model=MODEL))
    assert game.gan.discriminator.score_weights.sum() == 2
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    assert record.diagnostics["loss/g"].item() == pytest.approx(3 * by_hand(record, "l1"), rel=1e-4)


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"interval": 4}])
def test_alone_it_must_say_something_at_every_step(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"leaves G nothing to learn where alone has replaced its loss"):
        recipe("hinge", {"feature_matching": {"alone": True, **options}})


def test_reals_are_not_those_of_d() -> None:
    game = Game(recipe("hinge", {"feature_matching": {}}))
    seen: list[torch.Tensor] = []
    game.play.observe = lambda record, norm: seen.append(record.real.images)
    game.rounds(1)
    assert len(seen) == 2 and not torch.equal(*seen)


def test_g_feels_it_through_d() -> None:
    """Its gradient in G against central differences in one weight, with D's weights as they are."""
    options = {"distance": "squared", "alone": True}
    game = Game(recipe("hinge", {"feature_matching": options}, model={**MODEL, "g_norm": "none"}))
    batch, latents = game.play.draw("generator")
    assert batch is not None
    slopes = game.play.evaluate("generator", batch, latents).gradients["body.first.weight"]
    index = tuple(int(i) for i in np.unravel_index(int(slopes.abs().argmax()), slopes.shape))
    d, g = game.gan.discriminator.double(), game.gan.generator.double()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            g.body.first.weight[index] += sign * 1e-4
            fakes = g.body(latents.z.double(), [None] * g.body.blocks)
            gap = d.body(batch.images.double()).mean(0) - d.body(fakes).mean(0)
            ends.append(gap.square().sum().item())
            g.body.first.weight[index] -= sign * 1e-4
    assert slopes[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)
