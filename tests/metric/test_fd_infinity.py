from __future__ import annotations

import numpy as np
import pytest
import torch
from measuring import gaussian, looked_up

from gantrick.metric._frechet import Moments, distance
from gantrick.metric.fd_infinity import FDInfinity, extrapolated, numbers
from gantrick.types import GantrickError


def exact(dim: int) -> Moments:
    """N(0, I) itself."""
    return Moments(2, torch.zeros(dim).double(), torch.eye(dim).double())


@pytest.mark.parametrize(("shift", "std"), [(0.0, 1.0), (0.2, 1.3)])
def test_it_finds_the_closed_form_where_the_distance_of_so_many_is_too_large(shift: float, std: float) -> None:
    """|μ|² + Σ (1 − σ)² of 40 draws: their mean within 3.9 standard errors, plus what the term in 1/N² leaves.

    That is a tenth of the bias of the plain distance at most (false alarm 1e-4).
    """
    dim, truth = 8, 8 * (shift**2 + (1 - std) ** 2)
    plain, found = [], []
    for seed in range(40):
        fakes = gaussian(600, dim, seed, shift, std)
        plain.append(distance(exact(dim), Moments.of(fakes)) - truth)
        found.append(extrapolated(exact(dim), fakes, numbers(600, dim, 15)) - truth)
    errors = [np.std(v, ddof=1) / 40**0.5 for v in (plain, found)]
    assert np.mean(plain) > 3.9 * errors[0], "too large"
    assert abs(np.mean(found)) < 3.9 * errors[1] + 0.1 * np.mean(plain)


def test_a_line_over_one_by_n_is_found_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantrick.metric.fd_infinity.distance", lambda _, other: 3.5 + 70 / other.count)
    found = extrapolated(exact(4), gaussian(400, 4, 0), numbers(400, 4, 6))
    assert found == pytest.approx(3.5, rel=1e-9)


def test_the_numbers() -> None:
    assert numbers(50_000, 2048, 15)[[0, -1]].tolist() == [5000, 50_000]
    assert len(numbers(50_000, 2048, 15)) == 15
    assert numbers(10_000, 2048, 15)[0] == 4096, "below full rank the bias is no line"
    assert numbers(1000, 2048, 15)[0] == 500
    assert numbers(20, 3, 15).tolist() == sorted(set(numbers(20, 3, 15).tolist()))


def test_the_figure_and_its_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = looked_up(monkeypatch, gaussian(5000, 4, 0), gaussian(1000, 4, 1))
    figures = FDInfinity("lookup", samples=1000, points=7).evaluate(measured)
    assert abs(figures.values["fd_infinity/lookup"]) < 0.05
    assert {"points": 7, "fewest": 100, "fakes": 1000, "reference_count": 5000}.items() <= figures.protocol.items()
    assert FDInfinity().primary == "fd_infinity/inception"
    with pytest.raises(GantrickError, match="20 generated samples are the fewest"):
        FDInfinity("lookup").evaluate(looked_up(monkeypatch, gaussian(50, 4, 0), gaussian(19, 4, 1)))
