"""What metrics of features share (gantrick/metric/_features.py, _neighbours.py), on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measuring import Fixed, Measured, digits, gaussian, looked_up
from processes import COUNT, Pool
from torch import Tensor

from gantrick import registry
from gantrick.evaluation import Judging, take
from gantrick.feed import Reals
from gantrick.metric import _features, _neighbours, features
from gantrick.metric._features import FeatureMetric
from gantrick.types import ConfigError, Figures, GantrickError, Pictures, Samples

ALL = [name for name in registry.names("metric") if issubclass(registry.load("metric", name), FeatureMetric)]
OPEN = [name for name in ALL if name != "stacked_modes"]  # to any extractor
PLAIN = [name for name in OPEN if name != "class_fid"]  # of any generator
SMALL: dict[str, Any] = {"extractor": "digits_cnn", "samples": 100}


def made(name: str, **options: Any) -> FeatureMetric:
    metric = registry.create("metric", name, {**SMALL, **options})
    assert isinstance(metric, FeatureMetric)
    return metric


def evaluation(**more: Any) -> Measured:
    train, test = digits(), digits("test")
    reals = Samples(train.images[:200], train.labels[:200])
    return Measured(Fixed(reals, Samples(test.images[:60], test.labels[:60]), 10), train.images[300:500], **more)


def test_each_is_called_by_its_file() -> None:
    for name in ALL:
        assert registry.load("metric", name).name == name
        assert registry.load("metric", name).paper is not None


@pytest.mark.parametrize("name", OPEN)
def test_a_misspelt_extractor_and_unfit_data_are_refused_under_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^metric\.{name}\.extractor: .*; did you mean digits_cnn\?$"):
        made(name, extractor="digit_cnn")
    points = Fixed(Samples(torch.zeros(3, 2)), classes=2)
    (fault,) = made(name).check(points)
    assert fault == f"metric.{name}: needs images, and the data are points; choose metric=modes"
    (fault,) = made(name).check(Fixed(Samples(torch.zeros(3, 4, 8, 8).byte()), classes=2))
    assert fault.startswith(f"metric.{name}: needs images of 1 or 3 channels, and these have 4")
    assert made(name).check(Fixed(digits(), classes=10)) == []


@pytest.mark.parametrize("name", OPEN)
def test_missing_weights_are_told_under_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^metric\.{name}: .*{tmp_path}/none.pt.*metric\.{name}\.extractor="):
        made(name, weights=str(tmp_path / "none.pt")).prepare()
    with pytest.raises(ConfigError) as refused:
        made(name, extractor="inception", weights=str(tmp_path / "none.pth")).prepare()
    assert f"set metric.{name}.weights=PATH" in str(refused.value)


@pytest.mark.parametrize("name", PLAIN)
def test_its_figures_bear_the_extractors_name_and_a_protocol(name: str) -> None:
    metric, measured = made(name), evaluation()
    figures = metric.evaluate(measured)
    assert metric.primary in figures.values
    assert all(figure.endswith("/digits_cnn") for figure in figures.values)
    expected = {"extractor": "digits_cnn", "fakes": 100, "quantisation": "uint8", "generator": "ema"}
    assert expected.items() <= figures.protocol.items()
    assert len(figures.protocol["fingerprint"]) == 12
    again = metric.evaluate(evaluation())
    assert (again.values, again.protocol) == (figures.values, figures.protocol)
    other = metric.evaluate(evaluation(weights="raw")).protocol
    assert other["fingerprint"] != figures.protocol["fingerprint"]


@pytest.mark.parametrize("name", PLAIN)
def test_too_few_fakes_are_refused(name: str) -> None:
    measured = evaluation()
    measured.generated = measured.generated[:1]
    with pytest.raises(GantrickError, match=r"there (are|is) [01]; give more"):
        made(name).evaluate(measured)


def test_fakes_pass_the_extractor_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = evaluation()
    for name in ("fid", "kid", "prdc", "fd_infinity", "diversity", "inception_score"):
        shared = made(name).evaluate(measured).values
        assert shared == made(name).evaluate(evaluation()).values, "the same bits as alone"
    assert measured.drawn == 1
    made("fid", samples=99).evaluate(measured)
    assert measured.drawn == 2, "another number is another draw"
    monkeypatch.setattr(_features, "HELD", 100 * 96 * 4 - 1)
    large = evaluation()
    alone = made("fid").evaluate(large).values
    assert not large.held
    assert alone == made("fid").evaluate(measured).values


def test_metrics_share_one_extractor() -> None:
    a, b = made("fid"), made("kid")
    assert a.network() is b.network()


class Counting:
    """features.extractor, and how many images its networks have seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.seen, original = 0, features.extractor

        def counted(*arguments: Any, **options: Any) -> Any:
            network = original(*arguments, **options)
            network.register_forward_pre_hook(lambda _, images: setattr(self, "seen", self.seen + len(images[0])))
            return network

        _features._extractors.clear()
        monkeypatch.setattr(features, "extractor", counted)


def test_reals_are_measured_once_on_a_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANTRICK_CACHE", str(tmp_path))
    counting = Counting(monkeypatch)
    metrics = [made("fid"), made("kid")]
    first = [metric.evaluate(evaluation()) for metric in metrics]
    assert counting.seen == 2 * (200 + 100)
    second = [metric.evaluate(evaluation()) for metric in metrics]
    assert counting.seen == 2 * (200 + 100) + 2 * 100, "of fakes alone"
    assert [(f.values, f.protocol) for f in first] == [(f.values, f.protocol) for f in second]
    other = evaluation()
    other.dataset.load().images[0, 0, 0, 0] ^= 1
    third = metrics[0].evaluate(other)
    assert third.protocol["reference"] != first[0].protocol["reference"], "one pixel is another reference"
    assert counting.seen == 2 * (200 + 100) + 2 * 100 + 200 + 100


class Streamed(Pictures):
    def __init__(self, images: Tensor):
        super().__init__((1, 16, 16), len(images))
        self.images = images.numpy()

    def decode(self, number: int) -> np.ndarray:
        return self.images[number]

    def name(self, number: int) -> str:
        return str(number)


def test_streamed_pictures_have_the_figures_of_those_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resident, streamed = evaluation(), evaluation()
    reals = streamed.dataset.load()
    streamed.dataset = Fixed(Samples(Streamed(reals.images), reals.labels), streamed.dataset.load("test"), 10)
    monkeypatch.setenv("GANTRICK_CACHE", str(tmp_path / "none"))
    for name, more in (("fid", {}), ("kid", {"references": 150}), ("memorization", {"references": 150})):
        a, b = made(name, **more).evaluate(streamed), made(name, **more).evaluate(resident)
        assert a.values == b.values
        assert a.protocol == b.protocol


def test_features_that_are_not_finite_are_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = gaussian(100, 3, 1)
    fakes[7, 1] = torch.nan
    for name in PLAIN:
        measured = looked_up(monkeypatch, gaussian(100, 3, 0), fakes)
        with pytest.raises(GantrickError, match="not finite"):
            made(name, extractor="lookup").evaluate(measured)


@pytest.mark.parametrize("part", [1, 8 * 50 * 7, 2**26])
def test_neighbours_are_those_of_a_naive_loop(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neighbours, "PART", part)
    a, b = gaussian(40, 5, 0, mean=100.0), gaussian(50, 5, 1, mean=100.0)
    table = np.array([[np.linalg.norm(x - y) for y in b.numpy()] for x in a.numpy()])
    found = torch.cat([rows for _, rows in _neighbours.distances(a, b)])
    np.testing.assert_allclose(found.numpy(), table, rtol=1e-9)
    values, which = _neighbours.nearest(a, b, 3)
    np.testing.assert_array_equal(which.numpy(), table.argsort(1)[:, :3])
    np.testing.assert_allclose(values.numpy(), np.sort(table, 1)[:, :3], rtol=1e-9)
    own = np.array([[np.linalg.norm(x - y) for y in b.numpy()] for x in b.numpy()])
    np.testing.assert_allclose(_neighbours.radii(b, 2).numpy(), np.sort(own, 1)[:, 2], rtol=1e-9)


def test_copies_are_at_no_distance() -> None:
    a = gaussian(30, 200, 0, mean=50.0)
    values, which = _neighbours.nearest(a.clone(), a)
    assert values.eq(0).all() and which[:, 0].equal(torch.arange(30))


@pytest.mark.parametrize("name", ["fid", "kid", "fd_infinity"])
def test_distances_grow_with_what_is_wrong_with_the_fakes(name: str) -> None:
    train = digits()
    half = len(train) // 2
    reals, images, labels = Samples(train.images[:half]), train.images[half:], train.labels[half:]

    def of(fakes: Tensor) -> float:
        metric = made(name, samples=len(fakes))
        return metric.evaluate(Measured(Fixed(reals), fakes.clamp(0, 255).byte())).values[metric.primary]

    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    good, series = (
        of(images),
        {
            "noise": [images + s * noise for s in (15, 30, 60, 120)],
            "blur": [F.avg_pool2d(F.pad(images.float(), [r] * 4), 2 * r + 1, 1) for r in (1, 2, 3)],
            "missing classes": [images[labels < classes] for classes in (9, 7, 4, 2)],
        },
    )
    for what, worse in series.items():
        found = [good, *map(of, worse)]
        assert found == sorted(found), what
        assert abs(good) < 0.05 * found[-1], what


def test_the_distance_of_halves_shrinks_with_their_size() -> None:
    images = digits().images[torch.from_numpy(np.random.RandomState(0).permutation(1437))]
    found = []
    for count in (60, 180, 700):
        measured = Measured(Fixed(Samples(images[:count])), images[count : 2 * count])
        found.append(made("fid", samples=count).evaluate(measured).values["fid/digits_cnn"])
    assert found[0] > 2 * found[1] > 4 * found[2], "by 1/n, which is its bias"


# --- in a run --------------------------------------------------------------------------------------------------------


def taken() -> tuple[dict[str, float], dict[str, Any], list[str]]:
    """The figures of all metrics of an untrained generator of digits, and what was told."""
    from playing import Game, recipe

    gan, told = Game(recipe()).gan, []
    chosen: dict[str, Any] = {name: made(name, samples=90) for name in OPEN}
    chosen["generalization"] = registry.create("metric", "generalization", {"samples": 90})
    judging = Judging(gan, Reals(gan.assembly.dataset), seed=0, step=0, tell=told.append)
    found = take(chosen, judging)
    return found.figures, found.protocols, told


@pytest.fixture(scope="module")
def two() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.mark.slow
def test_several_processes_find_what_one_finds(two: Pool) -> None:
    """Every process computes the same from features that were made in shares."""
    alone = taken()
    assert len(alone[0]) >= 15
    (sentence,) = alone[2]
    assert "metric.class_fid: no figure at step 0" in sentence and "not asked for labels" in sentence
    for figures, protocols, _ in two(taken):
        assert figures == alone[0]
        assert protocols == alone[1]
    assert COUNT == 2


def test_a_generator_that_draws_nan_has_no_figure() -> None:
    from playing import Game, recipe

    gan, told = Game(recipe()).gan, []
    with torch.no_grad():
        next(gan.generator.parameters()).fill_(torch.nan)
    judging = Judging(gan, Reals(gan.assembly.dataset), seed=0, step=4, tell=told.append)
    assert take({name: made(name) for name in PLAIN}, judging).figures == {}
    assert len(told) == len(PLAIN)
    assert all("step 4: the generator draws values that are not finite; no figure is taken" in t for t in told)


def test_labelled_fakes_are_those_without_labels_and_refused_samples_take_their_labels_along() -> None:
    from dataclasses import replace

    from playing import Game, recipe

    gan = Game(recipe()).gan
    judging = Judging(gan, Reals(gan.assembly.dataset), seed=0, step=0)
    plain = torch.cat(list(judging.fakes(20, 8))).flatten(1).float()
    original = gan.latents

    def asked(count: int, generator: torch.Generator) -> Any:
        return replace(original(count, generator), labels=torch.arange(count) % 10)

    gan.latents = asked  # type: ignore[method-assign]
    batches = list(judging.labelled_fakes(20, 8, lambda images: images.flatten(1).float()))
    assert torch.cat([found for found, _ in batches]).equal(plain)
    assert torch.cat([labels for _, labels in batches]).tolist() == [i % 10 for i in range(20)]
    gan.stages.actors["accept"] = [gan.stages["d_loss"][0]]
    gan.stages._calls["accept"] = [lambda mask, images, output: mask & (torch.arange(len(mask)) % 2 == 0)]
    batches = list(judging.labelled_fakes(20, 8, lambda images: images.flatten(1).float()))
    labels = torch.cat([labels for _, labels in batches])
    assert len(labels) == 20 and labels.remainder(2).eq(0).all()
    assert judging.drawing == {"generator": "raw", "accept": {"loss.non_saturating": {}}}


def test_the_fingerprint_is_over_all_else() -> None:
    a, b = Figures({}, {"x": 1, "y": 2}), Figures({}, {"y": 2, "x": 1})
    assert a.protocol == b.protocol and a.protocol.keys() == {"x", "y", "fingerprint"}
    assert Figures({}, {"x": 1, "y": 3}).protocol["fingerprint"] != a.protocol["fingerprint"]
    assert Figures({}, a.protocol).protocol == a.protocol
    assert Figures({}).protocol == {}
