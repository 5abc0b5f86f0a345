from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from measuring import Fixed, Measured, digits, gaussian, looked_up

from gantrick.metric.inception_score import InceptionScore, score
from gantrick.types import GantrickError, Samples


def naive(logits: np.ndarray) -> float:
    """The authors' three lines, on probabilities."""
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean = p.mean(0)
    return math.exp(np.mean([sum(a * math.log(a / b) for a, b in zip(row, mean, strict=True)) for row in p]))


def test_the_score_is_that_of_a_naive_loop() -> None:
    logits = gaussian(50, 7, 0, std=3.0)
    assert float(score(logits)) == pytest.approx(naive(logits.numpy()), rel=1e-12)


def test_its_ends() -> None:
    """K where every image is surely of one of K classes and all are alike often; 1 where all have the same answer."""
    sure = 1e4 * torch.eye(5, dtype=torch.float64).repeat(4, 1)
    assert float(score(sure)) == pytest.approx(5, rel=1e-12)
    assert float(score(sure[:1].repeat(9, 1))) == pytest.approx(1, rel=1e-12)
    assert float(score(torch.zeros(9, 5, dtype=torch.float64))) == pytest.approx(1, rel=1e-12)


def test_the_figure_is_the_mean_of_the_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = gaussian(60, 5, 0, std=2.0).float().double()
    measured = looked_up(monkeypatch, logits[:1], logits)
    figures = InceptionScore("lookup", samples=60, splits=4).evaluate(measured)
    parts = [naive(part) for part in np.split(logits.numpy(), 4)]
    assert figures.values == {
        "classifier_score/lookup": pytest.approx(np.mean(parts), rel=1e-6),
        "classifier_score_std/lookup": pytest.approx(np.std(parts), rel=1e-5),
    }
    assert figures.protocol["splits"] == 4
    assert "reference" not in figures.protocol and "split" not in figures.protocol


def test_inception_alone_is_the_inception_score_and_has_no_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    assert InceptionScore().primary == "inception_score/inception"
    assert InceptionScore("digits_cnn").primary == "classifier_score/digits_cnn"
    logits = gaussian(60, 5, 0, std=2.0)
    measured = looked_up(monkeypatch, logits[:1], logits)
    metric = InceptionScore("inception", samples=60, splits=1)
    plain = metric.evaluate(measured).values["inception_score/inception"]
    bias = torch.tensor([3.0, 0.0, -2.0, 0.0, 1.0])
    monkeypatch.setattr(type(metric.network()), "classify", lambda self, features: features + bias)
    assert metric.evaluate(measured).values["inception_score/inception"] == pytest.approx(plain, rel=1e-6)


def test_digits_score_near_ten_and_fewer_classes_less() -> None:
    reals = digits()

    def of(classes: int) -> float:
        images = reals.images[reals.labels < classes]
        figures = InceptionScore("digits_cnn", samples=len(images)).evaluate(Measured(Fixed(reals), images))
        return figures.values["classifier_score/digits_cnn"]

    found = [of(classes) for classes in (10, 7, 3, 1)]
    assert found == sorted(found, reverse=True)
    for score_, classes in zip(found, (10, 7, 3, 1), strict=True):
        assert score_ == pytest.approx(classes, rel=0.1)


def test_refusals() -> None:
    measured = Measured(Fixed(Samples(digits().images)), digits().images[:19])
    with pytest.raises(GantrickError, match="in each of 10 splits are the fewest"):
        InceptionScore("digits_cnn").evaluate(measured)
    (fault,) = InceptionScore("random_inception").check(measured.dataset)
    assert fault == (
        "metric.inception_score: random_inception has learnt no classes; choose another metric.inception_score.extractor"
    )
