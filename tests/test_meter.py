"""Means since the last reading, and the first value that is not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrick.meter import Meter


def t(value: float) -> Tensor:
    return torch.tensor(value)


def test_means_since_the_last_reading() -> None:
    meter, rng = Meter(), np.random.default_rng(0)
    for count in (1, 7, 30):
        values = rng.normal(5, 3, (count, 2)).astype(np.float32)
        for step, (a, b) in enumerate(values):
            meter.add({"a": t(a), "b": t(b)}, step)
        means = meter.read()
        assert meter.first_bad() is None and list(means) == ["a", "b"]
        assert means == {
            k: pytest.approx(m, rel=1e-5) for k, m in zip("ab", values.astype(np.float64).mean(0), strict=True)
        }
    assert meter.read() == {}


def test_a_name_that_comes_in_several_companies() -> None:
    """A lazy penalty is there in some steps only: each mean is over the steps in which its name was."""
    meter = Meter()
    for step in range(6):
        values = {"loss": t(step)} | ({"penalty": t(10 + step)} if step % 3 == 0 else {})
        meter.add(values, step)
        meter.add({"g": t(-step)}, step)
    means = meter.read()
    assert meter.first_bad() is None and means == {"loss": 2.5, "penalty": 11.5, "g": -2.5}


def test_what_is_added_is_not_kept() -> None:
    """Values may be changed, freed or of other precision afterwards, and no graph is held."""
    value = torch.ones((), dtype=torch.float64, requires_grad=True)
    tensor, meter = value * 2, Meter()
    meter.add({"a": tensor, "b": torch.ones((), dtype=torch.bfloat16)}, 0)
    with torch.no_grad():
        tensor.fill_(9)
    assert all(not x.requires_grad for total, bad, _ in meter._groups.values() for x in (total, bad))
    assert meter.read() == {"a": 2.0, "b": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_that_is_not_finite(value: float) -> None:
    meter = Meter()
    for step in range(5, 12):
        meter.add({"fine": t(1), "late": t(value if step >= 9 else 1), "early": t(value if step == 7 else 1)}, step)
    means = meter.read()
    assert meter.first_bad() == ("early", 7)
    assert means["fine"] == 1 and not math.isfinite(means["late"]) and not math.isfinite(means["early"])
    assert meter.read() == {}, "a reading forgets the sums"
    assert meter.first_bad() == ("early", 7), "and remembers what went bad"


def test_in_one_step_the_order_of_computation_decides() -> None:
    meter = Meter()
    meter.add({"loss": t(1), "penalty": t(math.nan), "sum": t(math.nan)}, 3)
    meter.add({"g": t(math.nan)}, 3)
    assert meter.first_bad() == ("penalty", 3)


def test_in_one_step_the_order_of_computation_decides_across_companies() -> None:
    """D's values are computed before G's in every step, also where D's company is new (its lazy penalty rests)."""
    meter = Meter()
    meter.add({"d": t(1), "penalty": t(1)}, 0)
    meter.add({"g": t(1)}, 0)
    meter.add({"d": t(math.nan)}, 1)
    meter.add({"g": t(math.nan)}, 1)
    assert meter.first_bad() == ("d", 1)
