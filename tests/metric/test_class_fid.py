from __future__ import annotations

import numpy as np
import pytest
import torch
from measuring import Fixed, Measured, digits, gaussian, looked_up
from playing import recipe

from gantrick.gan import preflight
from gantrick.metric._frechet import Moments, distance
from gantrick.metric.class_fid import ClassFID, within
from gantrick.recipe import check
from gantrick.types import ConfigError, GantrickError, Samples


def test_the_mean_over_classes_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, asked = torch.arange(300) % 3, torch.arange(200) % 3
    reals = gaussian(300, 4, 0) + labels[:, None]
    fakes = gaussian(200, 4, 1) + 2 * asked[:, None]
    measured = looked_up(monkeypatch, reals, fakes, labels=labels, asked=asked)
    figures = ClassFID("lookup").evaluate(measured)
    by_hand = [
        distance(Moments.of(reals[labels == c].float()), Moments.of(fakes[asked == c].float())) for c in range(3)
    ]
    assert figures.values == {"class_fid/lookup": pytest.approx(np.mean(by_hand), rel=1e-9)}, "4 logits, 3 classes"
    assert by_hand[0] < 0.5 < by_hand[1] < by_hand[2]
    assert figures.protocol["classes"] == 3


def test_only_some_of_the_reals_are_compared_each_with_its_own_label(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(300) // 100  # sorted, as a folder's are
    reals = gaussian(300, 4, 0) + 10 * labels[:, None]
    measured = looked_up(monkeypatch, reals, reals.clone(), labels=labels, asked=labels)
    figures = ClassFID("lookup", references=150).evaluate(measured)
    assert figures.values["class_fid/lookup"] < 1


def test_accuracy_is_the_share_of_fakes_seen_as_asked() -> None:
    reals = digits()
    asked = reals.labels[:400].clone()
    asked[:100] = (asked[:100] + 1) % 10
    measured = Measured(Fixed(reals, classes=10), reals.images[:400], labels=asked)
    values = ClassFID("digits_cnn").evaluate(measured).values
    assert values["label_accuracy/digits_cnn"] == pytest.approx(0.75, abs=0.01)
    assert values["label_accuracy_of_reals/digits_cnn"] > 0.99
    right = ClassFID("digits_cnn").evaluate(
        Measured(Fixed(reals, classes=10), reals.images[:400], labels=reals.labels[:400])
    )
    assert right.values["class_fid/digits_cnn"] < values["class_fid/digits_cnn"]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = ClassFID("digits_cnn").check(Fixed(Samples(digits().images)))
    assert fault == "metric.class_fid: needs labels, and the data have none; choose metric=fid"
    metric = {"mine": {"name": "class_fid", "extractor": "digits_cnn"}}
    with pytest.raises(ConfigError) as refused:
        preflight(check({**recipe().resolved, "metric": metric}))
    (fault,) = refused.value.faults
    assert fault.startswith("metric.mine: needs that G is asked for a label, and nothing here provides it; choose ")
    assert "trick=conditional_batch_norm" in fault and fault.endswith(", or leave metric.mine out")
    preflight(check({**recipe(trick={"conditional_batch_norm": {}}).resolved, "metric": metric}))
    one, two = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    for reals, fakes, what in ((one, two, "reals"), (two, one, "generated samples")):
        with pytest.raises(GantrickError, match=f"2 {what} of class 1 are the fewest .*, and there is 1; give more"):
            within(gaussian(4, 2, 0), reals, gaussian(4, 2, 1), fakes, 2)
