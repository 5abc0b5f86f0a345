from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrick.metric._frechet import Moments, distance, moments, singular_sum
from gantrick.types import GantrickError


def correlated(count: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Samples whose covariance has eigenvalues over four decades, as features have."""
    stream = np.random.default_rng(seed)
    mixing = np.linalg.qr(stream.normal(size=(dim, dim)))[0] * np.logspace(0.5, -1.5, dim)
    return stream.normal(size=(count, dim)) @ mixing.T + shift


def of(samples: np.ndarray) -> Moments:
    return moments([torch.from_numpy(samples)])


def by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    """The formula as the papers' code has it."""
    covariances = [np.atleast_2d(np.cov(samples, rowvar=False)) for samples in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real)


def by_samples(a: np.ndarray, b: np.ndarray) -> float:
    """Without covariances: tr (Σ₁ Σ₂)^½ is the nuclear norm of X₁ X₂ᵀ over the centred, scaled samples; any rank."""
    x, y = ((s - s.mean(0)) / math.sqrt(len(s) - 1) for s in (a, b))
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + (x * x).sum() + (y * y).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 300])
def test_distance_is_that_of_sqrtm_at_full_rank(dim: int) -> None:
    a, b = correlated(5 * dim + 500, dim, 0), correlated(5 * dim + 400, dim, 1, shift=0.1)
    assert distance(of(a), of(b)) == pytest.approx(by_sqrtm(a, b), rel=1e-9)
    assert distance(of(a), of(b)) == pytest.approx(distance(of(b), of(a)), rel=1e-12)


def test_distance_below_full_rank() -> None:
    a, b = correlated(40, 64, 0), correlated(30, 64, 1, shift=0.1)
    expected = by_samples(a, b)
    assert distance(of(a), of(b)) == pytest.approx(expected, rel=1e-11)
    # sqrtm of a singular product is itself right to no more than the root of the rounding, about 1e-7 of the trace
    assert distance(of(a), of(b)) == pytest.approx(by_sqrtm(a, b), rel=1e-5)


@pytest.mark.parametrize("dim", [300, 320])
@pytest.mark.parametrize(("one", "other"), [(290, 280), (300, 320), (301, 700), (270, 900), (20, 900), (900, 1000)])
def test_distance_of_many_features_at_every_rank(one: int, other: int, dim: int) -> None:
    """From eigenvalues where these are exact, and where they are not, from singular values."""
    a, b = correlated(one, dim, 0, shift=5.0), correlated(other, dim, 1, shift=5.1)
    assert distance(of(a), of(b)) == pytest.approx(by_samples(a, b), rel=1e-9)
    given = [Moments.given(m.mean, m.covariance) for m in (of(a), of(b))]  # as from a file: no samples, no count
    assert distance(*given) == pytest.approx(by_samples(a, b), rel=1e-8)


@pytest.mark.parametrize("decades", [0, 3, 6, 9, 12, 20])
@pytest.mark.parametrize("shape", [(300, 300), (300, 400), (400, 300)])
def test_the_sum_of_singular_values_is_right_whatever_their_range(decades: int, shape: tuple[int, int]) -> None:
    stream = np.random.default_rng(0)
    values = np.logspace(0, -decades, 300)
    left, right = (np.linalg.qr(stream.normal(size=(side, 300)))[0] for side in shape)
    found = float(singular_sum(torch.from_numpy(left * values @ right.T)))
    assert found == pytest.approx(values.sum(), rel=1e-10)


def test_constant_features_among_many_are_no_trouble() -> None:
    a, b = (correlated(900, 300, seed) * (np.arange(300) % 3 > 0) for seed in (0, 1))
    assert distance(of(a), of(b)) == pytest.approx(by_samples(a, b), rel=1e-9)


@pytest.mark.parametrize("count", [20, 64, 65, 500])  # of 64 features: far below, just below, at and above full rank
def test_identical_sets_are_at_no_distance(count: int) -> None:
    a = correlated(count, 64, 0, shift=3.0)
    assert 0 <= distance(of(a), of(a.copy())) < 1e-10


def test_diagonal_gaussians_in_closed_form() -> None:
    """Σ (μ₁ − μ₂)² + (σ₁ − σ₂)². Sample moments are made exact by points at μ ± σ e_i, whose scatter is diagonal."""

    def cross(mean: list[float], std: list[float]) -> np.ndarray:
        dim = len(mean)
        steps = np.diag(std) * math.sqrt((2 * dim - 1) / 2)
        return np.concatenate([mean + steps, mean - steps])

    a, b = cross([0.0, 1.0, -2.0], [1.0, 2.0, 0.5]), cross([0.5, 1.0, -1.0], [3.0, 0.1, 0.5])
    expected = (0.25 + 0.0 + 1.0) + (4.0 + 1.9**2 + 0.0)
    assert distance(of(a), of(b)) == pytest.approx(expected, rel=1e-12)


def test_a_shift_alone_is_its_squared_length() -> None:
    a = correlated(200, 8, 0)
    assert distance(of(a), of(a + np.arange(8))) == pytest.approx(140.0, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(lambda s: sum(s) >= 2),
    dim=st.integers(1, 5),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_moments_are_those_of_numpy_however_they_are_split(
    sizes: list[int], dim: int, offset: float, seed: int
) -> None:
    samples = np.random.default_rng(seed).normal(size=(sum(sizes), dim)) + offset
    found = moments(torch.from_numpy(samples).split(sizes))
    assert found.count == len(samples)
    np.testing.assert_allclose(found.mean.numpy(), samples.mean(0), rtol=1e-13, atol=1e-14)
    expected = np.cov(samples, rowvar=False).reshape(dim, dim)
    rounding = 1e-13 + 1e-14 * offset  # the samples themselves are rounded at 1e-16 of the offset
    np.testing.assert_allclose(found.covariance.numpy(), expected, rtol=1e-12, atol=rounding)


def test_float32_features_are_summed_in_float64() -> None:
    features = torch.from_numpy(correlated(3000, 5, 0, shift=1000.0)).float()
    found = moments(features.split(7))
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(features.double().numpy(), rowvar=False), rtol=1e-10)


def test_the_order_of_merging_does_not_matter() -> None:
    parts = [Moments.of(torch.from_numpy(correlated(n, 4, n))) for n in (3, 50, 11)]
    one, other = parts[0].merged(parts[1]).merged(parts[2]), parts[2].merged(parts[0].merged(parts[1]))
    torch.testing.assert_close(one.scatter, other.scatter, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("count", [2, 3, 64, 65, 200])
def test_few_samples_are_kept_as_a_factor_and_restored(count: int) -> None:
    """Of 64 features."""
    a, b = correlated(count, 64, 0, shift=7.0), of(correlated(100, 64, 1))
    whole = of(a)
    assert (whole.rows is not None) == (count <= 64)
    if whole.rows is not None:
        assert whole.rows.shape == (count - 1, 64)
        np.testing.assert_allclose(
            whole.rows.T @ whole.rows, whole.scatter, rtol=0, atol=1e-13 * float(whole.scatter.max())
        )
    again = Moments.restored(whole.tensors())
    assert again.count == count
    torch.testing.assert_close(again.scatter, whole.scatter, rtol=0, atol=1e-13 * float(whole.scatter.max()))
    assert distance(again, b) == pytest.approx(distance(whole, b), rel=1e-12)


def test_small_batches_are_gathered_before_their_moments_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of F² numbers once for about F samples, whatever the batches; no more than those are held."""
    taken: list[int] = []
    real = Moments.of
    monkeypatch.setattr(Moments, "of", staticmethod(lambda x: taken.append(len(x)) or real(x)))
    found = moments(torch.from_numpy(correlated(1000, 64, 0)).split(7))
    assert taken == [70] * 14 + [20]
    assert found.rows is None
    np.testing.assert_allclose(found.covariance, np.cov(correlated(1000, 64, 0), rowvar=False), rtol=1e-9, atol=1e-13)


def test_what_has_no_distance_is_refused() -> None:
    good = of(correlated(10, 3, 0))
    with pytest.raises(GantrickError, match="no samples"):
        moments([])
    with pytest.raises(GantrickError, match="two samples or more, and there is 1"):
        distance(good, of(correlated(1, 3, 0)))
    bad = correlated(10, 3, 0)
    bad[4, 1] = np.nan
    with pytest.raises(GantrickError, match="not finite"):
        distance(good, of(bad))


def test_constant_features_are_no_trouble() -> None:
    a, b = np.zeros((10, 3)), np.ones((10, 3))
    assert distance(of(a), of(b)) == pytest.approx(3.0, rel=1e-12)
