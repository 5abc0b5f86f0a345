"""Skip-z: which part of z goes where, the formula of the norms, and what it cannot be cut from."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.layers.conditional import LinearBatchNorm
from gantrick.types import ConfigError, Latents


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4, 3)])
def test_the_formula_of_its_norms(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, h, c = LinearBatchNorm(5, 3), torch.randn(shape), torch.randn(6, 3)
    x = h.double().numpy()
    axes = (0, *range(2, x.ndim))
    normed = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    gamma, beta = (
        (c.double().numpy() @ linear.weight.detach().double().numpy().T).reshape(6, 5, *(1,) * (x.ndim - 2))
        for linear in (layer.gamma, layer.beta)
    )
    np.testing.assert_allclose(layer(h, c).detach().numpy(), (1 + gamma) * normed + beta, rtol=1e-4, atol=1e-5)
    assert layer.gamma.bias is None and layer.beta.bias is None


@pytest.mark.parametrize(("z_size", "first", "chunk"), [(6, 2, 2), (7, 3, 2), (8, 4, 2), (9, 3, 3), (3, 1, 1)])
def test_every_dimension_goes_to_one_place(z_size: int, first: int, chunk: int) -> None:
    game = Game(recipe(model={"z_size": z_size}, trick={"skip_z": {}})).rounds(1)
    generator = game.gan.generator
    assert generator.body.blocks == 2
    z = torch.randn(3, z_size)
    head, conditions = generator.condition(Latents(z))
    assert torch.equal(torch.cat([head, *conditions], 1), z)
    assert head.shape == (3, first) and all(c.shape == (3, chunk) for c in conditions)
    assert generator.body.first.in_features == first


def test_whole_gives_all_of_z_to_each() -> None:
    game = Game(recipe(trick={"skip_z": {"z": "whole"}})).rounds(1)
    z = torch.randn(3, 6)
    first, conditions = game.gan.generator.condition(Latents(z))
    assert first is z and len(conditions) == 2 and all(c is z for c in conditions)


def test_a_block_follows_its_own_chunk() -> None:
    game = Game(recipe(loss="hinge", trick={"skip_z": {}})).rounds(3)
    g = game.gan.generator.eval()
    z = torch.randn(4, 6)
    for place in range(6):
        moved = z.clone()
        moved[:, place] += 1
        assert not torch.allclose(g(Latents(z)), g(Latents(moved)))


@pytest.mark.parametrize("order", [("skip_z", "shared_embedding"), ("shared_embedding", "skip_z")])
def test_with_the_shared_embedding_in_any_order(order: tuple[str, str]) -> None:
    tricks = {name: {} for name in order} | {"projection": {}}
    game = Game(recipe(loss="hinge", trick=tricks)).rounds(1)
    z, y = torch.randn(3, 6), torch.tensor([1, 7, 1])
    condition = game.gan.generator.condition
    first, conditions = condition(Latents(z, y))
    assert torch.equal(first, z[:, :2])
    for i, c in enumerate(conditions):
        assert torch.equal(c, torch.cat([condition.table[y], z[:, 2 * i + 2 : 2 * i + 4]], 1))


def test_faults() -> None:
    with pytest.raises(
        ConfigError, match=r"skip_z: 2 latent dimensions cannot be cut into 3 chunks.*model.z_size to 3"
    ):
        Game(recipe(model={"z_size": 2}, trick={"skip_z": {}}))
    with pytest.raises(ConfigError, match=r"conditional_batch_norm and trick.skip_z: both hold g.condition and g.norm"):
        Game(recipe(trick={"skip_z": {}, "conditional_batch_norm": {}, "projection": {}}))
