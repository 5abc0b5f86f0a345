"""The rule by numpy's median and mean, and whole runs beside jobs that were written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playing import recipe

from gantrick import checkpoint, registry
from gantrick.analysis.compare import read, table
from gantrick.peers import SWEEP, Peers
from gantrick.recipe import Recipe, check
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.trick.median_stopping import MedianStopping
from gantrick.types import Figures, Metric


def stops(rule: MedianStopping, best: float, curves: list[list[float]], lower: bool, step: int = 100) -> bool:
    row = {"step": step, "peers": curves, "peers/step": step, "best": best, "lower_is_better": lower}
    verdict = rule.watch(row)
    assert verdict is None or (verdict.act == "stop" and f"until step {step}" in verdict.reason)
    return verdict is not None


@pytest.mark.parametrize("lower", [True, False])
def test_the_rule_is_numpys(lower: bool) -> None:
    draw = np.random.default_rng(0)
    rule, seen = MedianStopping(warmup=0, peers=1), set()
    for _ in range(300):
        curves = [list(draw.normal(size=draw.integers(1, 6))) for _ in range(draw.integers(1, 8))]
        best = float(draw.normal())
        median = np.median([np.mean(curve) for curve in curves])
        wanted = best > median if lower else best < median
        assert stops(rule, best, curves, lower) == wanted
        seen.add(wanted)
    assert seen == {True, False}


def test_a_tie_goes_on_and_early_or_few_comparisons_say_nothing() -> None:
    curves = [[2.0], [4.0], [6.0]]
    assert not stops(MedianStopping(0, 3), 4.0, curves, True)
    assert stops(MedianStopping(0, 3), 4.1, curves, True)
    assert not stops(MedianStopping(0, 4), 4.1, curves, True)
    assert not stops(MedianStopping(101, 3), 4.1, curves, True) and stops(MedianStopping(100, 3), 4.1, curves, True)
    assert MedianStopping(0, 1).watch({"step": 5, "loss/d": 1.0}) is None


# --- the other jobs --------------------------------------------------------------------------------------------------


def job(folder: Path, values: dict[int, float], fingerprint: str, tail: str = "") -> Path:
    folder.mkdir(parents=True)
    rows = [{"step": s, "loss/d": 1.0} for s in values] + [{"step": s, "score": v} for s, v in values.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    last = {"figures": {"score": 1.0}, "protocol": {"score": {"fingerprint": fingerprint}}}
    (folder / "evaluation.json").write_text(json.dumps({"last": last}))
    return folder


def test_which_jobs_are_compared_with(tmp_path: Path) -> None:
    (tmp_path / SWEEP).write_text("{}")
    own = job(tmp_path / "own", {0: 0.0, 10: 0.0, 20: 0.0}, "f")
    far = job(tmp_path / "deep" / "far", {0: 9.0, 10: 1.0, 20: 2.0, 30: 3.0}, "f", '{"step": 40, "score": 7')
    job(tmp_path / "short", {0: 9.0, 10: 5.0}, "f")
    job(tmp_path / "other", {0: 9.0, 10: 5.0, 20: 5.0}, "another protocol")
    (job(tmp_path / "broken", {10: 5.0, 20: 5.0}, "f") / "evaluation.json").write_text("{")
    (tmp_path / "empty").mkdir()
    peers = Peers(own, "score")
    assert peers.until(20, "f") == [[1.0, 2.0]]
    assert sorted(peers.until(10, "f")) == [[1.0], [5.0]]
    assert peers.until(40, "f") == []
    with open(far / "metrics.jsonl", "a") as file:
        file.write('.5}\n{"step": 50, "score": null}\n')
    assert peers.until(40, "f") == [[1.0, 2.0, 3.0, 7.5]], "the row that was not whole is read when it is"
    (far / "metrics.jsonl").write_text('{"step": 10, "score": 8.0}\n')  # resumed from an earlier checkpoint
    assert sorted(peers.until(10, "f")) == [[5.0], [8.0]]
    assert peers.of_a_sweep and not Peers(tmp_path.parent / "alone", "score").of_a_sweep


# --- whole runs ------------------------------------------------------------------------------------------------------

VALUES = [9.0, 8.0, 7.0, 6.0, 5.0, 5.0, 5.0, 5.0, 5.0]


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(registry._registered)

    class Script(Metric):
        """These values at steps 0, 1, 2 …, and nothing to do with the run."""

        primary = "score"
        lower_is_better = True

        def evaluate(self, evaluation: Any) -> Figures:
            return Figures({"score": VALUES[evaluation.step]}, {"of": "a script"})

    registry.register("metric.script")(Script)
    yield
    registry._registered.clear()
    registry._registered.update(before)


def small(**more: Any) -> Recipe:
    every = {"steps": 8, "log_every": 1, "eval_every": 1, "sample_every": 0, "checkpoint_every": 2, "batch_size": 6}
    made = recipe(
        trick={"median_stopping": {"warmup": 3, "peers": 2}}, wandb={"mode": "disabled"}, **{**every, **more}
    ).resolved
    return check({**made, "metric": {"script": {"name": "script"}}})


def sweep(folder: Path, fingerprint: str) -> Path:
    """Two jobs that have come to step 8: one of 6 throughout, one of 6.5 until step 4 and of 0.5 from then on."""
    folder.mkdir()
    (folder / SWEEP).write_text("{}")
    job(folder / "0", {t: 6.0 for t in range(1, 9)}, fingerprint)
    job(folder / "1", {t: 6.5 if t < 5 else 0.5 for t in range(1, 9)}, fingerprint)
    return folder


def test_a_run_is_stopped_says_why_and_is_counted(tmp_path: Path, registered: None) -> None:
    """At steps 1 and 2 it is worse than the others, but that is before `warmup`; at 3 and 4 it is better.

    The means of job 1 are 6.5 until step 4, then (26 + 0.5 n) / (4 + n) = 5.3, 4.5, 3.93: medians with 6 of 5.65, 5.25
    and 4.96, of which the last is below the run's best of 5, at step 7.
    """
    run(small(), tmp_path / "probe", console=Console(quiet=True))
    protocol = json.loads((tmp_path / "probe/evaluation.json").read_text())["last"]["protocol"]["score"]
    folder = sweep(tmp_path / "sweep", protocol["fingerprint"]) / "2"
    assert run(small(), folder, console=Console(quiet=True), sweep="sweep") == 0
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "finished" and status["step"] == 7
    why = "trick.median_stopping: its best figure until step 7, 5, is above the median of 2 other jobs' averages, 4.964"
    assert status["reason"] == f"stopped at step 7 by {why}"
    [act] = status["acts"]
    assert (act["act"], act["by"], act["step"], act["reason"]) == ("stop", "trick.median_stopping", 7, why)
    made = table(read([folder]))
    assert made.rows[0][0] == "1, 1 of them stopped early" and made.numbers[0]["stopped"] == 1
    assert made.notes == (f"{folder}: finished at step 7, stopped at step 7 by {why}",)


def test_without_a_sweep_or_with_unlike_figures_it_runs_to_its_end(tmp_path: Path, registered: None) -> None:
    for folder in (tmp_path / "alone", sweep(tmp_path / "sweep", "another protocol") / "2"):
        assert run(small(), folder, console=Console(quiet=True)) == 0
        status = json.loads((folder / "status.json").read_text())
        assert status["step"] == 8 and "acts" not in status


@pytest.mark.parametrize("log_every", [1, 2])
def test_a_run_that_was_cut_off_is_stopped_at_the_same_step(
    tmp_path: Path, registered: None, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    """Killed after each checkpoint in turn, beside jobs that have ended: the same act, rows and bits."""
    every = {"log_every": log_every, "checkpoint_every": 1, "steps": 8}
    run(small(**every), tmp_path / "probe", console=Console(quiet=True))
    protocol = json.loads((tmp_path / "probe/evaluation.json").read_text())["last"]["protocol"]["score"]
    beside = sweep(tmp_path / "sweep", protocol["fingerprint"])
    if log_every == 2:  # it is asked at steps 4 and 6 only
        for name in ("3", "4"):
            job(beside / name, {t: 7.0 if t < 5 else -20.0 for t in range(1, 9)}, protocol["fingerprint"])
    alone = tmp_path / "alone" / "run"
    shutil.copytree(beside, tmp_path / "alone")
    assert run(small(**every), alone, console=Console(quiet=True)) == 0
    wanted = json.loads((alone / "status.json").read_text())["acts"]
    assert wanted
    real = checkpoint.save_last
    folder, killed = beside / "2", 0
    for moment in range(1, wanted[0]["step"]):

        def cut(where: Path, state: dict[str, Any], moment: int = moment) -> None:
            real(where, state)
            if state["step"] == moment:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save_last", cut)
            with pytest.raises(KeyboardInterrupt):
                run(small(**every), folder, console=Console(quiet=True), resume=moment > 1)
        killed += 1
    assert killed >= 3
    assert run(small(**every), folder, console=Console(quiet=True), resume=True) == 0
    assert json.loads((folder / "status.json").read_text())["acts"] == wanted
    one, two = (checkpoint.load(f / "checkpoints/last.pt")["gan"] for f in (alone, folder))
    for part in ("generator", "discriminator"):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())
    timed = {"seconds", "images_per_second"}
    mine, theirs = (
        [
            {k: v for k, v in json.loads(line).items() if k not in timed}
            for line in (f / "metrics.jsonl").read_text().splitlines()
        ]
        for f in (folder, alone)
    )
    assert mine == theirs
