"""Self-modulation against its formula in numpy, at its start, and with labels."""

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import nn

from gantrick.layers.conditional import SelfModulatedBatchNorm
from gantrick.layers.normalization import BatchNorm, commit, take
from gantrick.model.biggan import BigGAN
from gantrick.trick.self_modulation import SelfModulation
from gantrick.types import ConfigError, DataShape, Latents


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4, 3)])
@pytest.mark.parametrize("hidden", [0, 7])
def test_the_formula(shape: tuple[int, ...], hidden: int) -> None:
    torch.manual_seed(0)
    layer, h, z = SelfModulatedBatchNorm(5, 3, hidden), torch.randn(shape), torch.randn(6, 3)
    x, a = h.double().numpy(), z.double().numpy()
    axes = (0, *range(2, x.ndim))
    normed = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)

    def linear(a: np.ndarray, layer: nn.Linear) -> np.ndarray:
        return a @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()

    if hidden:
        a = np.maximum(linear(a, layer.hidden), 0)
    gamma, beta = (
        out.reshape(6, 5, *(1,) * (x.ndim - 2)) for out in (1 + linear(a, layer.gamma), linear(a, layer.beta))
    )
    np.testing.assert_allclose(layer(h, z).detach().numpy(), gamma * normed + beta, rtol=1e-4, atol=1e-5)


def test_without_a_signal_it_is_plain_batch_normalisation_and_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    layer, plain, h, z = SelfModulatedBatchNorm(5, 3, 4), BatchNorm(5), torch.randn(8, 5, 4, 4), torch.randn(8, 3)
    for linear in (layer.gamma, layer.beta):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    torch.testing.assert_close(layer(h, z), plain(h))
    commit(take(layer))
    commit(take(plain))
    torch.testing.assert_close(layer.eval()(h, z), plain.eval()(h))


def test_the_gain_starts_near_one_under_every_initialisation() -> None:
    """b_γ is 1 as an offset, so that an initialisation which clears biases leaves it."""
    game = Game(recipe(model={"init": "normal"}, trick={"self_modulation": {}}))
    layers = [m for m in game.gan.generator.modules() if isinstance(m, SelfModulatedBatchNorm)]
    assert len(layers) == 2
    z = torch.randn(100, 6)
    for layer in layers:
        assert layer.hidden is not None and layer.hidden.out_features == 32
        gain = 1 + layer.gamma(torch.relu(layer.hidden(z)))
        assert (gain - 1).abs().max() < 0.1


def test_every_norm_sees_z_and_so_does_the_first_layer() -> None:
    model = BigGAN(g_width=2, d_width=2, z_size=6)
    spec = SelfModulation().build(model.spec(DataShape((1, 16, 16)), "batch", "none"))
    generator = model.generator(spec)
    norms = [m for m in generator.modules() if isinstance(m, SelfModulatedBatchNorm)]
    assert len(norms) == 5 and isinstance(generator.norm, SelfModulatedBatchNorm)
    first, conditions = spec.g_condition(2)(Latents(z := torch.randn(3, 6)))
    assert first is z and conditions == [z, z]


def test_with_labels_z_is_shifted_and_scaled_by_class() -> None:
    game = Game(recipe(loss="hinge", trick={"self_modulation": {"labels": True}})).rounds(2)
    condition = game.gan.generator.condition
    z, y = torch.randn(4, 6), torch.tensor([3, 0, 9, 3])
    first, conditions = condition(Latents(z, y))
    assert first is z
    for i in range(4):
        expected = z[i] + condition.shift[y[i]] + condition.scale[y[i]] * z[i]
        torch.testing.assert_close(conditions[0][i], expected)
    g = game.gan.generator.eval()
    assert not torch.allclose(g(Latents(z, y)), g(Latents(z, (y + 1) % 10)))
    assert {"g.labels", "g.batch_statistics"} <= game.gan.assembly.tags


def test_with_labels_a_d_that_does_not_look_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trick.self_modulation: needs that D looks at labels"):
        Game(recipe(trick={"self_modulation": {"labels": True}}, partners=False))
    Game(recipe(trick={"self_modulation": {}}, partners=False))


def test_beside_another_that_gives_the_norms_their_gain_it_is_refused_once() -> None:
    tricks = {"self_modulation": {}, "conditional_batch_norm": {}, "projection": {}}
    with pytest.raises(ConfigError) as error:
        Game(recipe(trick=tricks))
    assert error.value.faults == (
        "trick.self_modulation and trick.conditional_batch_norm: both hold g.condition and g.norm, which have room for "
        "one each; leave one of them out",
    )
