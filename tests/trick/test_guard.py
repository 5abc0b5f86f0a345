"""The guard's conditions by hand, and what the trainer does about them in whole runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playing import recipe

from gantrick import checkpoint, registry
from gantrick.recipe import Recipe, check
from gantrick.stages import Component
from gantrick.tracking.console import Console
from gantrick.trainer import Diverged, run
from gantrick.trick.guard import Guard
from gantrick.types import Figures, Metric

OFF: dict[str, Any] = {"non_finite": False, "worse": None, "lost": None, "certain": None, "vanishing": None}


def asked(guard: Guard, *rows: dict[str, Any]) -> list[str | None]:
    verdicts = [guard.watch(row) for row in rows]
    return [verdict and verdict.reason for verdict in verdicts]


def test_a_term_that_is_not_finite() -> None:
    assert asked(Guard(), {"non_finite": "loss/d"}) == ["loss/d is not finite"]
    assert asked(Guard(**OFF), {"non_finite": "loss/d"}) == [None]


def test_a_metric_worse_by_a_factor() -> None:
    guard = Guard(**{**OFF, "worse": 2.0})
    rows = [{"worse": 1.0}, {"worse": 2.0}, {"worse": 2.5}, {}]
    assert asked(guard, *rows) == [None, None, "the metric is 2.5 times worse than its best", None]


def test_lost_modes_are_counted_from_the_most_that_were_covered() -> None:
    guard = Guard(**{**OFF, "lost": 0.5})
    covered = [{"modes/covered": n} for n in (0, 3, 8, 4, 3.9)]
    assert asked(guard, *covered) == [None, None, None, None, "3.9 of 8 modes are left"]


@pytest.mark.parametrize(
    ("option", "name", "bad", "good"),
    [("certain", "accuracy/d", 1.0, 0.8), ("vanishing", "grad_norm/g", 1e-9, 0.1)],
)
def test_patience_asks_for_rows_in_a_row(option: str, name: str, bad: float, good: float) -> None:
    guard = Guard(**{**OFF, option: 0.99 if option == "certain" else 1e-8}, patience=3)
    values = [bad, bad, good, bad, bad, bad]
    assert [reason is not None for reason in asked(guard, *({name: v} for v in values))] == [False] * 5 + [True]


# --- whole runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


def small(guard: dict[str, Any], trick: dict[str, Any] | None = None, metric: str | None = None, **more: Any) -> Recipe:
    every = {"log_every": 1, "eval_every": 1, "sample_every": 0, "checkpoint_every": 2, "batch_size": 6, **more}
    made = recipe(trick={"guard": guard, **(trick or {})}, wandb={"mode": "disabled"}, **every).resolved
    return check({**made, "metric": {metric: {"name": metric}} if metric else {}})


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def scripted(values: list[float], lower: bool = True) -> None:
    """A metric that has these values at steps 0, 1, 2 …, and nothing to do with the run."""

    class Script(Metric):
        primary = "script"
        lower_is_better = lower

        def evaluate(self, evaluation: Any) -> Figures:
            return Figures({"script": values[evaluation.step]})

    registry.register("metric.script")(Script)


def test_rolling_back_restores_the_best_weights_and_lowers_the_rates(tmp_path: Path, registered: None) -> None:
    """Best at step 2, 4 times worse at 5: with rates that become 0 nothing moves from then on."""
    scripted([9, 8, 2, 5, 5, 8, 7, 7, 7])
    made = small({"worse": 3.5, "lr_factor": 1e-30}, {"ema": {}}, "script", steps=8)
    assert run(made, tmp_path / "run", console=Console(quiet=True)) == 0
    acts = status(tmp_path / "run")["acts"]
    told = {"step": 5, "act": "roll_back", "by": "trick.guard", "to_step": 2, "lr_scale": 1e-30}
    assert [{k: v for k, v in act.items() if k != "reason"} for act in acts] == [told]
    assert "4 times worse than its best" in acts[0]["reason"]
    row = next(row for row in rows(tmp_path / "run") if "act/act" in row)
    assert row["step"] == 5 and row["act/act"] == "roll_back" and row["act/to_step"] == 2
    best, last = (checkpoint.load(tmp_path / "run/checkpoints" / f"{name}.pt") for name in ("best", "last"))
    assert best["step"] == 2 and last["step"] == 8
    for name, value in best["gan"]["generator"].items():
        if "running" not in name and "num" not in name:
            torch.testing.assert_close(last["gan"]["generator"][name], value, rtol=0, atol=1e-20)
    assert [r["lr/g"] for r in rows(tmp_path / "run") if "lr/g" in r] == [1e-3] * 5 + [1e-33] * 3


def test_the_factor_is_right_for_metrics_that_rise(tmp_path: Path, registered: None) -> None:
    scripted([1, 2, 8, 4, 2.5, 8, 8], lower=False)
    made = small({"worse": 3.0}, metric="script", steps=6)
    run(made, tmp_path / "run", console=Console(quiet=True))
    assert [(act["step"], act["to_step"]) for act in status(tmp_path / "run")["acts"]] == [(4, 2)]


class Poison(Component):
    """Not a number from step `at` on, as long as D's learning rate is above `bearable`."""

    def __init__(self, at: int = 5, until: int = 99):
        super().__init__()
        self.at, self.until, self.step = at, until, 0
        self.seen = 0

    def schedule(self, step: int) -> None:
        self.step = step

    def d_penalty(self, inputs: Any) -> Any:
        return inputs.fake.scores.sum() * (math.nan if self.at <= self.step < self.until else 0.0)


def test_a_run_that_diverges_rolls_back_a_stated_number_of_times(tmp_path: Path, registered: None) -> None:
    registry.register("trick.poison")(Poison)
    scripted([5.0] * 20)
    made = small({"times": 2}, {"poison": {"at": 5}}, "script", steps=12)
    with pytest.raises(Diverged, match="penalty/poison is not finite"):
        run(made, tmp_path / "run", console=Console(quiet=True))
    found = status(tmp_path / "run")
    assert found["state"] == "failed" and [act["act"] for act in found["acts"]] == ["roll_back"] * 2
    passing = small({"times": 2}, {"poison": {"at": 5, "until": 7}}, "script", steps=12)
    assert run(passing, tmp_path / "passing", console=Console(quiet=True)) == 0
    found = status(tmp_path / "passing")
    assert found["state"] == "finished" and [act["step"] for act in found["acts"]] == [6, 7]
    last = checkpoint.load(tmp_path / "passing/checkpoints/last.pt")
    assert all(torch.isfinite(value).all() for value in last["gan"]["generator"].values())


def test_a_new_start_has_another_seed_and_all_its_steps(tmp_path: Path, registered: None) -> None:
    scripted([9, 2, 9, 9, 3, 3, 3, 3, 3, 3])
    made = small({"act": "reseed", "worse": 3.0, "times": 1}, {"ema": {}}, "script", steps=6)
    assert run(made, tmp_path / "run", console=Console(quiet=True)) == 0
    found = status(tmp_path / "run")
    (act,) = found["acts"]
    assert act["step"] == 2 and act["act"] == "reseed" and act["seed"] != 0 and found["step"] == 2 + 6
    assert [row["step"] for row in rows(tmp_path / "run") if "loss/d" in row] == list(range(1, 9))
    again = small({"worse": None}, {"ema": {}}, "script", steps=6, seed=act["seed"])
    run(again, tmp_path / "again", console=Console(quiet=True))
    one, two = (checkpoint.load(tmp_path / name / "checkpoints/last.pt")["gan"] for name in ("run", "again"))
    assert all(torch.equal(value, two["generator"][name]) for name, value in one["generator"].items())


@pytest.mark.parametrize("act", ["roll_back", "reseed"])
def test_a_guarded_run_that_was_cut_off_ends_in_the_same_bits(tmp_path: Path, registered: None, act: str) -> None:
    class Cut(Component):
        at = -1

        def average(self, generator: Any, discriminator: Any) -> None:
            Cut.at -= 1
            if Cut.at == 0:
                raise KeyboardInterrupt

    registry.register("trick.cut")(Cut)
    scripted([9, 2, 9, 9, 3, 3, 8, 3, 3, 3, 3, 3, 3, 3])
    made = small({"act": act, "worse": 3.0}, {"ema": {}, "cut": {}}, "script", steps=8)
    assert run(made, tmp_path / "alone", console=Console(quiet=True)) == 0
    wanted = checkpoint.load(tmp_path / "alone/checkpoints/last.pt")
    for moment in (2, 3, 4, 7):
        folder = tmp_path / f"cut{moment}"
        Cut.at = moment
        with pytest.raises(KeyboardInterrupt):
            run(made, folder, console=Console(quiet=True))
        assert run(made, folder, console=Console(quiet=True), resume=True) == 0
        found = checkpoint.load(folder / "checkpoints/last.pt")
        assert found["acts"] == wanted["acts"] and found["step"] == wanted["step"]
        for part in ("generator", "discriminator", "components"):
            assert all(torch.equal(v, found["gan"][part][k]) for k, v in wanted["gan"][part].items())
        timed = {"seconds", "images_per_second"}
        mine, theirs = (
            [{k: v for k, v in r.items() if k not in timed} for r in rows(f)] for f in (folder, tmp_path / "alone")
        )
        assert mine == theirs


@pytest.mark.parametrize("step", [2, 3])
def test_what_was_watched_before_a_kill_is_watched_once(
    tmp_path: Path, registered: None, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed as soon as the checkpoint of a step is written: rows in a row are counted as if it had not been."""
    made = small({"act": "roll_back", "certain": 0.0, "patience": 3, "times": 1}, steps=6, checkpoint_every=1)
    assert run(made, tmp_path / "alone", console=Console(quiet=True)) == 0
    assert status(tmp_path / "alone")["acts"][0]["step"] == 3
    real = checkpoint.save_last

    def killed(folder: Path, state: dict[str, Any]) -> None:
        real(folder, state)
        if state["step"] == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_last", killed)
        with pytest.raises(KeyboardInterrupt):
            run(made, tmp_path / "cut", console=Console(quiet=True))
    assert run(made, tmp_path / "cut", console=Console(quiet=True), resume=True) == 0
    assert status(tmp_path / "cut")["acts"] == status(tmp_path / "alone")["acts"]
    one, two = (checkpoint.load(tmp_path / name / "checkpoints/last.pt")["gan"] for name in ("alone", "cut"))
    for part in ("generator", "discriminator", "components"):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())


def test_weights_that_are_not_finite_never_become_the_best(tmp_path: Path, registered: None) -> None:
    """D is broken at step 2, while the figure, of averaged weights, is better than ever."""

    class Broken(Component):
        def average(self, generator: Any, discriminator: Any) -> None:
            Broken.moves += 1
            if Broken.moves == 2:
                next(discriminator.parameters()).data.fill_(math.nan)

    Broken.moves = 0
    registry.register("trick.broken")(Broken)
    scripted([9, 5, 1, 6, 6, 6])
    made = small({}, {"broken": {}}, "script", steps=4)
    assert run(made, tmp_path / "run", console=Console(quiet=True)) == 0
    report = json.loads((tmp_path / "run/evaluation.json").read_text())
    best = checkpoint.load(tmp_path / "run/checkpoints/best.pt")
    assert report["best"]["step"] == best["step"] == best["best"]["step"] == 1
    assert [(act["step"], act["to_step"]) for act in status(tmp_path / "run")["acts"]] == [(2, 1)]


def test_a_new_start_of_a_resumed_run_begins_with_the_same_weights(tmp_path: Path, registered: None) -> None:
    """Fine-tuning, stopped before the guard begins it again: the second start has the source's weights too."""
    scripted([9, 2, 2, 9, 3, 3, 3, 3, 3, 3])
    source = tmp_path / "source"
    run(small({}, steps=1, eval_every=0), source, console=Console(quiet=True))
    more = {"init_from": str(source), "checkpoint_every": 1}
    guard = {"act": "reseed", "worse": 3.0, "times": 1}
    made = small(guard, metric="script", steps=4, **more)
    run(made, tmp_path / "alone", console=Console(quiet=True))
    assert [act["act"] for act in status(tmp_path / "alone")["acts"]] == ["reseed"]
    run(small(guard, metric="script", steps=2, **more), tmp_path / "cut", console=Console(quiet=True))
    assert run(made, tmp_path / "cut", console=Console(quiet=True), resume=True) == 0
    one, two = (checkpoint.load(tmp_path / name / "checkpoints/last.pt")["gan"] for name in ("alone", "cut"))
    assert all(torch.equal(value, two["generator"][name]) for name, value in one["generator"].items())
