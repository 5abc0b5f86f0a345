"""Self-attention against loops in numpy, its derivatives, and its beginning as the identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gantrick.layers.attention import SelfAttention


def made(channels: int) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(channels).double()
    nn.init.constant_(layer.gamma, 0.7)
    return layer


@pytest.mark.parametrize(("channels", "height", "width"), [(16, 4, 6), (8, 5, 4), (3, 2, 2)])
def test_the_formula(channels: int, height: int, width: int) -> None:
    layer, x = made(channels), torch.randn(2, channels, height, width, dtype=torch.float64)
    weight = {name: p.detach().numpy()[:, :, 0, 0] for name, p in layer.named_parameters() if p.ndim == 4}
    got = layer(x).detach().numpy()
    for b, image in enumerate(x.numpy()):
        maps = {name: np.einsum("oc,chw->ohw", weight[f"{name}.weight"], image) for name in ("theta", "phi", "g")}
        pooled = {}
        for name in ("phi", "g"):
            pooled[name] = [
                maps[name][:, i : i + 2, j : j + 2].max((1, 2))
                for i in range(0, height // 2 * 2, 2)
                for j in range(0, width // 2 * 2, 2)
            ]
        for i in range(height):
            for j in range(width):
                e = np.exp([maps["theta"][:, i, j] @ phi for phi in pooled["phi"]])
                seen = sum(share * g for share, g in zip(e / e.sum(), pooled["g"], strict=True))
                expected = image[:, i, j] + 0.7 * weight["out.weight"] @ seen
                np.testing.assert_allclose(got[b, :, i, j], expected, rtol=1e-10, atol=1e-12)


def test_it_starts_as_the_identity_and_learns_gamma_first() -> None:
    layer, x = SelfAttention(8), torch.randn(2, 8, 4, 4)
    out = layer(x)
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert layer.gamma.grad is not None and layer.gamma.grad != 0
    assert layer.theta.weight.grad is not None and not layer.theta.weight.grad.any()


def test_first_and_second_derivatives() -> None:
    layer = made(8)
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    parameters = tuple(layer.parameters())

    def of(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return layer(x)

    assert torch.autograd.gradcheck(of, (x, *parameters))
    assert torch.autograd.gradgradcheck(of, (x, *parameters))


def test_channels_and_parameters() -> None:
    """C²/8 + C²/8 + C²/2 + C²/2 and γ: 20,481 of the 128 channels at 32 pixels in SAGAN's D."""
    assert sum(p.numel() for p in SelfAttention(128).parameters()) == 20_481
    assert SelfAttention(3)(torch.randn(2, 3, 4, 4)).shape == (2, 3, 4, 4)


def test_channels_last_and_bf16() -> None:
    layer, x = made(16).float(), torch.randn(2, 16, 8, 8)
    plain = layer(x)
    last = layer.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(x)
    assert (half.float() - plain).norm() < 0.02 * plain.norm()
