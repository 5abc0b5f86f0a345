"""BigGAN-deep: the parameter counts of the published code, shapes, and its blocks against their formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gantrick.gan import Discriminator, Generator
from gantrick.layers.blocks import DiscriminatorBottleneck, GeneratorBottleneck
from gantrick.layers.normalization import norm
from gantrick.model.biggan_deep import BigGANDeep
from gantrick.trick.projection import Projection
from gantrick.trick.shared_embedding import SharedEmbedding
from gantrick.trick.skip_z import SkipZ
from gantrick.types import ConfigError, DataShape, Latents

SMALL = {"g_width": 2, "d_width": 3, "z_size": 6}


def shapes_of(network: nn.Module, blocks: nn.ModuleList, *inputs: object) -> list[tuple[int, ...]]:
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


def test_parameters_at_128_are_those_of_compare_gan() -> None:
    """google/compare_gan's own test: 50,244,484 in G and 34,590,210 in D, with 1000 classes."""
    model = BigGANDeep()
    spec = model.spec(DataShape((3, 128, 128), 1000), "batch", "none")
    for trick in (SharedEmbedding(first=True), SkipZ("whole"), Projection()):
        spec = trick.build(spec)
    with torch.device("meta"):
        generator, discriminator = Generator(model, spec), Discriminator(model, spec)
    assert sum(p.numel() for p in generator.parameters()) == 50_244_484
    assert sum(p.numel() for p in discriminator.parameters()) == 34_590_210


def test_shapes_at_128() -> None:
    """Tables 7: channels are multiples of ch = 128."""
    model = BigGANDeep()
    spec = model.spec(DataShape((3, 128, 128)), "batch", "none")
    with torch.device("meta"):
        generator, discriminator = model.generator(spec), model.discriminator(spec)
        z, images = torch.empty(2, 128), torch.empty(2, 3, 128, 128)
    assert generator.blocks == spec.g_blocks == 10
    up = [(16, 4), (16, 8), (16, 8), (8, 16), (8, 16), (4, 32), (4, 32), (2, 64), (2, 64), (1, 128)]
    assert shapes_of(generator, generator.ups, z, [None] * 10) == [(128 * m, s, s) for m, s in up]
    down = [(2, 64), (4, 32), (8, 16), (16, 8), (16, 4)]
    assert shapes_of(discriminator, discriminator.stages, images) == [(128 * m, s, s) for m, s in down]
    assert list(generator.attention) == ["7"] and list(discriminator.attention) == ["0"]


@pytest.mark.parametrize("kind", ["batch", "none"])
def test_generators_block(kind: str) -> None:
    torch.manual_seed(0)
    block = GeneratorBottleneck(8, 5, norm(kind), "nearest").double()
    h = torch.randn(3, 8, 4, 6, dtype=torch.float64)

    def a(h: torch.Tensor) -> torch.Tensor:
        return F.relu(F.batch_norm(h, None, None, training=True) if kind == "batch" else h)

    one, two, three, four = ((c.weight, c.bias) for c in block.convs)
    assert [tuple(c.weight.shape[:2]) for c in block.convs] == [(2, 8), (2, 2), (2, 2), (5, 2)]
    r = F.interpolate(a(F.conv2d(a(h), *one)), scale_factor=2)
    r = F.conv2d(a(F.conv2d(a(F.conv2d(r, *two, padding=1)), *three, padding=1)), *four)
    expected = r + F.interpolate(h, scale_factor=2)[:, :5]
    torch.testing.assert_close(block(h), expected)
    same = GeneratorBottleneck(8, 8, norm(kind)).double()
    assert same(h).shape == h.shape


@pytest.mark.parametrize("down", [True, False])
def test_discriminators_block(down: bool) -> None:
    torch.manual_seed(0)
    block = DiscriminatorBottleneck(3, 8, norm("none"), down).double()
    h = torch.randn(3, 3, 4, 6, dtype=torch.float64)

    def pool(h: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(h, 2) if down else h

    one, two, three, four = ((c.weight, c.bias) for c in block.convs)
    r = F.conv2d(F.relu(F.conv2d(F.relu(h), *one)).relu(), *two, padding=1)
    r = F.conv2d(pool(F.relu(F.conv2d(F.relu(r), *three, padding=1))), *four)
    assert block.shortcut is not None
    added = F.conv2d(pool(h), block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(h), r + torch.cat([pool(h), added], 1))
    assert DiscriminatorBottleneck(8, 8, norm("none")).shortcut is None


def test_every_block_sees_all_of_z_and_the_class() -> None:
    model = BigGANDeep(**SMALL)
    spec = model.spec(DataShape((1, 16, 16), 3), "batch", "none")
    for trick in (SkipZ("whole"), SharedEmbedding(4, first=True)):
        spec = trick.build(spec)
    generator = Generator(model, spec)
    z, y = torch.randn(2, 6), torch.tensor([2, 0])
    first, conditions = generator.condition(Latents(z, y))
    expected = torch.cat([generator.condition.table[y], z], 1)
    assert torch.equal(first, expected) and generator.body.first.in_features == 10
    assert len(conditions) == generator.body.blocks == 4
    assert all(torch.equal(c, expected) for c in conditions)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 48, 64])
def test_sizes(size: int) -> None:
    model = BigGANDeep(**SMALL)
    spec = model.spec(DataShape((1, size, size)), "batch", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(torch.randn(2, 6), [None] * generator.blocks)
    assert images.shape == (2, 1, size, size)
    assert discriminator(images).shape == (2, discriminator.features)


def test_faults() -> None:
    with pytest.raises(ConfigError, match="points of shape"):
        BigGANDeep().spec(DataShape((2,)), "batch", "none")
    with pytest.raises(ConfigError, match=r"model.attention.*no maps 64 pixels high"):
        BigGANDeep(attention=64).spec(DataShape((3, 32, 32)), "batch", "none")
