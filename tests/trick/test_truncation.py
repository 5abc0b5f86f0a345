"""Truncation against the truncated normal's closed form and against drawing again."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gantrick.trick.truncation import Truncation
from gantrick.types import Latents

N = 200_000


def drawn(seed: int = 0) -> torch.Tensor:
    return torch.randn(N // 100, 100, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", [0.02, 0.5, 1.0, 2.0, 8.0])
def test_resampling_has_the_law_of_the_truncated_normal(t: float) -> None:
    z = Truncation(t).truncate(Latents(drawn())).z
    assert z.abs().max() <= t and z.dtype == torch.float32
    # Kolmogorov and Smirnov's test at a false-alarm rate of 1e-4, seeds fixed
    assert stats.kstest(z.flatten().double().numpy(), stats.truncnorm(-t, t).cdf).pvalue > 1e-4
    phi = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * t * phi / (2 * stats.norm.cdf(t) - 1)
    assert z.double().var().item() == pytest.approx(variance, rel=0.02)


def test_it_is_what_drawing_again_gives() -> None:
    t, rng = 0.7, np.random.default_rng(1)
    naive = rng.standard_normal(N)
    while (out := np.abs(naive) > t).any():
        naive[out] = rng.standard_normal(out.sum())
    z = Truncation(t).truncate(Latents(drawn(2))).z.flatten().numpy()
    assert stats.ks_2samp(z, naive).pvalue > 1e-4


def test_the_order_of_all_latents_is_kept() -> None:
    z = drawn(3)[:5]
    inside = Truncation(0.3).truncate(Latents(z)).z
    assert torch.equal(z.flatten().argsort(), inside.flatten().argsort())


def test_clipping_scaling_labels_and_nothing() -> None:
    z, labels = torch.tensor([[-3.0, 0.2, 1.5]]), torch.tensor([4])
    clipped = Truncation(1.0, "clip").truncate(Latents(z, labels))
    assert clipped.z.tolist() == [[-1.0, pytest.approx(0.2), 1.0]] and clipped.labels is labels
    assert torch.equal(Truncation(0.5, "scale").truncate(Latents(z)).z, z / 2)
    assert torch.equal(Truncation(None).truncate(Latents(z)).z, z)


def test_of_a_uniform_it_is_the_uniform_within() -> None:
    from dataclasses import dataclass

    @dataclass
    class Spec:
        z_distribution: str = "uniform"

    trick = Truncation(0.25)
    trick.build(Spec())  # type: ignore[arg-type]
    u = torch.rand(N // 10, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    z = trick.truncate(Latents(u)).z.flatten().numpy()
    assert stats.kstest(z, stats.uniform(-0.25, 0.5).cdf).pvalue > 1e-4
    wide = Truncation(3.0)
    wide.build(Spec())  # type: ignore[arg-type]
    assert torch.equal(wide.truncate(Latents(u)).z, u)
