"""InfoGAN's networks: shapes, parameter counts by hand, and D and G written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gantrick.layers.normalization import BatchNorm, NoNorm
from gantrick.model.infogan import InfoGAN
from gantrick.types import ConfigError, DataShape

SMALL = {"g_width": 2, "d_width": 3, "z_size": 5}


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 64)])
def test_parameters_by_hand(channels: int, size: int) -> None:
    """The table of the study: no biases where batch normalisation takes them away again, its gains and shifts instead."""
    model = InfoGAN()
    spec = model.spec(DataShape((channels, size, size)), "batch", "batch")
    quarter = (size // 4) ** 2
    generator = 64 * 1024 + 2 * 1024 + 1024 * 128 * quarter + 2 * 128 * quarter
    generator += 128 * 64 * 16 + 2 * 64 + 64 * channels * 16 + channels
    discriminator = channels * 64 * 16 + 64 + 64 * 128 * 16 + 2 * 128 + 128 * quarter * 1024 + 2 * 1024
    found = [sum(p.numel() for p in n.parameters()) for n in (model.generator(spec), model.discriminator(spec))]
    assert found == [generator, discriminator]
    assert model.discriminator(spec).features == 1024


@pytest.mark.parametrize("slope", [0.2, 0.0])
def test_generator_written_out(slope: float) -> None:
    torch.manual_seed(0)
    model = InfoGAN(**SMALL, g_slope=slope)
    generator = model.generator(model.spec(DataShape((3, 8, 12)), "batch", "batch"))

    def act(h: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(F.batch_norm(h, None, None, training=True), slope)

    z = torch.randn(4, 5)
    h = act(z @ generator.fc1.weight.T)
    h = act(h @ generator.fc2.weight.T).view(4, 4, 2, 3)
    h = act(F.conv_transpose2d(h, generator.up1.weight, stride=2, padding=1))
    h = F.conv_transpose2d(h, generator.up2.weight, generator.up2.bias, stride=2, padding=1)
    torch.testing.assert_close(generator(z, [None] * 3), h.tanh())
    assert h.shape == (4, 3, 8, 12)


def test_discriminator_written_out() -> None:
    torch.manual_seed(0)
    model = InfoGAN(**SMALL)
    discriminator = model.discriminator(model.spec(DataShape((3, 8, 12)), "batch", "batch"))

    def act(h: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(F.batch_norm(h, None, None, training=True), 0.2)

    x = torch.randn(4, 3, 8, 12)
    h = F.leaky_relu(F.conv2d(x, discriminator.down1.weight, discriminator.down1.bias, stride=2, padding=1), 0.2)
    h = act(F.conv2d(h, discriminator.down2.weight, stride=2, padding=1))
    h = act(h.flatten(1) @ discriminator.fc.weight.T)
    torch.testing.assert_close(discriminator(x), h)
    assert h.shape == (4, discriminator.features) == (4, 48)


def test_norms_dropout_and_packs() -> None:
    model = InfoGAN(**SMALL)
    spec = model.spec(DataShape((1, 8, 8)), "batch", "none")
    generator = model.generator(spec)
    assert spec.g_blocks == generator.blocks == 3
    assert sum(isinstance(m, BatchNorm) for m in generator.modules()) == 3
    discriminator = model.discriminator(spec.but(d_dropout=nn.Dropout, d_channels=2))
    assert sum(isinstance(m, NoNorm) for m in discriminator.modules()) == 2
    assert discriminator.fc.bias is not None and discriminator.down2.bias is not None
    assert [m.p for m in discriminator.dropouts] == [0.5] * 3
    assert discriminator(torch.randn(2, 2, 8, 8)).shape == (2, 48)


@pytest.mark.parametrize(
    ("shape", "g_norm", "words"),
    [
        ((2,), "batch", ["points of shape (2,); choose model=mlp"]),
        ((1, 30, 30), "batch", ["model.infogan: images of 30x30 pixels cannot be halved twice"]),
        ((1, 28, 28), "instance", ["model.g_norm", "no positions"]),
    ],
)
def test_faults(shape: tuple[int, ...], g_norm: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        InfoGAN().spec(DataShape(shape), g_norm, "none")
    assert all(word in str(error.value) for word in words)
