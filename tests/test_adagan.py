"""AdaGAN: the weights against the theorem, the classifier against known densities, and folders that can be gone on with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from playing import equal, recipe
from scipy.optimize import brentq, minimize

from gantrick import adagan, checkpoint, cli, mixture, registry, trainer
from gantrick.adagan import AdaGAN, Classifier, Settings, measure, next_weights, weights_by_class
from gantrick.dataset._reading import subset
from gantrick.recipe import Recipe
from gantrick.tracking.console import Console
from gantrick.types import ConfigError, Reading

Array = np.ndarray
QUIET = Console(quiet=True)


# --- the weights -----------------------------------------------------------------------------------------------------


def by_root(p: Array, h: Array, beta: float) -> Array:
    """λ* as the root of Σ p (λ − (1 − β) h)₊ / β − 1, which rises from −1 without end."""
    total = lambda lam: float((p * np.maximum(lam - (1 - beta) * h, 0)).sum() / beta - 1)  # noqa: E731
    lam = brentq(total, 0.0, 1.0 + h.max() + beta / p[p > 0].min(), xtol=1e-15, rtol=1e-14)
    return np.asarray(p * np.maximum(lam - (1 - beta) * h, 0) / beta)


@pytest.mark.parametrize("beta", [0.05, 1 / 3, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_those_of_the_theorem(beta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(200)) if seed % 2 else np.full(200, 1 / 200)
    p[:3] = 0
    p /= p.sum()
    h = rng.lognormal(0, 3 if seed > 1 else 0.5, 200)
    w, _ = next_weights(torch.tensor(p), torch.tensor(h), beta)
    np.testing.assert_allclose(w.numpy(), by_root(p, h, beta), rtol=1e-9, atol=1e-13)
    assert float(w.sum()) == pytest.approx(1, abs=1e-12) and bool((w[:3] == 0).all())


DIVERGENCES = {  # f of D_f(Q ‖ P) = Σ P f(Q / P), at 0 too
    "kl": lambda x: np.where(x > 0, x * np.log(np.maximum(x, 1e-300)), 0.0) - x + 1,
    "chi_square": lambda x: (x - 1) ** 2,
    "jensen_shannon": lambda x: (
        -(x + 1) * np.log((x + 1) / 2) + np.where(x > 0, x * np.log(np.maximum(x, 1e-300)), 0.0)
    ),
}


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("beta", [0.2, 0.5])
def test_no_other_component_brings_the_mixture_nearer(name: str, beta: float) -> None:
    """On six outcomes, against a constrained optimiser that knows the divergence and no formula."""
    rng = np.random.default_rng(3)
    p, g = rng.dirichlet(np.ones(6)), rng.dirichlet(0.4 * np.ones(6))
    w, _ = next_weights(torch.tensor(p), torch.tensor(g / p), beta)
    f = DIVERGENCES[name]
    distance = lambda q: float((p * f(((1 - beta) * g + beta * np.maximum(q, 0)) / p)).sum())  # noqa: E731
    whole = {"type": "eq", "fun": lambda q: q.sum() - 1}
    found = minimize(
        distance,
        np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6,
        constraints=whole,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success and distance(w.numpy()) <= found.fun + 1e-9
    np.testing.assert_allclose(w.numpy(), found.x, atol=2e-4)


def test_of_an_ideal_discriminator_the_next_target_is_known() -> None:
    """Five even modes of which the mixture has three: with β = ½ the next component makes it exact."""
    p, g = np.full(5, 1 / 5), np.array([1, 1, 1, 0, 0]) / 3
    c = p / (p + g)
    w, lam = next_weights(torch.tensor(p), torch.tensor((1 - c) / c), 0.5)
    np.testing.assert_allclose(w.numpy(), [1 / 15] * 3 + [2 / 5] * 2, atol=1e-15)
    np.testing.assert_allclose(0.5 * g + 0.5 * w.numpy(), p, atol=1e-15)
    assert lam == pytest.approx(1)
    w, lam = next_weights(torch.tensor(p), torch.tensor((1 - c) / c), 0.2)  # too small a share to make it so
    np.testing.assert_allclose(w.numpy(), [0, 0, 0, 1 / 2, 1 / 2], atol=1e-15)
    assert lam == pytest.approx(0.5)


def test_a_perfect_mixture_leaves_the_data_as_they_are() -> None:
    p = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(9)))
    torch.testing.assert_close(next_weights(p, torch.ones(9), 0.3)[0], p)


def test_each_class_keeps_its_part() -> None:
    rng = np.random.default_rng(1)
    p, h, labels = rng.dirichlet(np.ones(60)), rng.lognormal(0, 2, 60), rng.integers(0, 3, 60)
    w = weights_by_class(torch.tensor(p), torch.tensor(h), 0.4, torch.tensor(labels))[0].numpy()
    for k in range(3):
        own = labels == k
        assert w[own].sum() == pytest.approx(p[own].sum())
        np.testing.assert_allclose(w[own], by_root(p[own] / p[own].sum(), h[own], 0.4) * p[own].sum(), atol=1e-12)


@pytest.mark.parametrize(("beta", "expected"), [("uniform", [0.25] * 4), (0.5, [0.125, 0.125, 0.25, 0.5])])
def test_shares(beta: Any, expected: list[float]) -> None:
    assert Settings(beta=beta).shares(4) == pytest.approx(expected)


def test_limit_and_weights_of_the_data_are_the_measure(tmp_path: Path) -> None:
    weights = np.arange(1, 101, dtype=float)
    np.save(tmp_path / "w.npy", weights)
    dataset = registry.create("dataset", "ring", {"samples": 100}, "dataset")
    samples, p = measure(dataset)
    assert samples.weights is None and torch.equal(p, torch.full((100,), 0.01, dtype=torch.float64))
    dataset.reading = Reading(limit=10, weights=str(tmp_path / "w.npy"))
    samples, p = measure(dataset)
    inside = subset(100, 10, dataset.load("train").labels)
    expected = np.zeros(100)
    expected[inside] = weights[inside] / weights[inside].sum()
    np.testing.assert_allclose(p.numpy(), expected)
    assert len(samples) == 100 and dataset.reading.limit == 10


# --- the classifier --------------------------------------------------------------------------------------------------


def test_the_classifier_finds_the_modes_that_a_mixture_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ring of eight modes the mixture has four: there h is 2, elsewhere 0, and with β = ½ all weight is elsewhere."""
    made = recipe(
        model={"name": "mlp", "z_size": 2, "g_width": 8, "d_width": 48},
        dataset={"name": "ring", "samples": 4000, "std": 0.1},
        batch_size=100,
    )
    dataset = made.dataset.create()
    samples, p = measure(dataset)
    other = dataset.load("test")
    half = other.images[other.labels < 4]

    def four_modes(gans: Any, shares: Any, count: int, seed: int, *_: Any, **__: Any) -> Iterator[torch.Tensor]:
        yield half[torch.randint(len(half), (count,), generator=torch.Generator().manual_seed(seed))]

    monkeypatch.setattr(adagan, "draw_mixture", four_modes)
    gan = SimpleNamespace(conditional=False, device=torch.device("cpu"))
    stand_in: Any = SimpleNamespace(trained=[SimpleNamespace(gan=gan)], shares=[1.0])
    classifier = Classifier(made, stand_in, samples, 0, Settings(classifier_epochs=12.0, classifier_lr=5e-3))
    before = torch.get_rng_state()
    learnt = classifier.learn(QUIET)
    h = classifier.ratios(samples, torch.arange(len(samples)))
    assert torch.equal(before, torch.get_rng_state()), "training's random numbers are left alone"
    covered = samples.labels < 4
    assert learnt["accuracy"] == pytest.approx(0.75, abs=0.03), "all fakes and half of the data are told apart"
    assert float(h[covered].median()) == pytest.approx(2, rel=0.15) and float(h[~covered].median()) < 0.05
    assert float(p @ h) == pytest.approx(1, abs=0.1)
    w, _ = next_weights(p, h, 0.5)
    assert float(w[~covered].sum()) > 0.9


@pytest.mark.parametrize(
    ("epochs", "steps", "moves"),
    [(None, 10_000, math.ceil(5 * 1437 / 6)), (None, 4, 4 * 3), (2.0, 4, 2 * 1437 // 6)],
)
def test_how_long_the_classifier_learns(epochs: float | None, steps: int, moves: int) -> None:
    """Of digits' 1,437 images in batches of 6; three D turns a step."""
    recipe_ = made(steps=steps, d_steps=3)
    samples, _ = measure(recipe_.dataset.create())
    gan = SimpleNamespace(conditional=False, device=torch.device("cpu"))
    one: Any = SimpleNamespace(trained=[SimpleNamespace(gan=gan)], shares=[1.0])
    assert Classifier(recipe_, one, samples, 0, Settings(classifier_epochs=epochs)).steps == moves


# --- folders ---------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "steps": 4, "batch_size": 6, "log_every": 2, "eval_every": 0, "sample_every": 0, "checkpoint_every": 2,
    "wandb": {"mode": "disabled"},
}  # fmt: skip
SMALL = Settings(components=3, classifier_epochs=0.02)


def made(**more: Any) -> Recipe:
    return recipe(**{**SETTINGS, **more})


def state(run: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.load(run / "checkpoints" / "last.pt")["gan"]
    return {f"{part}.{k}": v for part in ("generator", "discriminator") for k, v in found[part].items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("adagan") / "mixture"
    assert AdaGAN(place, made(seed=5), SMALL, QUIET).run() == 0
    return place


def test_the_first_component_is_the_plain_run(folder: Path, tmp_path: Path) -> None:
    assert trainer.run(made(seed=5), tmp_path / "plain", console=QUIET) == 0
    assert equal(state(tmp_path / "plain"), state(folder / "component-0"))
    assert not equal(state(folder / "component-0"), state(folder / "component-1"))
    assert (tmp_path / "plain" / "config.yaml").read_text() == (folder / "component-0" / "config.yaml").read_text()


def test_what_the_folder_holds(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "adagan.jsonl").read_text().splitlines()]
    assert [(row["component"], row["beta"]) for row in rows] == [(1, 1 / 2), (2, 1 / 3)]
    for k in (1, 2):
        w = np.load(folder / f"weights-{k}.npy")
        assert w.shape == (1437,) and w.sum() == pytest.approx(1) and (w >= 0).all()
        reading = mixture.open_members([mixture.Member(folder / f"component-{k}", "last")])
        assert reading.trained[0].recipe.dataset.reading.weights == str(folder / f"weights-{k}.npy")
    members = mixture.read(folder)
    assert [(m.run.name, m.checkpoint) for m in members] == [(f"component-{k}", "last") for k in range(3)]
    assert [m.share for m in members] == pytest.approx([1 / 3] * 3)


def test_what_was_stopped_goes_on_to_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the second component's third step and again while the third's weights are written."""
    place, run, started = tmp_path / "mixture", adagan.launch.run, list[str]()

    def noted(recipe: Recipe, where: Path, **more: Any) -> int:
        started.append(where.name)
        return run(recipe, where, **more)

    monkeypatch.setattr(adagan.launch, "run", noted)
    advance = trainer.Trainer._advance

    def interrupted(self: trainer.Trainer) -> int | None:
        if self.folder.path.name == "component-1" and self.step == 2:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(trainer.Trainer, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        AdaGAN(place, made(seed=5), SMALL, QUIET).run("gantrick adagan")
    assert [m.run.name for m in mixture.read(place)] == ["component-0"], "what is there can be drawn from"
    monkeypatch.setattr(trainer.Trainer, "_advance", advance)

    save, saved = adagan._save, []

    def cut_off(file: Path, array: Array) -> None:
        saved.append(file.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(adagan, "_save", cut_off)
    monkeypatch.setattr(adagan, "Console", lambda: QUIET)
    with pytest.raises(KeyboardInterrupt):
        adagan.go_on(place, {}, [], "gantrick adagan")
    monkeypatch.setattr(adagan, "_save", save)
    assert adagan.go_on(place, {}, [], "gantrick adagan") == 0
    assert started == ["component-0", "component-1", "component-1", "component-2"] and saved == ["weights-2.npy"]
    for k in range(3):
        assert equal(state(place / f"component-{k}"), state(folder / f"component-{k}"))
    assert np.array_equal(np.load(place / "weights-2.npy"), np.load(folder / "weights-2.npy"))
    assert adagan.go_on(place, {}, [], "gantrick adagan") == 0 and len(started) == 4
    with pytest.raises(ConfigError, match=r"components: 3 are begun in .* already; give no fewer"):
        adagan.go_on(place, {"components": "2"}, [], "")


@pytest.mark.parametrize(
    "asked",
    [
        {"trick": {"conditional_batch_norm": {}, "projection": {}, "cascading": {}, "ema": {}}, "loss": "hinge"},
        {"loss": "began"},
        {"model": {"name": "mlp", "z_size": 2}, "dataset": {"name": "grid", "samples": 300}, "trick": {"pacgan": {}}},
        {"dataset": {"name": "digits", "size": 8, "limit": 200}, "loss": "wgan", "regularizer": {"gp": {}}},
    ],
    ids=["labels", "energy", "points", "limit"],
)
def test_any_recipe_has_a_second_component(asked: dict[str, Any], tmp_path: Path) -> None:
    recipe_ = made(**{**asked, "batch_size": 8})
    assert AdaGAN(tmp_path / "m", recipe_, Settings(components=2, classifier_epochs=0.1), QUIET).run() == 0
    w = np.load(tmp_path / "m" / "weights-1.npy")
    samples, p = measure(recipe_.dataset.create())
    assert w.shape == (len(samples),) and (w[p.numpy() == 0] == 0).all()
    if "projection" in asked.get("trick", {}):
        counts = np.bincount(samples.labels.numpy(), w)
        np.testing.assert_allclose(counts, np.bincount(samples.labels.numpy()) / len(samples), rtol=1e-9)
        drawn = mixture.open_folder(tmp_path / "m").sample(6, labels=[3])
        assert drawn.shape == (6, 1, 8, 8)


WRONG = [
    (["components=0"], "components: must be at least 1, not 0"),
    (["beta=2"], "beta: must be above 0 and below 1, not 2"),
    (["component=3"], "component: there is no key component"),
    (["loss=hinje"], "there is no loss called hinje; did you mean hinge?"),
    (["-m", "seed=0,1"], "adagan is about one run"),
    (["resume=nowhere"], "resume=nowhere: holds no adagan.json that can be read; name a folder of gantrick adagan"),
    (["resume=nowhere", "beta=0.3"], "beta: cannot change when a mixture is gone on with"),
]


@pytest.mark.parametrize(("words", "fault"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_command_is_refused_before_anything_is_written(
    words: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["adagan", *words]) == 2
    err = capsys.readouterr().err
    assert fault in err and err.startswith("gantrick adagan: error: ")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As it would be typed, on few points: train, draw, judge."""
    monkeypatch.chdir(tmp_path)
    words = ["dataset=grid", "dataset.samples=500", "debug=fast", "wandb.mode=disabled", "hydra.run.dir=m"]
    assert cli.main(["adagan", "components=2", "beta=0.25", "classifier_epochs=0.2", *words]) == 0
    assert "mixture of 2: modes/covered" in capsys.readouterr().out
    assert [m.share for m in mixture.read(Path("m"))] == [0.75, 0.25]
    [row] = [json.loads(line) for line in Path("m/evaluations/figures.jsonl").read_text().splitlines()]
    assert [member["share"] for member in row["protocol"]["modes/covered"]["mixture"]] == [0.75, 0.25]
    assert cli.main(["sample", "m", "--n", "40", "--npz", "m.npz"]) == 0
    assert np.load("m.npz")["samples"].shape == (40, 2)
    capsys.readouterr()
    assert cli.main(["eval", "m", "m/component-0", "checkpoint=last", "metric.modes.samples=50", "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["checkpoint"] == "mixture" and second["checkpoint"] == "last"
    assert [r["run"] for r in first["protocol"]["modes/kl"]["mixture"]] == ["m/component-0", "m/component-1"]
    assert cli.main(["adagan", "resume=m", "components=3"]) == 0
    assert [round(m.share, 6) for m in mixture.read(Path("m"))] == [0.5625, 0.1875, 0.25]
    assert cli.main(["adagan", "--help"]) == 0 and "classifier_epochs=null" in capsys.readouterr().out
