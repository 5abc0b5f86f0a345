"""Conditional batch normalisation against numpy, and against plain batch normalisation at its start."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.layers.conditional import ConditionalBatchNorm
from gantrick.layers.normalization import BatchNorm, commit, take
from gantrick.types import ConfigError


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4, 3)])
def test_the_formula(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, h, y = ConditionalBatchNorm(5, 3), torch.randn(shape), torch.tensor([0, 2, 1, 1, 0, 2])
    with torch.no_grad():
        layer.gamma.normal_()
        layer.beta.normal_()
    x = h.double().numpy()
    axes = (0, *range(2, x.ndim))
    normed = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    rest = (1,) * (x.ndim - 2)
    gamma, beta = (t.detach().double().numpy()[y].reshape(6, 5, *rest) for t in (layer.gamma, layer.beta))
    np.testing.assert_allclose(layer(h, y).detach().numpy(), gamma * normed + beta, rtol=1e-4, atol=1e-5)


def test_it_starts_as_plain_batch_normalisation_and_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    h, y = torch.randn(8, 5, 4, 4), torch.randint(3, (8,))
    layer, plain = ConditionalBatchNorm(5, 3), BatchNorm(5)
    torch.testing.assert_close(layer(h, y), plain(h))
    commit(take(layer))
    commit(take(plain))
    torch.testing.assert_close(layer.eval()(h, y), plain.eval()(h))


def test_each_class_learns_its_own_gain_alone() -> None:
    layer, h = ConditionalBatchNorm(5, 3), torch.randn(4, 5)
    layer(h, torch.tensor([1, 1, 2, 1])).square().sum().backward()
    assert layer.gamma.grad is not None and not layer.gamma.grad[0].any() and layer.gamma.grad[1].any()


def test_the_label_changes_the_image_and_nothing_else() -> None:
    game = Game(recipe(loss="hinge", trick={"conditional_batch_norm": {}})).rounds(3)
    from gantrick.types import Latents

    g = game.gan.generator.eval()
    z = torch.randn(4, game.gan.spec.z_size)
    zero, one = (g(Latents(z, torch.full((4,), k))) for k in (0, 1))
    assert not torch.allclose(zero, one)
    assert torch.equal(zero, g(Latents(z, torch.zeros(4, dtype=torch.long))))


def test_without_a_discriminator_that_looks_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs that D looks at labels.*trick=acgan"):
        Game(recipe(trick={"conditional_batch_norm": {}}, partners=False))
