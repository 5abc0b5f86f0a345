"""The projection against its formula in numpy, by itself and in a cascade."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.layers.cascade import CascadingHead
from gantrick.layers.heads import ProjectedDirection
from gantrick.types import ConfigError

B, F, CLASSES = 6, 9, 4


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(B, F), torch.tensor([0, 3, 1, 1, 2, 0])


def test_the_score_is_the_papers() -> None:
    v, y = inputs()
    head = ProjectedDirection(F, CLASSES)
    w, b, e = (t.detach().double().numpy() for t in (head.weight[0], head.bias, head.embedding.weight))
    x = v.double().numpy()
    expected = np.array([x[i] @ w + b[0] + e[y[i]] @ x[i] for i in range(B)])
    np.testing.assert_allclose(head(v, y).detach().numpy()[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_in_a_cascade_each_direction_and_each_rejection_is_the_classs_own() -> None:
    v, y = inputs()
    head = CascadingHead(F, 3, direction=lambda features: ProjectedDirection(features, CLASSES))
    got = head(v, y).detach().numpy()
    for i in range(B):
        rest = v[i].double().numpy()
        for k, direction in enumerate(head.directions):
            w = (direction.weight[0] + direction.embedding.weight[y[i]]).detach().double().numpy()
            assert got[i, k] == pytest.approx(rest @ w + direction.bias.item(), rel=1e-4, abs=1e-5)
            rest = rest - (rest @ w) / (w @ w) * w


def test_d_follows_the_label_and_both_players_are_told_it() -> None:
    game = Game(recipe(loss="hinge", trick={"projection": {}, "cascading": {"scores": 3}})).rounds(1)
    gan = game.gan
    images = torch.randn(5, 1, 8, 8)
    zero, one = (gan.discriminator(images, torch.full((5,), k)).scores for k in (0, 1))
    assert zero.shape == (5, 3) and not torch.allclose(zero, one)
    latents = gan.latents(4000, torch.Generator().manual_seed(0))
    assert latents.labels is not None
    counts = torch.bincount(latents.labels, minlength=10).double()
    # χ² with 9 degrees of freedom: above 33.7 once in 10,000
    assert float(((counts - 400) ** 2 / 400).sum()) < 33.7


def test_spectral_normalisation_acts_on_the_embedding_too() -> None:
    game = Game(recipe(trick={"projection": {}, "spectral_norm": {"exact": True}}))
    head = game.gan.discriminator.head
    for weight in (head.weight, head.embedding.weight):
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-4)


def test_without_a_generator_that_is_told_it_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"trick.projection: needs that G is asked for a label.*conditional_batch_norm"
    ):
        Game(recipe(trick={"projection": {}}, partners=False))
