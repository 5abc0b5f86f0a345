"""Pools and the head against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrick.layers.heads import Direction, Pool, count_features, linear_head, tail


@pytest.mark.parametrize("pool", ["flatten", "sum", "mean"])
def test_tails(pool: Pool) -> None:
    h = np.random.default_rng(0).normal(size=(3, 5, 2, 4))
    expected = {"flatten": h.reshape(3, 40), "sum": h.sum((2, 3)), "mean": h.mean((2, 3))}[pool]
    layer = tail(pool)()
    np.testing.assert_allclose(layer(torch.from_numpy(h)).numpy(), expected, rtol=1e-12)
    assert count_features(layer, 5, 2, 4) == expected.shape[1]


def test_a_pool_of_half_precision_is_taken_in_float32() -> None:
    h = torch.ones(1, 1, 32, 32, dtype=torch.bfloat16)
    h[0, 0, 0, 0] = 2.0
    out = tail("sum")()(h)
    assert out.dtype == torch.float32
    assert out.item() == 1025.0  # which bfloat16 cannot hold


def test_flatten_does_not_depend_on_the_memory_format() -> None:
    h = torch.randn(3, 5, 2, 4)
    layer = tail("flatten")()
    assert torch.equal(layer(h), layer(h.contiguous(memory_format=torch.channels_last)))


def test_the_head_gives_one_score() -> None:
    head = linear_head(7, Direction)
    features = torch.randn(3, 7)
    torch.testing.assert_close(head(features), (features * head.weight[0]).sum(1, keepdim=True) + head.bias)
