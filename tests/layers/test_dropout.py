"""Dropout by uniform masks against the law it states."""

from __future__ import annotations

import math

import pytest
import torch

from gantrick.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_share_scale_and_gradient(p: float) -> None:
    """The share of kept elements lies within 5 σ of 1 − p (false alarms: 6e-7), each scaled by 1 / (1 − p)."""
    h = torch.ones(400, 500, requires_grad=True)
    out = Dropout(p)(h)
    kept = out > 0
    assert abs(kept.float().mean().item() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / h.numel())
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - p)))
    (gradient,) = torch.autograd.grad(out.sum(), h)
    assert torch.equal(gradient, out.detach())


def test_masks_are_fresh_and_evaluation_is_the_identity() -> None:
    layer, h = Dropout(0.5), torch.randn(64, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    assert not torch.equal(layer(h), layer(h))
    assert layer(h).is_contiguous(memory_format=torch.channels_last)
    assert layer(h.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(layer.eval()(h), h)
    assert torch.equal(Dropout(0.0)(h), h)
