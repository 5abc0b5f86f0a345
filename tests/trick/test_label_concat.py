"""Where the label's embedding goes, and that it is the paper's one-hot unless a size is asked for."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from playing import Game, recipe

from gantrick.gan import preflight
from gantrick.trick.label_concat import AtFeatures, AtInput, Embedding
from gantrick.types import ConfigError, Latents


def test_one_hot_maps_beside_the_image() -> None:
    x, y = torch.randn(3, 2, 4, 5), torch.tensor([2, 0, 1])
    seen = AtInput(Embedding(3, None))(x, y)
    assert torch.equal(seen[:, :2], x)
    for i in range(3):
        for k in range(3):
            assert (seen[i, 2 + k] == float(k == y[i])).all()
    assert AtInput(Embedding(3, None))(torch.randn(3, 2), y).shape == (3, 5)


def test_a_learned_embedding_beside_the_features() -> None:
    v, y = torch.randn(3, 6), torch.tensor([1, 1, 0])
    layer = AtFeatures(Embedding(2, 4), 6)
    found = layer(v, y)
    assert layer.features == 10 and torch.equal(found[:, :6], v) and torch.equal(found[0, 6:], found[1, 6:])
    assert torch.equal(found[0, 6:], layer.embedding.table[1])
    assert not list(Embedding(2, None).parameters()), "one-hot learns nothing"


@pytest.mark.parametrize("place", ["input", "features", "both"])
@pytest.mark.parametrize("size", [None, 3])
def test_in_a_game_both_players_follow_the_label(place: str, size: int | None) -> None:
    game = Game(recipe(loss="hinge", trick={"label_concat": {"d_place": place, "size": size}})).rounds(2)
    g, d = game.gan.generator.eval(), game.gan.discriminator.eval()
    images, z = torch.randn(4, 1, 8, 8), torch.randn(4, game.gan.spec.z_size)
    zero, one = (torch.full((4,), k) for k in (0, 1))
    assert not torch.allclose(d(images, zero).scores, d(images, one).scores)
    assert not torch.allclose(g(Latents(z, zero)), g(Latents(z, one)))


def test_an_input_penalty_is_on_the_image_alone() -> None:
    """The gradient of the penalty has the image's shape, not that of image and labels."""
    game = Game(recipe(loss="wgan", regularizer={"gp": {}}, trick={"label_concat": {}})).rounds(2)
    assert game.meter.first_bad() is None


@pytest.mark.parametrize("place", ["input", "features", "both"])
@pytest.mark.parametrize("finder", ["acgan", "contragan", "d2d_ce", "multi_hinge"])
def test_a_d_that_is_to_find_the_label_is_not_told_it(finder: str, place: str) -> None:
    loss = finder if finder == "multi_hinge" else "hinge"
    tricks: dict[str, dict] = {} if loss == finder else {finder: {}}
    with pytest.raises(ConfigError, match=r"D is to find the label in the image.*label_concat\.d_place=none"):
        preflight(recipe(loss, trick={**tricks, "label_concat": {"d_place": place}}, partners=False))
    preflight(recipe(loss, trick={**tricks, "label_concat": {"d_place": "none"}}, partners=False))


def test_g_alone() -> None:
    """AC-GAN's G of z and a one-hot label: D is shown the image, so that of labels at random it tells nothing (ln 10)."""
    game = Game(
        recipe("hinge", trick={"acgan": {"images": "real"}, "label_concat": {"d_place": "none"}}), batch_size=32
    )
    draw = game.play.draw

    def mixed(player: Any) -> Any:
        batch, latents = draw(player)
        return None if batch is None else replace(batch, labels=torch.randint(10, (32,))), latents

    game.play.draw = mixed  # type: ignore[method-assign]
    game.rounds(80)
    game.meter.read()
    game.rounds(40)
    assert game.meter.read()["penalty/d_acgan"] > math.log(10) - 0.02
    g, d = game.gan.generator.eval(), game.gan.discriminator.eval()
    z, images = torch.randn(4, game.gan.spec.z_size), torch.randn(4, 1, 8, 8)
    zero, one = (torch.full((4,), k) for k in (0, 1))
    assert not torch.allclose(g(Latents(z, zero)), g(Latents(z, one)))
    assert torch.equal(d(images, zero).scores, d(images, one).scores)
    with pytest.raises(ConfigError, match=r"label_concat: needs that D looks at labels"):
        preflight(recipe("hinge", trick={"label_concat": {"d_place": "none"}}, partners=False))
