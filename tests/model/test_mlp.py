"""MLP: shapes, the formula written out, places of norms and dropout, faults."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gantrick.config import compose
from gantrick.gan import bring_together
from gantrick.layers.normalization import BatchNorm, NoNorm
from gantrick.model.mlp import MLP
from gantrick.types import ConfigError, DataShape

POINTS = DataShape((2,))


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_shapes(shape: tuple[int, ...], norm: str) -> None:
    model = MLP(z_size=5, g_width=7, d_width=9, g_depth=2, d_depth=4)
    spec = model.spec(DataShape(shape), norm, norm)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(torch.randn(6, 5), [None] * generator.blocks)
    assert (generator.blocks, discriminator.features) == (2, 9)
    assert images.shape == (6, *shape)
    assert discriminator(images).shape == (6, 9)


def test_the_papers_depth_and_width() -> None:
    model = MLP()
    spec = model.spec(POINTS, "none", "none")
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    hidden = 2 * (128 * 128 + 128)
    assert count(model.generator(spec)) == (2 * 128 + 128) + hidden + (128 * 2 + 2)
    assert count(model.discriminator(spec)) == (2 * 128 + 128) + hidden


def test_formula() -> None:
    torch.manual_seed(0)
    model = MLP(z_size=3, g_depth=2, d_depth=2, g_width=4, d_width=4)
    spec = model.spec(POINTS, "none", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    w1, b1, w2, b2, w3, b3 = generator.parameters()
    z = torch.randn(5, 3)
    points = (((z @ w1.T + b1).clamp_min(0) @ w2.T + b2).clamp_min(0)) @ w3.T + b3
    torch.testing.assert_close(generator(z, [None, None]), points)
    v1, c1, v2, c2 = discriminator.parameters()
    leaky = lambda h: torch.where(h > 0, h, 0.2 * h)  # noqa: E731
    torch.testing.assert_close(discriminator(points), leaky(leaky(points @ v1.T + c1) @ v2.T + c2))


def test_output_is_bounded_for_images_only() -> None:
    z = 1e4 * torch.randn(64, 2)
    largest = {}
    for shape, output in [((2,), "auto"), ((1, 4, 4), "auto"), ((1, 4, 4), "none"), ((2,), "tanh")]:
        model = MLP(output=output)
        generator = model.generator(model.spec(DataShape(shape), "none", "none"))
        largest[shape, output] = generator(z, [None] * 3).abs().max().item()
    assert [value <= 1 for value in largest.values()] == [False, True, False, True]


def test_norms_and_biases() -> None:
    model = MLP()
    spec = model.spec(POINTS, "batch", "batch")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    assert [type(norm) for norm in generator.norms] == [BatchNorm] * 3
    assert [type(norm) for norm in discriminator.norms] == [NoNorm, BatchNorm, BatchNorm]
    assert [layer.bias is None for layer in generator.hidden] == [True] * 3
    assert [layer.bias is None for layer in discriminator.hidden] == [False, True, True]


def test_conditions_reach_the_norm_of_their_block() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, h: Tensor, condition: Tensor) -> Tensor:
            seen.append(condition)
            return h

    class Chunks:
        first_size = 3

        def __call__(self, blocks: int) -> nn.Module:
            return nn.Identity()

    model = MLP(z_size=12)
    spec = model.spec(POINTS, "none", "none").but(g_norm=lambda channels: Spy(), g_condition=Chunks())
    conditions = [torch.randn(2, 3) for _ in range(3)]
    model.generator(spec)(torch.randn(2, 3), conditions)
    assert all(a is b for a, b in zip(seen, conditions, strict=True))


def test_dropout_slots() -> None:
    asked = []
    model = MLP()
    spec = model.spec(POINTS, "none", "none")
    assert not any(isinstance(m, nn.Dropout) for m in model.discriminator(spec).modules())
    model.discriminator(spec.but(d_dropout=lambda rate: asked.append(rate) or nn.Identity()))
    assert asked == [0.5, 0.5, 0.5]
    model = MLP(d_dropout=0.3)
    found = [
        m.p for m in model.discriminator(model.spec(POINTS, "none", "none")).modules() if isinstance(m, nn.Dropout)
    ]
    assert found == [0.3, 0.3, 0.3]


def test_packs_widen_the_first_layer_of_d() -> None:
    model = MLP()
    for shape, channels, inputs in [((2,), 6, 6), ((3, 4, 4), 9, 9 * 16)]:
        spec = model.spec(DataShape(shape), "none", "none").but(d_channels=channels)
        discriminator = model.discriminator(spec)
        assert discriminator.hidden[0].in_features == inputs
        assert discriminator(torch.randn(2, channels, *shape[1:])).shape == (2, 128)


def test_instance_norm_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        MLP().spec(POINTS, "instance", "instance")
    assert [fault.split(":")[0] for fault in error.value.faults] == ["model.g_norm", "model.d_norm"]
    assert "choose batch, layer or none" in str(error.value)


def test_a_copy_gives_the_same() -> None:
    model = MLP()
    spec = model.spec(POINTS, "batch", "none")
    generator = model.generator(spec)
    z = torch.randn(8, 2)
    out = generator(z, [None] * 3)
    assert torch.equal(copy.deepcopy(generator)(z, [None] * 3), out)


def test_widths_of_each_layer_and_other_activations() -> None:
    """The networks of the semi-supervised GAN for MNIST, by hand."""
    model = MLP(z_size=3, g_width=[4, 5], d_width=[6, 2, 3], g_activation="softplus", d_slope=0.0)
    spec = model.spec(POINTS, "none", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    assert (spec.g_blocks, generator.blocks, discriminator.features) == (2, 2, 3)
    w1, b1, w2, b2, w3, b3 = (p.detach() for p in generator.parameters())
    z = torch.randn(5, 3)
    h = torch.log1p((z @ w1.T + b1).exp())
    points = torch.log1p((h @ w2.T + b2).exp()) @ w3.T + b3
    torch.testing.assert_close(generator(z, [None, None]), points)
    h = points
    for layer in discriminator.hidden:
        h = (h @ layer.weight.T + layer.bias).clamp_min(0)
    torch.testing.assert_close(discriminator(points), h)
    assert [layer.out_features for layer in discriminator.hidden] == [6, 2, 3]


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_maxout_and_tanh(norm: str) -> None:
    """A unit is the largest of its linear functions, unit by unit; no norm in the first layer."""
    model = MLP(g_activation="tanh", d_activation="maxout", d_pieces=3, g_width=4, d_width=5, g_depth=1, d_depth=2)
    spec = model.spec(POINTS, "none", norm)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    w1, b1, w2, b2 = (p.detach() for p in generator.parameters())
    z = torch.randn(6, 2)
    points = torch.tanh(z @ w1.T + b1) @ w2.T + b2
    torch.testing.assert_close(generator(z, [None]), points)
    first, second = discriminator.hidden
    assert [layer.out_features for layer in (first, second)] == [15, 15] and discriminator.features == 5
    h = points @ first.weight.T + first.bias
    h = torch.stack([h[:, 3 * unit : 3 * unit + 3].max(1).values for unit in range(5)], 1)
    h = h @ second.weight.T + (0 if second.bias is None else second.bias)
    if norm == "batch":
        h = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()
    h = torch.stack([h[:, 3 * unit : 3 * unit + 3].max(1).values for unit in range(5)], 1)
    torch.testing.assert_close(discriminator(points), h, rtol=1e-4, atol=1e-5)


def test_the_networks_of_two_toys() -> None:
    """PacGAN's: G 2-400-400-400-400-2 with batch norms, D of pairs with 5 pieces; unrolled GAN's: two layers of tanh."""
    for name, sizes in (
        ("pacgan_grid", ([(400, 2), (400, 400), (400, 400), (400, 400)], [(1000, 4), (1000, 200), (1000, 200)])),
        ("unrolled_ring", ([(128, 256), (128, 128)], [(128, 2), (128, 128)])),
    ):
        networks = bring_together(compose([f"experiment={name}"]))
        g = networks.model.generator(networks.spec)
        d = networks.model.discriminator(networks.spec)
        assert [tuple(layer.weight.shape) for layer in g.hidden] == sizes[0]
        assert [tuple(layer.weight.shape) for layer in d.hidden] == sizes[1]


def test_widths_that_do_not_fit() -> None:
    with pytest.raises(ConfigError) as error:
        MLP(g_width=[4, 5], g_depth=3, d_width=[]).spec(POINTS, "none", "none")
    first, second = error.value.faults
    assert "model.g_depth: 3 hidden layers, and model.g_width has 2; leave model.g_depth at null" in first
    assert "model.d_width: an empty list" in second
    assert MLP(d_width=[4, 5], d_depth=2).spec(POINTS, "none", "none").g_blocks == 3
