"""The fused convolutions against the two operations that they stand for."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gantrick.layers.resampling import (
    BilinearUpConv,
    Down,
    NearestUpConv,
    PooledConv,
    SubpixelConv,
    Up,
    down_conv,
    up_conv,
    upsample,
)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_nearest_up_sampling_then_convolution(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer = NearestUpConv(3, 5, bias).double()
    h = torch.randn(2, 3, *size, dtype=torch.float64)
    enlarged = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(layer(h), F.conv2d(enlarged, layer.weight, layer.bias, padding=1))


@pytest.mark.parametrize("size", [(4, 4), (6, 8), (7, 5), (2, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_then_pooling(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer = PooledConv(3, 5, bias).double()
    h = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(h), F.avg_pool2d(F.conv2d(h, layer.weight, layer.bias, padding=1), 2))


@pytest.mark.parametrize("kind", [NearestUpConv, PooledConv])
def test_gradients_of_the_fused_kernels(kind: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    layer = kind(2, 2).double()
    h = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)

    def run(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (h,)).pow(2)

    weight = layer.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(run, (h, weight))
    assert torch.autograd.gradgradcheck(run, (h, weight))


def test_bilinear_up_sampling_then_convolution() -> None:
    torch.manual_seed(0)
    layer = BilinearUpConv(3, 5)
    h = torch.randn(2, 3, 4, 4)
    enlarged = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(layer(h), F.conv2d(enlarged(h), layer.weight, layer.bias, padding=1))


def test_pixel_shuffle_starts_as_nearest_up_sampling() -> None:
    torch.manual_seed(0)
    layer = SubpixelConv(3, 5)
    out = layer(torch.randn(2, 3, 4, 4))
    assert out.shape == (2, 5, 8, 8)
    torch.testing.assert_close(out, out[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert not torch.allclose(out[:, 0], out[:, 1])


@pytest.mark.parametrize("kind", get_args(Up))
def test_up_doubles(kind: Up) -> None:
    assert up_conv(kind, 3, 5)(torch.randn(2, 3, 4, 6)).shape == (2, 5, 8, 12)
    assert up_conv(kind, 3, 5, bias=False).bias is None
    assert upsample(torch.randn(2, 3, 4, 6), kind).shape == (2, 3, 8, 12)


@pytest.mark.parametrize("kind", get_args(Down))
def test_down_halves(kind: Down) -> None:
    assert down_conv(kind, 3, 5)(torch.randn(2, 3, 4, 6)).shape == (2, 5, 2, 3)
    assert down_conv(kind, 3, 5, bias=False).bias is None
