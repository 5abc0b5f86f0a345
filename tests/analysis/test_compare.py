"""Runs side by side, from folders written by hand: what varies, intervals as scipy has them, and damage."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from gantrick import cli
from gantrick.analysis.compare import Estimate, Figure, groups, published_of, read, table

FID = "fid/digits_cnn"


def written(folder: Path, seed: int, best: float | None, last: float | None, **more: Any) -> Path:
    folder.mkdir(parents=True)
    config = {
        "steps": 100, "seed": seed, "runs_dir": str(folder), "model": {"name": "dcgan"}, "loss": {"name": "hinge"},
        "regularizer": {}, "trick": {}, "metric": {"fid": {"name": "fid"}}, "name": f"n{seed}",
    }  # fmt: skip
    state = more.pop("state", "finished")
    fingerprint = more.pop("fingerprint", "abc")
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **more}))
    status = {
        "state": state,
        "step": 100 if state == "finished" else 40,
        "reason": None if state == "finished" else "it broke",
    }
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "metrics.jsonl").write_text('{"step": 0}\n' + json.dumps({"step": 100, "seconds": 20.0 + seed}) + "\n")
    if best is not None:
        entry = {FID: {"fingerprint": fingerprint}}
        report = {k: {"step": 1, "figures": {FID: v}, "protocol": entry} for k, v in (("best", best), ("last", last))}
        (folder / "evaluation.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, (best, last) in enumerate([(10.0, 12.0), (11.0, 15.0), (9.5, 9.5)]):
        written(tmp_path / "sweep" / str(seed), seed, best, last)
        trick = {"ema": {"name": "ema", "decay": 0.99}}
        written(tmp_path / "sweep" / str(seed + 3), seed, best - 2, last - 3, trick=trick)
    return tmp_path / "sweep"


def test_groups_are_told_apart_by_what_varies_and_nothing_else(runs: Path) -> None:
    found, varying = groups(read([runs]))
    assert varying == ["trick"]
    assert [group.label for group in found] == [{"trick": "none"}, {"trick": "ema"}]
    assert [[run.seed for run in group.runs] for group in found] == [["0", "1", "2"]] * 2


def test_means_and_intervals_are_scipys(runs: Path) -> None:
    made = table(read([runs]))
    values = np.array([12.0, 15.0, 9.5])
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    [plain, ema] = made.numbers
    assert plain[f"{FID} last"] == pytest.approx(values.mean())
    assert plain[f"{FID} last ±"] == pytest.approx((high - low) / 2)
    assert ema[f"{FID} last"] == pytest.approx(values.mean() - 3) and ema[f"{FID} last n"] == 3
    assert plain["s/step"] == pytest.approx(0.21)
    assert Estimate.of([]) is None and math.isnan(Estimate.of([3.0]).half)  # type: ignore[union-attr]


def test_figures_of_unlike_protocols_stand_in_columns_of_their_own(runs: Path) -> None:
    written(runs / "6", 9, 1.0, 1.0, fingerprint="xyz", loss={"name": "wgan"})
    made = table(read([runs]))
    assert f"{FID} [abc] best" in made.columns and f"{FID} [xyz] best" in made.columns
    assert "taken by several protocols, which do not compare" in made.notes[-1]
    wgan = next(number for number in made.numbers if number["loss.name"] == "wgan")
    assert wgan[f"{FID} [abc] best"] is None and wgan[f"{FID} [xyz] best"] == 1.0


def test_options_of_a_part_vary_only_where_all_have_it(runs: Path) -> None:
    ema = {"ema": {"name": "ema", "decay": 0.5}}
    written(runs / "6", 0, 1.0, 1.0, trick=ema)
    assert groups(read([runs]))[1] == ["trick"], "plain runs have no decay"
    assert groups(read([runs / "3", runs / "6"]))[1] == ["trick.ema.decay"]


def test_failed_runs_are_counted_and_told(runs: Path) -> None:
    written(runs / "6", 3, 30.0, 99.0, state="failed")
    written(runs / "7", 4, None, None, state="running")
    made = table(read([runs]))
    assert made.rows[0][1] == "3 of 5 finished"
    assert any(note.endswith("6: failed at step 40, it broke") for note in made.notes)
    assert made.numbers[0][f"{FID} best n"] == 4, "what a failed run reached is not dropped"


def test_a_damaged_run_is_told_and_left_out(runs: Path) -> None:
    (runs / "1" / "config.yaml").write_text("a: [")
    (runs / "2" / "evaluation.json").write_text("{")
    (runs / "2" / "metrics.jsonl").write_bytes(b"\x00garbage\n{")
    (runs / "0" / "status.json").unlink()
    told: list[str] = []
    found = read([runs, runs / "nowhere"], told.append)
    assert [run.path.name for run in found] == ["0", "2", "3", "4", "5"]
    assert len(told) == 2 and "1: cannot be read" in told[0] and "neither a run nor a sweep" in told[1]
    assert found[0].state == "unknown" and found[1].best == {}
    assert found[0].best == {Figure(FID, "abc"): 10.0}


def test_published_figures_have_a_column_of_their_own(runs: Path) -> None:
    published = {"paper": {"metric": FID, "value": 7.5, "protocol": "theirs", "source": "x"}}
    written(runs / "6", 0, 1.0, 1.0, published=published, steps=7)
    made = table(read([runs]))
    row = dict(zip(made.columns, made.rows[-1], strict=True))
    assert row[f"{FID} published"] == "7.5 (paper)"


def test_what_is_no_published_figure_of_these_data_is_left_out() -> None:
    whole = {"metric": FID, "value": 7.5, "protocol": "theirs", "source": "x"}
    entries = {
        "a": whole,
        "b": {**whole, "dataset": "digits"},
        "c": {**whole, "dataset": "cifar10"},
        "d": {**whole, "value": None},
        "e": {**whole, "value": True},
        "f": {"value": 3.0},
        "g": 3.0,
    }
    assert published_of({"dataset": {"name": "digits"}, "published": entries}).keys() == {"a", "b"}
    for nothing in ({}, {"published": None}, {"published": []}, {"published": 3, "dataset": None}):
        assert published_of(nothing) == {}


def test_the_command_writes_all_forms(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {flag: tmp_path / f"t.{flag}" for flag in ("csv", "json", "latex")}
    words = [word for flag, path in files.items() for word in (f"--{flag}", str(path))]
    assert cli.main(["compare", str(runs), *words]) == 0
    shown = capsys.readouterr().out
    assert "ema" in shown and "12.17 ± " in shown and "95% interval" in shown
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert [row["trick"] for row in rows] == ["none", "ema"] and float(rows[0][f"{FID} best"]) == pytest.approx(
        10.1667, abs=1e-3
    )
    assert json.loads(files["json"].read_text())[1]["finished"] == 3
    latex = files["latex"].read_text()
    assert latex.startswith("\\begin{tabular}{lllll}") and "$\\pm$" in latex and "digits\\_cnn" in latex
    assert cli.main(["compare", str(tmp_path / "nothing")]) == 2
    assert "none of these is a run" in capsys.readouterr().err
