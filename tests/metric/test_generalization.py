from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from measuring import Fixed, Measured, digits, gaussian
from torch import Tensor

from gantrick.dataset._reading import subset
from gantrick.evaluation import Judging, take
from gantrick.feed import Reals, to_uint8
from gantrick.metric.generalization import Generalization, compared
from gantrick.types import ConfigError, GantrickError, Samples


def test_the_figures_in_numbers() -> None:
    train, held_out, fake = (
        gaussian(50, 1, 0, mean=2.0)[:, 0],
        gaussian(40, 1, 1)[:, 0],
        gaussian(30, 1, 2, mean=-3.0)[:, 0],
    )
    a, b, c = (x.numpy() for x in (train, held_out, fake))
    assert compared(train, held_out, fake) == pytest.approx(
        {
            "ratio": (a.mean() - b.mean()) / (a.mean() - c.mean()),
            "gap": a.mean() - b.mean(),
            "gap_error": math.sqrt(np.var(a, ddof=1) / 50 + np.var(b, ddof=1) / 40),
            "train": a.mean(),
            "held_out": b.mean(),
            "fake": c.mean(),
        },
        rel=1e-12,
    )
    flat = torch.zeros(3).double()
    assert compared(flat, flat, flat)["ratio"] == 0


def test_scores_of_each_kind_are_taken() -> None:
    def grey(count: int, value: int) -> Tensor:
        return torch.full((count, 1, 4, 4), value, dtype=torch.uint8)

    measured = Measured(Fixed(Samples(grey(50, 90)), Samples(grey(20, 60))), grey(40, 30))
    figures = Generalization(samples=30, batch_size=7).evaluate(measured)
    expected = {"train": 90, "held_out": 60, "fake": 30, "gap": 30, "ratio": 0.5, "gap_error": 0}
    assert figures.values == {f"generalization/{name}": value for name, value in expected.items()}
    assert {
        "train_count": 30,
        "held_out_count": 20,
        "fake_count": 30,
        "generator": "ema",
    }.items() <= figures.protocol.items()


def test_a_discriminator_that_learnt_its_images_by_heart_is_seen() -> None:
    """D is trained on 40 digits alone, against fakes of an untrained G; before it is, there is no gap."""
    from playing import Game, recipe

    game = Game(recipe(dataset={"name": "digits", "size": 8}, model={"d_width": 16}))
    gan, reals = game.gan, digits()
    train = Samples(torch.nn.functional.avg_pool2d(reals.images[:40].float(), 2).byte())
    new = Samples(torch.nn.functional.avg_pool2d(reals.images[40:400].float(), 2).byte())
    judging = Judging(gan, Reals(Fixed(train, new)), seed=0, step=0)
    metric = Generalization(samples=360)
    before = metric.evaluate(judging).values
    assert abs(before["generalization/gap"]) < 3.3 * before["generalization/gap_error"], "false alarm 1e-3"
    x = torch.cat([train.images, new.images]).float() / 127.5 - 1
    wanted = torch.cat([torch.ones(40), -torch.ones(360)])
    adam = torch.optim.Adam(gan.discriminator.parameters(), 2e-3)
    gan.discriminator.train()
    for _ in range(60):
        adam.zero_grad()
        (gan.discriminator(x).scores[:, 0] - wanted).square().mean().backward()
        adam.step()
    after = metric.evaluate(judging).values
    assert after["generalization/gap"] > 4 * after["generalization/gap_error"]


def test_points_need_no_extractor() -> None:
    points = Measured(
        Fixed(Samples(gaussian(50, 2, 0).float()), Samples(gaussian(50, 2, 1).float())), gaussian(50, 2, 2).float()
    )
    figures = Generalization(samples=50).evaluate(points)
    assert figures.protocol["quantisation"] == "none"
    assert Generalization().primary == "generalization/ratio" in figures.values


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits().images
    with pytest.raises(GantrickError, match="2 held-out images are the fewest that have this figure, and there is 1"):
        Generalization(20).evaluate(Measured(Fixed(Samples(images), Samples(images[:1])), images))
    bad = Measured(Fixed(Samples(images)), images)
    monkeypatch.setattr(bad, "scores", lambda images, labels=None: torch.full((len(images),), torch.nan))
    with pytest.raises(GantrickError, match="D's scores of train images are not finite"):
        Generalization(20).evaluate(bad)


def test_a_discriminator_that_looks_at_labels_is_given_each_image_with_its_own() -> None:
    """Against D called here: reals with the data's labels, fakes with those that G was asked for."""
    from playing import Game, recipe

    from gantrick.feed import stream, to_float
    from gantrick.sampling import draw

    game = Game(recipe("hinge", trick={"projection": {}, "conditional_batch_norm": {}})).rounds(3)
    d = game.gan.discriminator.eval()
    judging = Judging(game.gan, Reals(game.gan.assembly.dataset), seed=5, step=3)
    found = Generalization(samples=200, batch_size=64).evaluate(judging).values

    def mean(images: Tensor, labels: Tensor) -> float:
        return float(d(to_float(images), labels).scores.double().mean())

    with torch.no_grad():
        for split, kind in (("test", "held_out"), ("train", "train")):
            reals = judging.reals(split)
            rows = subset(len(reals), 200, reals.labels)
            images, labels = reals.images[rows], reals.labels[rows]
            assert found[f"generalization/{kind}"] == pytest.approx(mean(images, labels), rel=1e-5)
            assert mean(images, labels.roll(1)) != pytest.approx(mean(images, labels), rel=1e-3), "labels matter"
        asked: list[Tensor] = []
        keep = lambda images, labels: asked.append(labels) or images  # noqa: E731
        fakes = torch.cat(list(draw(game.gan, 200, stream(5, "evaluation"), 64, through=keep)))
        assert found["generalization/fake"] == pytest.approx(mean(to_uint8(fakes), torch.cat(asked)), rel=1e-5)
    with pytest.raises(GantrickError, match="D scores images with their labels, and these have none"):
        judging.scores(reals.images[:2])


def test_packs_are_refused_before_a_run() -> None:
    from playing import recipe

    from gantrick.gan import preflight
    from gantrick.recipe import check

    made = {**recipe(trick={"pacgan": {}}).resolved, "metric": {"generalization": {"name": "generalization"}}}
    with pytest.raises(ConfigError, match=r"metric\.generalization: D scores packs of several samples"):
        preflight(check(made))


def test_in_a_run_it_disturbs_nothing() -> None:
    from playing import Game, recipe

    game = Game(recipe()).rounds(1)
    before = torch.get_rng_state()
    judging = Judging(game.gan, Reals(game.gan.assembly.dataset), seed=0, step=1)
    assert len(take({"generalization": Generalization(50)}, judging).figures) == 6
    assert torch.get_rng_state().equal(before)
    assert game.gan.discriminator.training
