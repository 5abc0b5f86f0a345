"""SAGAN: the official code's channels, the place of the attention, and what it is without it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from gantrick.layers.conditional import ConditionalBatchNorm
from gantrick.layers.normalization import BatchNorm
from gantrick.model.sagan import SAGAN
from gantrick.model.sngan_resnet import SNGANResNet
from gantrick.types import ConfigError, DataShape

SMALL = {"g_width": 2, "d_width": 3, "z_size": 5}


def shapes_of(network: nn.Module, blocks: nn.ModuleList, *inputs: object) -> list[tuple[int, ...]]:
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


def test_published_shapes_at_128() -> None:
    """brain-research/self-attention-gan: generator_test and discriminator_test, gf_dim and df_dim 64."""
    model = SAGAN()
    spec = model.spec(DataShape((3, 128, 128)), "batch", "none")
    with torch.device("meta"):
        generator, discriminator = model.generator(spec), model.discriminator(spec)
        z, images = torch.empty(2, 128), torch.empty(2, 3, 128, 128)
    assert generator.bottom == (1024, 4, 4)
    up = [(1024, 8), (512, 16), (256, 32), (128, 64), (64, 128)]
    assert shapes_of(generator, generator.ups, z, [None] * 5) == [(c, s, s) for c, s in up]
    down = [(64, 64), (128, 32), (256, 16), (512, 8), (1024, 4), (1024, 4)]
    assert shapes_of(discriminator, discriminator.blocks, images) == [(c, s, s) for c, s in down]
    assert list(generator.attention) == ["2"] and list(discriminator.attention) == ["1"]
    assert [b.conv1.out_channels for b in discriminator.blocks] == [c for c, _ in down]


def test_parameters_at_128_by_hand() -> None:
    """SNGAN's G has 32,150,787, attention over C channels 5 C²/4 + 1; D's blocks are as wide inside as behind."""
    model = SAGAN()
    spec = model.spec(DataShape((3, 128, 128)), "batch", "none")
    with torch.device("meta"):
        counts = [sum(p.numel() for p in n.parameters()) for n in (model.generator(spec), model.discriminator(spec))]
    assert counts[0] == 32_150_787 + 5 * 256**2 // 4 + 1

    def conv(channels: int, out: int, kernel: int) -> int:
        return channels * out * kernel**2 + out

    widths = [3, 64, 128, 256, 512, 1024]
    blocks = sum(conv(a, b, 3) + conv(b, b, 3) + conv(a, b, 1) for a, b in pairwise(widths))
    assert counts[1] == blocks + 2 * conv(1024, 1024, 3) + 5 * 128**2 // 4 + 1


@pytest.mark.parametrize(
    ("size", "asked", "g", "d"),
    [
        (8, None, [], []),
        (16, None, [0], [0]),
        (28, None, [0], [0]),
        (32, None, [1], [0]),
        (32, 8, [0], [1]),
        (32, 0, [], []),
        (48, None, [1], [0]),
        (64, None, [2], [0]),
        (128, None, [2], [1]),
        (128, 64, [3], [0]),
        (256, None, [2], [2]),
    ],
)
def test_place_of_the_attention(size: int, asked: int | None, g: list[int], d: list[int]) -> None:
    model = SAGAN(**SMALL, attention=asked)
    spec = model.spec(DataShape((3, size, size)), "batch", "none")
    with torch.device("meta"):
        networks = model.generator(spec), model.discriminator(spec)
    assert [[int(i) for i in network.attention] for network in networks] == [g, d]


def test_with_gamma_at_its_start_g_is_sngans() -> None:
    torch.manual_seed(0)
    models = SAGAN(**SMALL), SNGANResNet(**SMALL)
    specs = [m.spec(DataShape((3, 32, 32)), "batch", "none") for m in models]
    ours, sngan = (m.generator(s) for m, s in zip(models, specs, strict=True))
    missing = ours.load_state_dict(sngan.state_dict(), strict=False).missing_keys
    assert missing and all(name.startswith("attention.") for name in missing)
    z = torch.randn(4, 5)
    assert torch.equal(ours(z, [None] * 3), sngan(z, [None] * 3))
    nn.init.constant_(ours.attention["1"].gamma, 1.0)
    assert not torch.equal(ours(z, [None] * 3), sngan(z, [None] * 3))


def test_the_last_norm_knows_no_label() -> None:
    model = SAGAN(**SMALL)
    spec = model.spec(DataShape((3, 32, 32), 10), "batch", "none")
    generator = model.generator(spec.but(g_norm=lambda channels: ConditionalBatchNorm(channels, 10)))
    assert type(generator.norm) is BatchNorm
    assert sum(isinstance(m, ConditionalBatchNorm) for m in generator.modules()) == 6


@pytest.mark.parametrize("size", [8, 16, 28, 32, 40, 48, 64])
def test_sizes(size: int) -> None:
    model = SAGAN(**SMALL)
    spec = model.spec(DataShape((1, size, size)), "batch", "none")
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    images = generator(torch.randn(2, 5), [None] * generator.blocks)
    assert images.shape == (2, 1, size, size) and spec.g_blocks == generator.blocks
    assert discriminator(images).shape == (2, discriminator.features)


def test_faults() -> None:
    with pytest.raises(ConfigError, match="points of shape"):
        SAGAN().spec(DataShape((2,)), "batch", "none")
    with pytest.raises(ConfigError, match=r"model.attention: model.sagan has no maps 20 pixels high.*they have 8, 16"):
        SAGAN(attention=20).spec(DataShape((3, 32, 32)), "batch", "none")
