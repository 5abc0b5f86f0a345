"""SNGAN's ResNet: the published shapes, parameter counts, and torch-mimicry's outputs with its weights."""

from __future__ import annotations

import copy
import importlib.util
import types
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.normalization import BatchNorm, NoNorm
from gantrick.layers.resampling import Up
from gantrick.model.sngan_resnet import SNGANResNet
from gantrick.types import ConfigError, DataShape

SMALL = {"g_width": 2, "d_width": 3, "z_size": 5}

# Channels and size after each block, and parameters of G and of D with a linear head: pfnet's and mimicry's networks.
GENERATORS = {
    16: [(256, 8), (256, 16)],
    28: [(256, 14), (256, 28)],
    32: [(256, 8), (256, 16), (256, 32)],
    48: [(256, 12), (128, 24), (64, 48)],
    64: [(512, 8), (256, 16), (128, 32), (64, 64)],
    128: [(1024, 8), (512, 16), (256, 32), (128, 64), (64, 128)],
}
DISCRIMINATORS = {
    16: [(128, 8), (128, 4), (128, 4), (128, 4)],
    28: [(128, 14), (128, 7), (128, 7), (128, 7)],
    32: [(128, 16), (128, 8), (128, 8), (128, 8)],
    48: [(64, 24), (128, 12), (256, 6), (512, 3), (1024, 3)],
    64: [(64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)],
    128: [(64, 64), (128, 32), (256, 16), (512, 8), (1024, 4), (1024, 4)],
}
COUNTS = {
    32: (4_276_739, 1_053_825),
    48: (4_878_083, 10_141_441),
    64: (12_220_675, 10_141_441),
    128: (32_150_787, 29_017_857),
}


def networks(size: int, **settings: object) -> tuple[nn.Module, nn.Module]:
    model = SNGANResNet(**settings)
    spec = model.spec(DataShape((3, size, size)), "batch", "none")
    return model.generator(spec), model.discriminator(spec)


def shapes_of(network: nn.Module, blocks: nn.ModuleList, *inputs: object) -> list[tuple[int, ...]]:
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


@pytest.mark.parametrize("size", GENERATORS)
def test_published_shapes(size: int) -> None:
    generator, discriminator = networks(size)
    with torch.device("meta"):
        z, images = torch.empty(2, 128), torch.empty(2, 3, size, size)
    generator, discriminator = generator.to("meta"), discriminator.to("meta")
    depth = len(GENERATORS[size])
    assert generator.blocks == depth
    assert generator(z, [None] * depth).shape == images.shape
    found = shapes_of(generator, generator.ups, z, [None] * depth)
    assert found == [(channels, side, side) for channels, side in GENERATORS[size]]
    found = shapes_of(discriminator, discriminator.blocks, images)
    assert found == [(channels, side, side) for channels, side in DISCRIMINATORS[size]]
    assert discriminator(images).shape == (2, discriminator.features) == (2, DISCRIMINATORS[size][-1][0])


@pytest.mark.parametrize("size", COUNTS)
def test_parameter_counts(size: int) -> None:
    generator, discriminator = networks(size)
    head = discriminator.features + 1
    counts = [sum(p.numel() for p in network.parameters()) for network in (generator, discriminator)]
    assert (counts[0], counts[1] + head) == COUNTS[size]


def test_parameters_of_32_by_hand() -> None:
    generator, discriminator = networks(32)

    def conv(channels: int, out: int, kernel: int) -> int:
        return channels * out * kernel**2 + out

    block = 2 * conv(256, 256, 3) + conv(256, 256, 1) + 4 * 256
    assert sum(p.numel() for p in generator.parameters()) == 129 * 4096 + 3 * block + 2 * 256 + conv(256, 3, 3)
    first = conv(3, 128, 3) + conv(128, 128, 3) + conv(3, 128, 1)
    halving = 2 * conv(128, 128, 3) + conv(128, 128, 1)
    plain = 2 * conv(128, 128, 3)
    assert sum(p.numel() for p in discriminator.parameters()) == first + halving + 2 * plain


# --- torch-mimicry ---------------------------------------------------------------------------------------------------


def _peer() -> types.ModuleType:
    """scripts/bench/mimicry.py, which knows whose weights are whose."""
    path = Path(__file__).parents[2] / "scripts" / "bench" / "mimicry.py"
    spec = importlib.util.spec_from_file_location("bench_mimicry", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


peer = _peer()


@pytest.fixture(scope="module")
def mimicry() -> types.ModuleType:
    """mimicry's SNGAN networks."""
    try:
        return peer.load()
    except ModuleNotFoundError:
        pytest.skip("torch-mimicry is not installed")


@pytest.mark.parametrize("size", [32, 48, 64, 128])
@pytest.mark.parametrize("training", [True, False])
def test_generator_is_mimicrys(mimicry: types.ModuleType, size: int, training: bool) -> None:
    torch.manual_seed(0)
    theirs = getattr(mimicry, f"SNGANGenerator{size}")()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # away from the start, where every channel is treated alike
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.5)
            module.momentum = 1.0
    theirs(torch.randn(4, 128))
    ours = networks(size, up="bilinear")[0]
    peer.copy_generator(ours, theirs)
    z = torch.randn(3, 128)
    with torch.no_grad():
        expected = theirs.train(training)(z)
        assert 0.1 < expected.abs().mean() < 0.95  # not saturated
        torch.testing.assert_close(ours.train(training)(z, [None] * ours.blocks), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_discriminator_is_mimicrys(mimicry: types.ModuleType, size: int) -> None:
    torch.manual_seed(0)
    theirs = getattr(mimicry, f"SNGANDiscriminator{size}")()
    ours = networks(size)[1]
    images = 300 * torch.randn(3, 3, size, size)  # or the biases alone would decide the score
    with torch.no_grad():
        for _ in range(10):  # each is a power iteration; before them a weight is divided by next to nothing
            theirs(images[:1])
        expected = theirs.eval()(images)  # which leaves the normalised weights in place
    peer.copy_discriminator(ours, theirs)
    head = peer.children(theirs, "l")[-1]
    with torch.no_grad(), peer.InPlaceRelu(ours):
        scores = F.linear(ours(images), head.weight, head.bias)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


# --- choices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", get_args(Up))
@pytest.mark.parametrize("down", ["pooled", "strided"])
@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_every_choice_of_layers_builds_and_trains(up: Up, down: str, norm: str) -> None:
    model = SNGANResNet(**SMALL, up=up, down=down)
    spec = model.spec(DataShape((1, 16, 16)), norm, norm)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    discriminator(generator(torch.randn(4, 5), [None] * 2)).square().sum().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("size", [8, 16, 28, 32, 40, 48, 96])
def test_sizes(size: int) -> None:
    generator, discriminator = networks(size, **SMALL)
    images = generator(torch.randn(2, 5), [None] * generator.blocks)
    assert images.shape == (2, 3, size, size)
    assert discriminator(images).shape == (2, discriminator.features)


def test_widths_and_depths() -> None:
    generator, discriminator = networks(32, g_width=6, d_width=4, g_depth=2, d_depth=6)
    assert shapes_of(generator, generator.ups, torch.randn(2, 128), [None] * 2) == [(6, 16, 16), (6, 32, 32)]
    shapes = [(4, 16, 16), *[(4, 8, 8)] * 5]
    assert shapes_of(discriminator, discriminator.blocks, torch.randn(2, 3, 32, 32)) == shapes
    generator, discriminator = networks(64, g_width=2, d_width=1, d_depth=3)
    shapes = [(16, 8, 8), (8, 16, 16), (4, 32, 32), (2, 64, 64)]
    assert shapes_of(generator, generator.ups, torch.randn(2, 128), [None] * 4) == shapes
    shapes = [(1, 32, 32), (2, 16, 16), (4, 8, 8)]
    assert shapes_of(discriminator, discriminator.blocks, torch.randn(2, 3, 64, 64)) == shapes


def test_conditions_reach_the_norms_of_their_block_and_the_last_one_the_final_norm() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, h: Tensor, condition: Tensor) -> Tensor:
            seen.append(condition)
            return h

    class Chunks:
        first_size = 3

        def __call__(self, blocks: int) -> nn.Module:
            return nn.Identity()

    model = SNGANResNet(**SMALL)
    spec = model.spec(DataShape((1, 32, 32)), "none", "none").but(g_norm=lambda channels: Spy(), g_condition=Chunks())
    a, b, c = (torch.randn(2, 3) for _ in range(3))
    model.generator(spec)(torch.randn(2, 3), [a, b, c])
    assert all(x is y for x, y in zip(seen, [a, a, b, b, c, c, c], strict=True))


@pytest.mark.parametrize(
    ("size", "settings", "blocks", "rates"),
    [
        (32, {}, [1, 2, 3], [0.2, 0.5, 0.5]),
        (128, {}, [3, 4, 5], [0.2, 0.5, 0.5]),
        (32, {"d_depth": 2}, [0, 1], [0.5, 0.5]),
    ],
)
def test_dropout_slots_follow_the_last_three_blocks(
    size: int, settings: dict[str, int], blocks: list[int], rates: list[float]
) -> None:
    model = SNGANResNet(**SMALL, **settings)
    spec = model.spec(DataShape((3, size, size)), "batch", "none")
    assert not any(isinstance(m, nn.Dropout) for m in model.discriminator(spec).modules())
    discriminator = model.discriminator(spec.but(d_dropout=nn.Dropout))
    found = [(i, slot.p) for i, slot in enumerate(discriminator.dropouts) if isinstance(slot, nn.Dropout)]
    assert found == list(zip(blocks, rates, strict=True))
    model = SNGANResNet(**SMALL, **settings, d_dropout=0.3)
    slots = model.discriminator(model.spec(spec.data, "batch", "none")).dropouts
    assert [slot.p for slot in slots if isinstance(slot, nn.Dropout)] == [0.3] * len(rates)


def test_the_last_dropout_comes_before_the_final_relu() -> None:
    discriminator = networks(16, **SMALL)[1]

    class Minus(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            return -h.abs()

    assert discriminator(torch.randn(2, 3, 16, 16)).any()
    discriminator.dropouts[-1] = Minus()
    assert not discriminator(torch.randn(2, 3, 16, 16)).any()


def test_norms_of_the_defaults() -> None:
    assert SNGANResNet.auto_norms == ("batch", "none", "none")
    generator, discriminator = networks(32, **SMALL)
    assert sum(isinstance(m, BatchNorm) for m in generator.modules()) == 7
    assert sum(isinstance(m, NoNorm) for m in discriminator.modules()) == 8


def test_pools_and_packs() -> None:
    images = torch.randn(2, 6, 16, 16)
    features = {}
    for pool in ("sum", "mean", "flatten"):
        torch.manual_seed(0)
        model = SNGANResNet(**SMALL, pool=pool)
        discriminator = model.discriminator(model.spec(DataShape((3, 16, 16)), "batch", "none").but(d_channels=6))
        features[pool] = discriminator(images)
        assert features[pool].shape == (2, discriminator.features)
    torch.testing.assert_close(features["sum"], 16 * features["mean"])
    torch.testing.assert_close(features["flatten"].view(2, 3, 16).sum(2), features["sum"])


def test_channels_last_bf16_and_copies() -> None:
    torch.manual_seed(0)
    generator, discriminator = networks(32, g_width=16, d_width=16)
    z = torch.randn(4, 128)
    images = generator(z, [None] * 3)
    features = discriminator(images)
    fast = copy.deepcopy(nn.ModuleList([generator, discriminator])).to(memory_format=torch.channels_last)
    again = fast[0](z, [None] * 3)
    torch.testing.assert_close(again, images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast[1](again), features, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = fast[1](fast[0](z, [None] * 3))
    assert half.dtype == torch.float32
    assert (half - features).norm() < 0.05 * features.norm()


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((2,), {}, ["model.sngan_resnet: makes images, but the data are points of shape (2,); choose model=mlp"]),
        ((1, 7, 7), {}, ["images of 7x7 pixels cannot be halved"]),
        ((1, 28, 28), {"g_depth": 3}, ["model.g_depth", "28x28 pixels 3 times", "at most 2"]),
    ],
)
def test_faults(shape: tuple[int, ...], settings: dict[str, int], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        SNGANResNet(**settings).spec(DataShape(shape), "batch", "none")
    assert all(word in str(error.value) for word in words)
