"""The share of wrong classes against a count by hand, of raw and averaged weights, and who has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from measuring import Fixed, Measured, gaussian
from playing import Game, recipe

from gantrick.evaluation import Judging, take
from gantrick.feed import Reals
from gantrick.gan import bring_together
from gantrick.metric.classification_error import ClassificationError
from gantrick.recipe import check
from gantrick.types import CLASSES, ConfigError, GantrickError, Samples

D_EMA = {"network": "both", "decay": 0.9}


def judging(**more: Any) -> Judging:
    game = Game(recipe(loss="semi_supervised", **more)).rounds(3)
    return Judging(game.gan, Reals(game.gan.assembly.dataset), seed=0, step=3)


def by_hand(d: torch.nn.Module, split: Samples) -> float:
    d.eval()
    wrong = 0
    with torch.no_grad():
        for image, label in zip(split.images[:], split.labels.tolist(), strict=True):  # type: ignore[union-attr]
            logits = d(image[None] / 127.5 - 1).extra[CLASSES][0].tolist()
            wrong += max(range(10), key=logits.__getitem__) != label
    d.train()
    return 100 * wrong / len(split)


def test_raw_and_averaged_weights() -> None:
    judged = judging(trick={"ema": D_EMA, "layer_noise": {}}, regularizer={"ct": {"compare": "classes"}})
    before = torch.get_rng_state()
    taken = take({"classification_error": ClassificationError(batch_size=77)}, judged)
    assert torch.equal(before, torch.get_rng_state()) and judged.gan.discriminator.training
    test = judged.reals("test")
    averaged = judged.gan.averaged_discriminator
    assert averaged is not None
    expected = {
        "classification_error/test": by_hand(averaged, test),
        "classification_error/test_raw": by_hand(judged.gan.discriminator, test),
    }
    assert taken.figures == pytest.approx(expected, rel=1e-12)
    protocol = taken.protocols["classification_error/test"]
    which = {"test": "ema", "test_raw": "raw"}
    assert {"split": "test", "count": len(test), "discriminator": which}.items() <= protocol.items()


def test_one_discriminator_and_the_other_split() -> None:
    judged = judging()
    found = ClassificationError("train").evaluate(judged)
    expected = by_hand(judged.gan.discriminator, judged.reals("train"))
    assert dict(found.values) == {"classification_error/train": pytest.approx(expected)}
    assert found.protocol["discriminator"] == {"train": "raw"} and ClassificationError("train").primary in found.values


def test_refusals() -> None:
    resolved = recipe(loss="hinge").resolved
    entry = {"classification_error": {"name": "classification_error"}}
    with pytest.raises(ConfigError) as refused:
        bring_together(check({**resolved, "metric": entry}))
    text = "metric.classification_error: needs that D tells the classes of samples by logits, and nothing here provides"
    assert (
        len(refused.value.faults) == 1 and text in str(refused.value) and "loss=semi_supervised" in str(refused.value)
    )
    assert ClassificationError().check(Fixed(Samples(gaussian(3, 2, 0))))[0].endswith("leave it out")
    game = Game(recipe(loss="hinge"))
    hinge = Judging(game.gan, Reals(game.gan.assembly.dataset), seed=0, step=0)
    with pytest.raises(GantrickError, match="D tells no classes of samples; leave the figure to runs with"):
        ClassificationError().evaluate(hinge)
    with pytest.raises(GantrickError, match="depends on the others in the batch"):
        ClassificationError().evaluate(judging(trick={"minibatch_discrimination": {}}))


def test_logits_that_are_not_finite() -> None:
    class Broken(Measured):
        discriminators = ("raw",)

        def class_logits(self, images: torch.Tensor, weights: str) -> torch.Tensor:
            return torch.full((len(images), 3), torch.nan)

    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    broken = Broken(Fixed(Samples(images, torch.zeros(4, dtype=torch.int64)), classes=3), images)
    with pytest.raises(GantrickError, match="class logits are not finite"):
        ClassificationError().evaluate(broken)
