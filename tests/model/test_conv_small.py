"""The semi-supervised GANs' networks: shapes, parameter counts by hand, and D and G written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gantrick.layers.normalization import BatchNorm
from gantrick.model.conv_small import ConvSmall
from gantrick.types import ConfigError, DataShape

SMALL = {"g_width": 2, "d_width": 3, "z_size": 5}


def test_parameters_by_hand() -> None:
    """At 32 pixels the layers of the official code, its weight normalisation aside."""
    model = ConvSmall()
    spec = model.spec(DataShape((3, 32, 32), 10), "batch", "none")
    g = 50 * 512 * 16 + 2 * 512 + 512 * 256 * 25 + 2 * 256 + 256 * 128 * 25 + 2 * 128 + 128 * 3 * 25 + 3
    sizes = [(3, 128, 9), (128, 128, 9), (128, 128, 9), (128, 256, 9), (256, 256, 9), (256, 256, 9), (256, 512, 9)]
    sizes += [(512, 256, 1), (256, 128, 1)]
    d = sum(a * b * k + b for a, b, k in sizes)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    assert [sum(p.numel() for p in n.parameters()) for n in (generator, discriminator)] == [g, d]
    assert discriminator.features == 128
    seen = []
    for conv in discriminator.convs:
        conv.register_forward_hook(lambda m, i, o: seen.append(o.shape[2]))
    discriminator(torch.zeros(1, 3, 32, 32))
    assert seen == [32, 32, 16, 16, 16, 8, 6, 6, 6]


def test_generator_written_out() -> None:
    model = ConvSmall(**SMALL)
    generator = model.generator(model.spec(DataShape((3, 16, 24)), "batch", "none"))
    z = torch.randn(4, 5)
    h = (z @ generator.first.weight.T).view(4, 8, 2, 3)
    for up in generator.ups:
        h = F.relu(F.batch_norm(h, None, None, training=True))
        h = F.conv_transpose2d(h, up.weight, up.bias, stride=2, padding=2, output_padding=1)
    torch.testing.assert_close(generator(z, [None] * 3), h.tanh())
    assert h.shape == (4, 3, 16, 24)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 24), (1, 40, 16)])
def test_discriminator_written_out(shape: tuple[int, ...]) -> None:
    model = ConvSmall(**SMALL)
    discriminator = model.discriminator(model.spec(DataShape(shape), "batch", "none")).eval()
    x = torch.randn(4, *shape)
    h = x
    for i, conv in enumerate(discriminator.convs):
        h = F.conv2d(h, conv.weight, conv.bias, stride=2 if i in (2, 5) else 1, padding=1 if i < 6 else 0)
        h = torch.where(h > 0, h, 0.2 * h)
    torch.testing.assert_close(discriminator(x), h.mean((2, 3)))
    assert h.shape[1] == discriminator.features == 3


@pytest.mark.parametrize(("options", "rates"), [({}, [0.2, 0.5, 0.5]), ({"d_dropout": 0.3}, [0.3] * 3), ({"d_dropout": 0.0}, [])])  # fmt: skip
def test_dropout_is_its_own(options: dict, rates: list[float]) -> None:
    """On the images, and before the second and the third three layers: what a mask of ones and one of zeros lets by."""
    model = ConvSmall(**SMALL, **options)
    spec = model.spec(DataShape((1, 16, 16)), "batch", "none")
    discriminator = model.discriminator(spec)
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == rates
    before: list[int] = []
    for place in discriminator.dropouts:
        place.register_forward_hook(lambda m, i, o: before.append(o.shape[1]))
    discriminator(torch.randn(2, 1, 16, 16))
    assert before == [1, 3, 6]
    assert [m.p for m in model.discriminator(spec.but(d_dropout=nn.Dropout)).dropouts] == [0.2, 0.5, 0.5]


def test_norms_and_packs() -> None:
    model = ConvSmall(**SMALL)
    spec = model.spec(DataShape((1, 16, 16)), "batch", "batch").but(d_channels=2)
    generator, discriminator = model.generator(spec), model.discriminator(spec)
    assert spec.g_blocks == generator.blocks == sum(isinstance(m, BatchNorm) for m in generator.modules())
    assert [isinstance(m, BatchNorm) for m in discriminator.norms] == [False] + [True] * 8
    assert discriminator(torch.randn(3, 2, 16, 16)).shape == (3, 3)


@pytest.mark.parametrize(
    ("shape", "words"), [((2,), "choose model=mlp"), ((1, 28, 28), "28x28 pixels cannot be halved")]
)
def test_faults(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ConvSmall().spec(DataShape(shape), "batch", "none")
