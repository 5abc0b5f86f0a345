"""BigGAN: shapes of the paper's tables, parameter counts of the published code, places of norms and attention."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gantrick.gan import Discriminator, Generator
from gantrick.layers.conditional import LinearBatchNorm
from gantrick.layers.normalization import BatchNorm, NoNorm
from gantrick.model.biggan import BigGAN
from gantrick.stages import Component
from gantrick.trick.conditional_batch_norm import ConditionalBatchNorm
from gantrick.trick.projection import Projection
from gantrick.trick.shared_embedding import SharedEmbedding
from gantrick.trick.skip_z import SkipZ
from gantrick.types import ConfigError, DataShape, Latents, Model, NetworkSpec

SMALL = {"g_width": 2, "d_width": 3, "z_size": 12}

# (channels / ch, size) after each block: tables 4 to 6 of the paper, and BigGAN-PyTorch's networks at 32 and 64 pixels.
GENERATORS = {
    32: [(4, 8), (4, 16), (4, 32)],
    64: [(16, 8), (8, 16), (4, 32), (2, 64)],
    128: [(16, 8), (8, 16), (4, 32), (2, 64), (1, 128)],
    256: [(16, 8), (8, 16), (8, 32), (4, 64), (2, 128), (1, 256)],
    512: [(16, 8), (8, 16), (8, 32), (4, 64), (2, 128), (1, 256), (1, 512)],
}
DISCRIMINATORS = {
    32: [(4, 16), (4, 8), (4, 8), (4, 8)],
    64: [(1, 32), (2, 16), (4, 8), (8, 4), (16, 4)],
    128: [(1, 64), (2, 32), (4, 16), (8, 8), (16, 4), (16, 4)],
    256: [(1, 128), (2, 64), (4, 32), (8, 16), (8, 8), (16, 4), (16, 4)],
    512: [(1, 256), (1, 128), (2, 64), (4, 32), (8, 16), (8, 8), (16, 4), (16, 4)],
}


def final_spec(model: Model, size: int, *tricks: Component, classes: int = 1000, channels: int = 3) -> NetworkSpec:
    spec = model.spec(DataShape((channels, size, size), classes), "batch", "none")
    for trick in tricks:
        spec = trick.build(spec)  # type: ignore[operator]
    return spec


def counts(model: Model, spec: NetworkSpec) -> tuple[int, int]:
    with torch.device("meta"):
        networks = Generator(model, spec), Discriminator(model, spec)
    return sum(p.numel() for p in networks[0].parameters()), sum(p.numel() for p in networks[1].parameters())


def shapes_of(network: nn.Module, blocks: nn.ModuleList, *inputs: object) -> list[tuple[int, ...]]:
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


@pytest.mark.parametrize("size", GENERATORS)
def test_published_shapes(size: int) -> None:
    model, ch = BigGAN(), 64 if size == 32 else 96
    spec = model.spec(DataShape((3, size, size)), "batch", "none")
    assert spec.z_size == {32: 128, 64: 120, 128: 120, 256: 140, 512: 160}[size]
    with torch.device("meta"):
        generator, discriminator = model.generator(spec), model.discriminator(spec)
        z, images = torch.empty(2, spec.z_size), torch.empty(2, 3, size, size)
    assert generator.blocks == spec.g_blocks == len(GENERATORS[size])
    assert generator.bottom == ((4 if size == 32 else 16) * ch, 4, 4)
    found = shapes_of(generator, generator.ups, z, [None] * generator.blocks)
    assert found == [(ch * m, side, side) for m, side in GENERATORS[size]]
    found = shapes_of(discriminator, discriminator.blocks, images)
    assert found == [(ch * m, side, side) for m, side in DISCRIMINATORS[size]]


def test_parameters_at_128_are_those_of_compare_gan() -> None:
    """google/compare_gan's own test: 70,433,988 in G and 87,982,370 in D, with 1000 classes."""
    model = BigGAN()
    spec = final_spec(model, 128, SkipZ(), SharedEmbedding(), Projection())
    assert counts(model, spec) == (70_433_988, 87_982_370)


@pytest.mark.parametrize(
    ("size", "theirs", "more"),
    [
        # its G attends at 128 pixels where the paper's table has 64, its D has no shortcut where the channels stay
        (256, (82_097_604, 98_635_298), (5 * (384**2 - 192**2) // 4, 768**2 + 768)),
        (512, (82_468_068, 98_801_378), (0, 768**2 + 768 + 96**2 + 96)),
    ],
)
def test_parameters_of_larger_ones(size: int, theirs: tuple[int, int], more: tuple[int, int]) -> None:
    model = BigGAN()
    found = counts(model, final_spec(model, size, SkipZ(), SharedEmbedding(), Projection()))
    assert found == (theirs[0] + more[0], theirs[1] + more[1])


def test_parameters_at_32_are_those_of_biggan_pytorch() -> None:
    """Its networks for CIFAR-10: 4,304,387 and 4,207,361, conditional batch normalisation in place of the embedding."""
    model = BigGAN()
    spec = final_spec(model, 32, ConditionalBatchNorm(), Projection(), classes=10)
    assert counts(model, spec) == (4_304_387, 4_207_361)


@pytest.mark.parametrize(
    ("size", "asked", "g", "d"),
    [
        (32, None, [], []),
        (32, 16, [1], [0]),
        (32, 8, [0], [1]),
        (64, None, [2], [0]),
        (128, None, [3], [0]),
        (128, 32, [2], [1]),
        (128, 0, [], []),
        (256, None, [3], [1]),
        (512, None, [3], [2]),
    ],
)
def test_attention_stands_where_the_maps_have_its_height(
    size: int, asked: int | None, g: list[int], d: list[int]
) -> None:
    model = BigGAN(**SMALL, attention=asked)
    spec = final_spec(model, size)
    with torch.device("meta"):
        networks = model.generator(spec), model.discriminator(spec)
        images = torch.empty(2, 3, size, size)
    assert [[int(i) for i in network.attention] for network in networks] == [g, d]
    seen: list[int] = []
    for network in networks:
        for layer in network.attention.values():
            layer.register_forward_hook(lambda module, args, out: seen.append(out.shape[2]))
    networks[0](torch.empty(2, 12, device="meta"), [None] * spec.g_blocks)
    networks[1](images)
    height = {32: 0, 64: 32}.get(size, 64) if asked is None else asked
    assert seen == [height] * (len(g) + len(d))


def test_each_block_has_its_chunk_and_the_last_norm_has_none() -> None:
    model = BigGAN(**SMALL)
    spec = final_spec(model, 32, SharedEmbedding(5), SkipZ(), classes=4)
    generator = Generator(model, spec)
    norms = [m for m in generator.modules() if isinstance(m, LinearBatchNorm)]
    assert len(norms) == 6 and {m.gamma.in_features for m in norms} == {5 + 3}
    assert type(generator.body.norm) is BatchNorm and generator.body.norm.weight is not None
    assert generator.body.first.in_features == 3
    seen: list[torch.Tensor] = []
    for norm in norms:
        norm.register_forward_hook(lambda module, args, out: seen.append(args[1]))
    z, y = torch.randn(2, 12), torch.tensor([3, 1])
    generator(Latents(z, y))
    for i, condition in enumerate(seen):
        chunk = 3 * (i // 2 + 1)
        assert torch.equal(condition, torch.cat([generator.condition.table[y], z[:, chunk : chunk + 3]], 1))


def test_orthogonal_weights() -> None:
    torch.manual_seed(0)
    model = BigGAN(**SMALL)
    discriminator = model.discriminator(final_spec(model, 16)).apply(final_spec(model, 16).d_init)
    w = discriminator.blocks[1].conv1.weight.detach().flatten(1)
    torch.testing.assert_close(w @ w.T, torch.eye(len(w)), atol=1e-5, rtol=0)


def test_wide_blocks_and_no_norm_in_d() -> None:
    model = BigGAN(**SMALL)
    discriminator = model.discriminator(final_spec(model, 64))
    assert [b.conv1.out_channels for b in discriminator.blocks] == [3, 6, 12, 24, 48]
    assert sum(isinstance(m, NoNorm) for m in discriminator.modules()) == 10
    discriminator = model.discriminator(final_spec(model, 64).but(d_dropout=nn.Dropout))
    assert [m.p for m in discriminator.dropouts if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]


@pytest.mark.parametrize("size", [8, 16, 28, 40, 48, 96])
def test_other_sizes(size: int) -> None:
    model = BigGAN(**SMALL)
    spec = final_spec(model, size, channels=1)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(torch.randn(2, 12), [None] * generator.blocks)
    assert images.shape == (2, 1, size, size)
    assert discriminator(images).shape == (2, discriminator.features)


def test_channels_last_bf16_and_copies() -> None:
    torch.manual_seed(0)
    model = BigGAN(g_width=8, d_width=8, z_size=12, attention=16)
    spec = final_spec(model, 32)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    z = torch.randn(4, 12)
    images = generator(z, [None] * 3)
    features = discriminator(images)
    fast = copy.deepcopy(nn.ModuleList([generator, discriminator])).to(memory_format=torch.channels_last)
    torch.testing.assert_close(fast[1](fast[0](z, [None] * 3)), features, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = fast[1](fast[0](z, [None] * 3))
    assert half.dtype == torch.float32
    assert (half - features).norm() < 0.05 * features.norm()


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((2,), {}, ["model.biggan: makes images, but the data are points of shape (2,); choose model=mlp"]),
        ((1, 7, 7), {}, ["images of 7x7 pixels cannot be halved"]),
        ((3, 32, 32), {"attention": 64}, ["model.attention", "no maps 64 pixels high", "they have 8, 16", "0 is no"]),
        ((3, 64, 64), {"attention": 64}, ["model.attention", "they have 8, 16, 32"]),
    ],
)
def test_faults(shape: tuple[int, ...], settings: dict[str, int], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        BigGAN(**settings).spec(DataShape(shape), "batch", "none")
    assert all(word in str(error.value) for word in words)
