"""The distributions that weights are drawn from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gantrick.layers.blocks import DiscriminatorBlock, GeneratorBlock
from gantrick.layers.initialisation import Init, initialisation
from gantrick.layers.normalization import BatchNorm, norm
from gantrick.layers.resampling import SubpixelConv

LAYERS = {
    "linear": lambda: nn.Linear(200, 300),
    "conv": lambda: nn.Conv2d(40, 80, 3),
    "transposed": lambda: nn.ConvTranspose2d(40, 80, 4),
    "subpixel": lambda: SubpixelConv(60, 40),
    "embedding": lambda: nn.Embedding(200, 300),
}


@pytest.mark.parametrize("name", LAYERS)
def test_normal(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().apply(initialisation("normal"))
    assert layer.weight.mean().item() == pytest.approx(0, abs=5e-4)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert name == "embedding" or not layer.bias.any()


def test_normal_draws_the_gains_of_batch_norm_around_one() -> None:
    torch.manual_seed(0)
    layer = BatchNorm(20_000).apply(initialisation("normal"))
    assert layer.weight.mean().item() == pytest.approx(1, abs=1e-3)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.bias.any()
    BatchNorm(4, affine=False).apply(initialisation("normal"))  # has nothing to draw


@pytest.mark.parametrize(
    ("name", "fans"), [("linear", 500), ("embedding", 500), ("conv", 9 * 120), ("transposed", 16 * 120)]
)
def test_xavier(name: str, fans: int) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().apply(initialisation("xavier"))
    bound = math.sqrt(6 / fans)
    assert layer.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert layer.weight.abs().max().item() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_xavier_is_wider_in_residual_branches() -> None:
    torch.manual_seed(0)
    up = GeneratorBlock(32, 64, norm("batch"), "nearest").apply(initialisation("xavier"))
    down = DiscriminatorBlock(32, 64, norm("none"), "pooled").apply(initialisation("xavier"))
    wide, plain = math.sqrt(2) * math.sqrt(6 / (9 * 96)), math.sqrt(6 / 96)
    assert up.conv1.weight.abs().max().item() == pytest.approx(wide, rel=2e-3)
    assert up.conv2.weight.abs().max().item() == pytest.approx(math.sqrt(2) * math.sqrt(6 / (9 * 128)), rel=2e-3)
    assert down.conv2.weight.abs().max().item() == pytest.approx(wide, rel=2e-3)
    for block in (up, down):
        assert block.shortcut.weight.abs().max().item() == pytest.approx(plain, rel=5e-3)


@pytest.mark.parametrize("name", ["linear", "embedding", "conv", "transposed"])
def test_orthogonal(name: str) -> None:
    layer = LAYERS[name]().double().apply(initialisation("orthogonal"))
    kernel = layer.weight.transpose(0, 1) if name == "transposed" else layer.weight
    flat = kernel.flatten(1)
    gram = flat @ flat.T if len(flat) <= flat.shape[1] else flat.T @ flat
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype))


@pytest.mark.parametrize("kind", ["normal", "xavier", "orthogonal", "default"])
def test_pixel_shuffle_keeps_its_four_kernels_equal(kind: Init) -> None:
    layer = SubpixelConv(60, 40).apply(initialisation(kind))
    kernels = layer.weight.view(40, 4, 60, 3, 3)
    assert torch.equal(kernels, kernels[:, :1].expand_as(kernels))
    assert not torch.equal(kernels[0], kernels[1])


def test_default_and_a_layers_own_choice_leave_the_weights_alone() -> None:
    layer = nn.Linear(3, 4)
    before = layer.weight.clone()
    layer.apply(initialisation("default"))
    assert torch.equal(layer.weight, before)
    layer.own_init = True
    layer.apply(initialisation("normal"))
    assert torch.equal(layer.weight, before)
