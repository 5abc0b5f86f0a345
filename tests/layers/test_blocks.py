"""Residual blocks against the formula, written out with torch's functions and the naive order of operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.blocks import DiscriminatorBlock, GeneratorBlock
from gantrick.layers.normalization import norm
from gantrick.layers.resampling import Up


def conv(h: Tensor, layer: nn.Conv2d) -> Tensor:
    return F.conv2d(h, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


@pytest.mark.parametrize("up", ["nearest", "bilinear"])
def test_generator_block(up: Up) -> None:
    torch.manual_seed(0)
    block = GeneratorBlock(3, 5, norm("batch"), up).double()
    h = torch.randn(4, 3, 4, 6, dtype=torch.float64)

    def enlarge(h: Tensor) -> Tensor:
        return F.interpolate(h, scale_factor=2, mode=up, align_corners=False if up == "bilinear" else None)

    r = conv(enlarge(F.relu(F.batch_norm(h, None, None, training=True))), block.conv1)
    r = conv(F.relu(F.batch_norm(r, None, None, training=True)), block.conv2)
    torch.testing.assert_close(block(h), r + conv(enlarge(h), block.shortcut))


@pytest.mark.parametrize("up", ["transposed", "pixelshuffle"])
def test_generator_block_of_learned_up_sampling(up: Up) -> None:
    torch.manual_seed(0)
    block = GeneratorBlock(3, 5, norm("none"), up)
    h = torch.randn(4, 3, 4, 6)
    r = conv(F.relu(block.conv1(F.relu(h))), block.conv2)
    torch.testing.assert_close(block(h), r + conv(h, block.shortcut).repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_generator_block_hands_its_condition_to_both_norms() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self, channels: int):
            super().__init__()

        def forward(self, h: Tensor, condition: Tensor) -> Tensor:
            seen.append(condition)
            return h

    condition = torch.randn(2, 4)
    GeneratorBlock(3, 5, Spy, "nearest")(torch.randn(2, 3, 4, 4), condition)
    assert [c is condition for c in seen] == [True, True]


@pytest.mark.parametrize("kind", ["none", "layer"])
@pytest.mark.parametrize("out", [3, 5])
@pytest.mark.parametrize("halves", [True, False])
def test_discriminator_block(kind: str, out: int, halves: bool) -> None:
    torch.manual_seed(0)
    block = DiscriminatorBlock(3, out, norm(kind), "pooled" if halves else None).double()
    h = torch.randn(4, 3, 4, 6, dtype=torch.float64)

    def normed(h: Tensor) -> Tensor:
        return F.layer_norm(h, h.shape[1:]) if kind == "layer" else h

    r = conv(F.relu(normed(conv(F.relu(normed(h)), block.conv1))), block.conv2)
    skip = h if out == 3 and not halves else conv(h, block.shortcut)
    expected = r + skip
    torch.testing.assert_close(block(h), F.avg_pool2d(expected, 2) if halves else expected)


def test_a_wide_block_has_its_last_width_inside() -> None:
    torch.manual_seed(0)
    block = DiscriminatorBlock(3, 5, norm("none"), wide=True).double()
    h = torch.randn(4, 3, 4, 6, dtype=torch.float64)
    assert block.conv1.out_channels == 5 and DiscriminatorBlock(3, 5, norm("none")).conv1.out_channels == 3
    expected = conv(F.relu(conv(F.relu(h), block.conv1)), block.conv2) + conv(h, block.shortcut)
    torch.testing.assert_close(block(h), expected)


def test_first_discriminator_block_convolves_the_images_themselves() -> None:
    torch.manual_seed(0)
    block = DiscriminatorBlock(3, 5, norm("layer"), "pooled", first=True)
    images = torch.randn(4, 3, 4, 6)
    r = F.avg_pool2d(conv(F.relu(conv(images, block.conv1)), block.conv2), 2)
    torch.testing.assert_close(block(images), r + conv(F.avg_pool2d(images, 2), block.shortcut))


def test_strided_discriminator_block_halves_with_its_second_convolution() -> None:
    torch.manual_seed(0)
    block = DiscriminatorBlock(3, 5, norm("none"), "strided")
    h = torch.randn(4, 3, 4, 6)
    r = F.relu(conv(F.relu(h), block.conv1))
    r = F.conv2d(r, block.conv2.weight, block.conv2.bias, stride=2, padding=1)
    torch.testing.assert_close(block(h), r + conv(F.avg_pool2d(h, 2), block.shortcut))


def test_blocks_leave_their_input_alone() -> None:
    h = torch.randn(4, 3, 4, 4)
    before = h.clone()
    DiscriminatorBlock(3, 3, norm("none"))(h)
    GeneratorBlock(3, 3, norm("none"), "nearest")(h)
    assert torch.equal(h, before)
