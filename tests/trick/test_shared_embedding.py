"""The shared embedding: one for all norms, orthogonal, out of spectral normalisation, and what it is refused beside."""

import pytest
import torch
from playing import Game, recipe
from torch.nn.utils import parametrize

from gantrick.layers.conditional import LinearBatchNorm
from gantrick.types import ConfigError, Latents


def test_one_embedding_and_linear_maps_of_it() -> None:
    game = Game(recipe(loss="hinge", trick={"shared_embedding": {"size": 7}}))
    generator = game.gan.generator
    z, y = torch.randn(4, 6), torch.tensor([0, 3, 9, 3])
    first, conditions = generator.condition(Latents(z, y))
    assert first is z and len(conditions) == 2
    assert all(torch.equal(c, generator.condition.table[y]) for c in conditions)
    norms = [m for m in generator.modules() if isinstance(m, LinearBatchNorm)]
    assert [m.gamma.in_features for m in norms] == [7, 7]
    assert generator.condition.table.shape == (10, 7)


def test_first_puts_it_beside_z_too() -> None:
    game = Game(recipe(loss="hinge", trick={"shared_embedding": {"size": 7, "first": True}})).rounds(1)
    generator = game.gan.generator
    z, y = torch.randn(4, 6), torch.tensor([0, 3, 9, 3])
    first, _ = generator.condition(Latents(z, y))
    assert torch.equal(first, torch.cat([generator.condition.table[y], z], 1))
    assert generator.body.first.in_features == 13


def test_it_starts_orthogonal_and_is_not_normalised() -> None:
    tricks = {"shared_embedding": {"size": 16}, "projection": {}, "spectral_norm": {"network": "both"}}
    game = Game(recipe(loss="hinge", trick=tricks))
    generator = game.gan.generator
    table = generator.condition.table.detach()
    torch.testing.assert_close(table @ table.T, torch.eye(10), atol=1e-5, rtol=0)
    assert not parametrize.is_parametrized(generator.condition)
    norm = next(m for m in generator.modules() if isinstance(m, LinearBatchNorm))
    assert parametrize.is_parametrized(norm.gamma) and parametrize.is_parametrized(norm.beta)
    game.rounds(1)


def test_the_label_changes_the_image() -> None:
    game = Game(recipe(loss="hinge", trick={"shared_embedding": {}})).rounds(3)
    g = game.gan.generator.eval()
    z = torch.randn(4, 6)
    zero, one = (g(Latents(z, torch.full((4,), k))) for k in (0, 1))
    assert not torch.allclose(zero, one)


def test_faults() -> None:
    with pytest.raises(ConfigError, match=r"shared_embedding: needs that D looks at labels"):
        Game(recipe(trick={"shared_embedding": {}}, partners=False))
    tricks = {"shared_embedding": {}, "conditional_batch_norm": {}, "projection": {}}
    with pytest.raises(ConfigError, match=r"conditional_batch_norm and trick.shared_embedding: both hold g.condition"):
        Game(recipe(trick=tricks))
