from __future__ import annotations

import numpy as np
import pytest
import torch
from measuring import Fixed, Measured, digits, gaussian, looked_up
from torch import Tensor

from gantrick.metric import _neighbours
from gantrick.metric.prdc import PRDC, prdc
from gantrick.types import GantrickError, Samples


def naive(reals: np.ndarray, fakes: np.ndarray, k: int, k_density: int) -> dict[str, float]:
    """The papers' definitions, one image after the other."""

    def radius(x: np.ndarray, i: int, k: int) -> float:
        return sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[k - 1]

    n, m = len(reals), len(fakes)
    gap = np.array([[np.linalg.norm(r - f) for f in fakes] for r in reals])
    ball, wide = ([radius(reals, i, q) for i in range(n)] for q in (k, k_density))
    of_fakes = [radius(fakes, j, k) for j in range(m)]
    return {
        "precision": sum(any(gap[i, j] <= ball[i] for i in range(n)) for j in range(m)) / m,
        "recall": sum(any(gap[i, j] <= of_fakes[j] for j in range(m)) for i in range(n)) / n,
        "density": sum(gap[i, j] < wide[i] for i in range(n) for j in range(m)) / (k_density * m),
        "coverage": sum(any(gap[i, j] < wide[i] for j in range(m)) for i in range(n)) / n,
    }


@pytest.mark.parametrize("part", [1, 8 * 40 * 9, 2**26])
@pytest.mark.parametrize(("reals", "fakes", "shift"), [(40, 30, 0.0), (25, 40, 1.0), (30, 30, 4.0)])
def test_the_figures_are_those_of_a_naive_loop(
    reals: int, fakes: int, shift: float, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_neighbours, "PART", part)
    x, y = gaussian(reals, 3, 0), gaussian(fakes, 3, 1, mean=shift)
    assert prdc(x, y, 2, 4) == pytest.approx(naive(x.numpy(), y.numpy(), 2, 4), rel=1e-12)


def test_the_same_set_and_one_far_away() -> None:
    x = gaussian(60, 3, 0)
    same = prdc(x, x.clone(), 3, 5)
    assert same == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    assert prdc(x, x + 100, 3, 5) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_the_rim_counts_for_precision_and_recall_alone() -> None:
    """Whole coordinates give many equal distances; squared, they are whole numbers, which a loop compares exactly."""
    rng = np.random.default_rng(0)
    x, y, k, k_density = rng.integers(0, 4, (60, 3)), rng.integers(0, 4, (50, 3)), 3, 5

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares: np.ndarray = ((a[:, None] - b[None]) ** 2).sum(2)
        return squares

    gap, apart = between(x, y), np.sort(between(x, x), 1)  # the first of each row is the point itself
    ball, wide, of_fakes = apart[:, k, None], apart[:, k_density, None], np.sort(between(y, y), 1)[:, k]
    assert (gap == wide).sum() > 100  # a rim that counted would show
    assert prdc(torch.tensor(x).double(), torch.tensor(y).double(), k, k_density) == pytest.approx(
        {
            "precision": (gap <= ball).any(0).mean(),
            "recall": (gap <= of_fakes).any(1).mean(),
            "density": (gap < wide).sum(0).mean() / k_density,
            "coverage": (gap < wide).any(1).mean(),
        },
        rel=1e-12,
    )


def test_fakes_as_good_as_reals_have_the_expectation_of_the_paper() -> None:
    """E density = 1, E coverage = 1 − (N−1)…(N−k)/((M+N−1)…(M+N−k)) at any distribution (Naeem et al.).

    Means of 60 draws within 3.9 of their standard errors (false alarm 1e-4 each).
    """
    n = m = 100
    found = [prdc(gaussian(n, 4, 2 * s), gaussian(m, 4, 2 * s + 1), 3, 5) for s in range(60)]
    coverage = 1 - np.prod([(n - i) / (m + n - i) for i in range(1, 6)])
    for name, truth in (("density", 1.0), ("coverage", coverage)):
        values = np.array([f[name] for f in found])
        assert abs(values.mean() - truth) < 3.9 * values.std(ddof=1) / 60**0.5, name


def figures(reals: Tensor, fakes: Tensor) -> dict[str, float]:
    found = PRDC("digits_cnn", samples=len(fakes)).evaluate(Measured(Fixed(Samples(reals)), fakes)).values
    return {name.partition("/")[0]: value for name, value in found.items()}


def test_missing_classes_cost_recall_and_coverage_and_noise_precision_and_density() -> None:
    train = digits()
    half = len(train) // 2
    reals, images, labels = train.images[:half], train.images[half:], train.labels[half:]
    fewer = [figures(reals, images[labels < classes]) for classes in (10, 6, 2)]
    for name in ("recall", "coverage"):
        assert fewer[0][name] > fewer[1][name] > fewer[2][name]
    assert min(f["precision"] for f in fewer) > 0.6
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noisy = [figures(reals, (images + s * noise).clamp(0, 255).byte()) for s in (0, 40, 120)]
    for name in ("precision", "density"):
        assert noisy[0][name] > noisy[1][name] > noisy[2][name]


def test_protocol_and_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = looked_up(monkeypatch, gaussian(50, 3, 0), gaussian(30, 3, 1))
    found = PRDC("lookup", references=40, density_neighbours=4).evaluate(measured)
    assert found.values.keys() == {f"{n}/lookup" for n in ("precision", "recall", "density", "coverage")}
    assert {
        "neighbours": 3,
        "density_neighbours": 4,
        "reference_count": 40,
        "fakes": 30,
    }.items() <= found.protocol.items()
    assert PRDC("lookup").primary == "coverage/lookup" and not PRDC.lower_is_better
    with pytest.raises(
        GantrickError, match="6 generated samples are the fewest that have this figure, and there are 5"
    ):
        PRDC("lookup", samples=5).evaluate(measured)
