"""DCGAN: the published architecture, sizes, places of norms and dropout, faults."""

from __future__ import annotations

import copy
from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from gantrick.layers.normalization import BatchNorm, NoNorm
from gantrick.layers.resampling import Down, Up
from gantrick.model.dcgan import DCGAN
from gantrick.types import ConfigError, DataShape

SMALL = {"g_width": 2, "d_width": 3, "z_size": 5}


def shapes_of(network: nn.Module, layers: nn.ModuleList, *inputs: object) -> list[tuple[int, ...]]:
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


def test_the_published_networks() -> None:
    """The 64-pixel networks as torch's DCGAN example has them: 3,576,704 and 2,765,568 weights, with a linear head."""
    model = DCGAN()
    spec = model.spec(DataShape((3, 64, 64)), "batch", "batch")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    assert shapes_of(generator, generator.ups, torch.randn(2, 100), [None] * 4) == [
        (256, 8, 8),
        (128, 16, 16),
        (64, 32, 32),
        (3, 64, 64),
    ]
    assert shapes_of(discriminator, discriminator.downs, torch.randn(2, 3, 64, 64)) == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    assert count(generator) == 3_576_704 + 3  # the example's output convolution has no bias
    assert count(discriminator) + 512 * 16 == 2_765_568 + 64  # nor has its first of D
    assert discriminator.features == 512 * 16


@pytest.mark.parametrize(
    ("size", "bottom"), [(8, 2), (16, 2), (28, 7), (32, 4), (48, 6), (64, 4), (96, 6), (128, 4), (256, 4)]
)
def test_sizes(size: int, bottom: int) -> None:
    model = DCGAN(**SMALL)
    spec = model.spec(DataShape((1, size, size)), "batch", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(torch.randn(2, 5), [None] * generator.blocks)
    assert images.shape == (2, 1, size, size)
    assert generator.bottom[1:] == (bottom, bottom)
    depth = generator.blocks
    assert discriminator(images).shape == (2, discriminator.features) == (2, 3 * 2 ** (depth - 1) * bottom**2)


def test_a_rectangle() -> None:
    model = DCGAN(**SMALL)
    spec = model.spec(DataShape((3, 16, 40)), "batch", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(torch.randn(2, 5), [None] * 3)
    assert images.shape == (2, 3, 16, 40)
    assert discriminator(images).shape == (2, discriminator.features) == (2, 12 * 2 * 5)


@pytest.mark.parametrize(("up", "down"), product(get_args(Up), get_args(Down)))
@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_every_choice_of_layers_builds_and_trains(up: Up, down: Down, norm: str) -> None:
    model = DCGAN(**SMALL, up=up, down=down, pool="mean")
    spec = model.spec(DataShape((1, 16, 16)), norm, norm)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    features = discriminator(generator(torch.randn(4, 5), [None] * 3))
    features.square().sum().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert discriminator.features == 12


def test_norms_and_biases() -> None:
    model = DCGAN()
    spec = model.spec(DataShape((3, 32, 32)), "batch", "batch")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    assert [type(norm) for norm in generator.norms] == [BatchNorm] * 3
    assert generator.first.bias is None
    assert [layer.bias is None for layer in generator.ups] == [True, True, False]  # no norm after the output
    assert [type(norm) for norm in discriminator.norms] == [NoNorm, BatchNorm, BatchNorm]
    assert [layer.bias is None for layer in discriminator.downs] == [False, True, True]
    spec = model.spec(DataShape((3, 32, 32)), "none", "layer")
    assert model.generator(spec).first.bias is not None
    assert all(layer.bias is not None for layer in model.discriminator(spec).downs)


def test_initial_weights_of_the_paper() -> None:
    torch.manual_seed(0)
    model = DCGAN()
    spec = model.spec(DataShape((3, 32, 32)), "batch", "batch")
    for network, init in ((model.generator(spec), spec.g_init), (model.discriminator(spec), spec.d_init)):
        network.apply(init)
        weights = torch.cat([p.detach().flatten() for n, p in network.named_parameters() if p.ndim > 1])
        assert weights.mean().item() == pytest.approx(0, abs=1e-4)
        assert weights.std().item() == pytest.approx(0.02, rel=0.01)


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

    model = DCGAN(**SMALL)
    spec = model.spec(DataShape((1, 32, 32)), "none", "none").but(g_norm=lambda channels: Spy(), g_condition=Chunks())
    generator = model.generator(spec)
    conditions = [torch.randn(2, 3) for _ in range(generator.blocks)]
    generator(torch.randn(2, 3), conditions)
    assert all(a is b for a, b in zip(seen, conditions, strict=True))


def test_dropout_follows_every_activation_of_d() -> None:
    asked = []

    class Zero(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            assert (h < 0).any()
            assert h.min() > -0.5 * h.max()  # after the leaky relu
            return torch.zeros_like(h)

    model = DCGAN(d_width=8)
    spec = model.spec(DataShape((3, 32, 32)), "none", "none")
    assert not any(isinstance(m, nn.Dropout) for m in model.discriminator(spec).modules())
    discriminator = model.discriminator(spec.but(d_dropout=lambda rate: asked.append(rate) or nn.Identity()))
    assert asked == [0.5, 0.5, 0.5]
    discriminator.dropouts[-1] = Zero()
    assert not discriminator(torch.randn(2, 3, 32, 32)).any()  # the features are what is left after the last slot
    asked.clear()
    DCGAN(d_dropout_rate=0.2).discriminator(spec.but(d_dropout=lambda rate: asked.append(rate) or nn.Identity()))
    assert asked == [0.2, 0.2, 0.2]
    model = DCGAN(d_dropout=0.3)
    assert [m.p for m in model.discriminator(model.spec(spec.data, "none", "none")).dropouts] == [0.3] * 3


def test_depths_and_output() -> None:
    model = DCGAN(**SMALL, g_depth=1, d_depth=4, output="none")
    spec = model.spec(DataShape((1, 32, 32)), "none", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(1e4 * torch.randn(2, 5), [None])
    assert images.shape == (2, 1, 32, 32)
    assert images.abs().max() > 1
    assert discriminator(images).shape == (2, 24 * 2 * 2)
    model = DCGAN(**SMALL)
    assert model.generator(spec)(1e4 * torch.randn(2, 5), [None] * 3).abs().max() <= 1


def test_packs() -> None:
    model = DCGAN(**SMALL)
    spec = model.spec(DataShape((3, 16, 16)), "batch", "none").but(d_channels=6)
    assert model.discriminator(spec)(torch.randn(2, 6, 16, 16)).shape == (2, 12 * 4)


def test_channels_last_bf16_and_copies() -> None:
    torch.manual_seed(0)
    model = DCGAN(g_width=8, d_width=8)
    spec = model.spec(DataShape((3, 32, 32)), "batch", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    z = torch.randn(4, 100)
    images = generator(z, [None] * 3)
    features = discriminator(images)
    fast = copy.deepcopy(nn.ModuleList([generator, discriminator])).to(memory_format=torch.channels_last)
    again = fast[0](z, [None] * 3)
    torch.testing.assert_close(again, images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast[1](again), features, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = fast[1](fast[0](z, [None] * 3))
    assert (half.float() - features).norm() < 0.05 * features.norm()


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((2,), {}, ["model.dcgan: makes images, but the data are points of shape (2,); choose model=mlp"]),
        ((1, 7, 7), {}, ["model.dcgan: images of 7x7 pixels cannot be halved and stay at 4 or more", "model=mlp"]),
        ((1, 28, 28), {"g_depth": 3}, ["model.g_depth: model.dcgan cannot halve 28x28 pixels 3 times", "at most 2"]),
        ((1, 28, 28), {"g_depth": 3, "d_depth": 9}, ["model.g_depth", "model.d_depth"]),
        ((1, 9, 9), {"g_depth": 1, "d_depth": 1}, ["model.g_depth", "choose model=mlp"]),
    ],
)
def test_faults(shape: tuple[int, ...], settings: dict[str, int], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        DCGAN(**settings).spec(DataShape(shape), "batch", "batch")
    assert all(word in str(error.value) for word in words)
