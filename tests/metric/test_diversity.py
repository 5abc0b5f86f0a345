from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from measuring import Fixed, Measured, digits, gaussian, looked_up

from gantrick.metric import _neighbours
from gantrick.metric.diversity import Diversity, spread
from gantrick.types import Samples


@pytest.mark.parametrize("part", [1, 8 * 30 * 4, 2**26])
def test_it_is_the_mean_over_pairs(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neighbours, "PART", part)
    x = gaussian(30, 5, 0).numpy()
    pairs = [np.linalg.norm(x[i] - x[j]) for i in range(30) for j in range(i)]
    assert spread(torch.from_numpy(x)) == pytest.approx(np.mean(pairs), rel=1e-9)


def test_gaussians_in_closed_form() -> None:
    """x − x' is N(0, 2σ²I), so E|x − x'| = σ √2 · √2 Γ((d+1)/2) / Γ(d/2); within 1 % at 3000 samples.

    The standard error is below σ/√3000 = 0.02 of a mean of 8.3, so that is more than four of them (false alarm 1e-4).
    """
    d, std = 6, 1.8
    expected = std * 2 * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    assert spread(gaussian(3000, d, 0, mean=7.0, std=std)) == pytest.approx(expected, rel=0.01)


def test_copies_of_one_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = looked_up(monkeypatch, gaussian(40, 5, 0), gaussian(1, 5, 1).repeat(20, 1))
    values = Diversity("lookup").evaluate(measured).values
    assert values["diversity/lookup"] == 0
    assert values["diversity_of_reals/lookup"] > 1


def test_fewer_classes_are_less_diverse() -> None:
    reals = digits()

    def of(classes: int) -> tuple[float, float]:
        measured = Measured(Fixed(Samples(reals.images)), reals.images[reals.labels < classes])
        values = Diversity("digits_cnn").evaluate(measured).values
        return values["diversity/digits_cnn"], values["diversity_of_reals/digits_cnn"]

    found = [of(classes) for classes in (10, 5, 2, 1)]
    assert [fakes for fakes, _ in found] == sorted((fakes for fakes, _ in found), reverse=True)
    assert found[0][0] == pytest.approx(found[0][1]), "all of them"
    assert Diversity("digits_cnn").primary == "diversity/digits_cnn"
