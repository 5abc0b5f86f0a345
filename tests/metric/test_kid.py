from __future__ import annotations

import numpy as np
import pytest
import torch
from measuring import Fixed, Measured, digits, gaussian, looked_up
from scipy import stats
from torch import Tensor

from gantrick.metric.kid import KID, interval, mmd, rounds
from gantrick.types import GantrickError, Samples

FALSE_ALARM = 1e-4


def naive(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, pair by pair."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def of_gaussians(mean: np.ndarray, std: float) -> float:
    """MMD² of N(0, I) and N(mean, std² I): E (s + 1)³ = 1 + 3 E s + 3 E s² + E s³ by the tensors of moments."""
    d = len(mean)

    def moments(mu: np.ndarray, sigma: float) -> list[np.ndarray]:
        cov, outer = sigma**2 * np.eye(d), np.einsum
        third = outer("i,j,k->ijk", mu, mu, mu) + outer("i,jk->ijk", mu, cov)
        third = third + outer("j,ik->ijk", mu, cov) + outer("k,ij->ijk", mu, cov)
        return [mu, cov + np.outer(mu, mu), third]

    gaps = [a - b for a, b in zip(moments(np.zeros(d), 1.0), moments(mean, std), strict=True)]
    return sum(f * float((gap**2).sum()) / d**i for i, (f, gap) in enumerate(zip((3, 3, 1), gaps, strict=True), 1))


def test_the_distance_is_that_of_the_naive_loop() -> None:
    x, y = gaussian(13, 4, 0), gaussian(9, 4, 1, mean=0.5)
    assert float(mmd(x, y)) == pytest.approx(naive(x.numpy(), y.numpy()), rel=1e-12)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 1.0), (0.0, 1.5)])
def test_it_has_no_bias(mean: float, std: float) -> None:
    """Of 3000 pairs of 8 samples the mean lies within 3.9 standard errors of the truth (false alarm 1e-4)."""
    found = [float(mmd(gaussian(8, 3, 2 * seed), gaussian(8, 3, 2 * seed + 1, mean, std))) for seed in range(3000)]
    truth = of_gaussians(np.full(3, mean), std)
    error = np.std(found, ddof=1) / len(found) ** 0.5
    assert abs(np.mean(found) - truth) < stats.norm.isf(FALSE_ALARM / 2) * error


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 1.0), (1.0, 1.3)])
def test_the_interval_covers_the_truth_at_its_rate(mean: float, std: float) -> None:
    """Misses in 500 repeated draws of reals and fakes are no more than a rate of 10 % makes but once in 10,000.

    Both where fakes are perfect, whose estimates are far from normal, and where they are not.
    """
    truth, misses, centres, halves = of_gaussians(np.full(4, mean), std), 0, [], []
    for seed in range(500):
        x, y = gaussian(200, 4, 2 * seed), gaussian(200, 4, 2 * seed + 1, mean, std)
        centre, half = interval(rounds(x, y, subsets=20, most=1000), 0.9)
        misses += abs(centre - truth) > half
        centres.append(centre)
        halves.append(half)
    assert misses <= stats.binom.isf(FALSE_ALARM, 500, 0.1)
    normal = stats.norm.isf(0.05) * np.std(centres)
    assert np.mean(halves) < (1.5 if mean else 3.0) * normal, "not by being wide"


def test_the_figures_and_their_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = looked_up(monkeypatch, gaussian(3000, 4, 0), gaussian(2000, 4, 1, mean=0.5))
    metric = KID("lookup", samples=2000, references=2500, subset_size=100)
    figures = metric.evaluate(measured)
    low, mid, high = (figures.values[f"{name}/lookup"] for name in ("kid_low", "kid", "kid_high"))
    assert low < of_gaussians(np.full(4, 0.5), 1.0) < high
    assert mid == pytest.approx((low + high) / 2)
    expected = {"subsets": 100, "subset_size": 100, "confidence": 0.95, "fakes": 2000, "reference_count": 2500}
    assert expected.items() <= figures.protocol.items()
    assert metric.primary == "kid/lookup"


def test_of_fewer_samples_the_subsets_are_smaller_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = looked_up(monkeypatch, gaussian(300, 4, 0), gaussian(255, 4, 1))
    figures = KID("lookup").evaluate(measured)
    assert figures.protocol["subset_size"] == 25
    assert figures.protocol["subsets"] == 100
    with pytest.raises(GantrickError, match="20 reals are the fewest"):
        KID("lookup").evaluate(looked_up(monkeypatch, gaussian(19, 4, 0), gaussian(255, 4, 1)))


def kid(reals: Tensor, fakes: Tensor) -> tuple[float, float, float]:
    found = KID("digits_cnn", samples=len(fakes)).evaluate(Measured(Fixed(Samples(reals)), fakes)).values
    return found["kid_low/digits_cnn"], found["kid/digits_cnn"], found["kid_high/digits_cnn"]


def test_real_digits_are_at_no_distance_and_noisier_ones_further() -> None:
    images = digits().images
    half = len(images) // 2
    noise = torch.randn(images[half:].shape, generator=torch.Generator().manual_seed(0))
    found = [kid(images[:half], (images[half:] + s * noise).clamp(0, 255).byte()) for s in (0, 20, 50, 100)]
    assert [mid for _, mid, _ in found] == sorted(mid for _, mid, _ in found)
    low, _, high = found[0]
    assert low <= 0 <= high, found
    assert found[2][0] > high
