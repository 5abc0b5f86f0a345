"""Faults that scripts/faults.py found or looks for, each small and in this process: told in a sentence, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from playing import recipe

from gantrick import checkpoint, cli, registry, train
from gantrick.recipe import Recipe, check, recorded
from gantrick.stages import Component
from gantrick.tracking.console import Console
from gantrick.tracking.folder import RunFolder, write_atomically
from gantrick.trainer import Trainer, run
from gantrick.types import ConfigError, Figures, GantrickError, Metric


def small(**more: Any) -> Recipe:
    settings = {"steps": 4, "batch_size": 6, "log_every": 1, "eval_every": 2, "sample_every": 2, "checkpoint_every": 2}
    made = recipe(**{**settings, "wandb": {"mode": "disabled"}, **more}).resolved
    return check({**made, "metric": {"figure": {"name": "figure"}}})


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """A metric that gives `Figure.values`, and a trick that does `Strike.act` at step 3."""
    before = dict(registry._registered)
    registry.register("metric.figure")(Figure)
    registry.register("trick.strike")(Strike)
    Figure.values, Figure.protocol, Strike.act = {"figure": 1.0}, {}, staticmethod(lambda: None)
    yield
    registry._registered.clear()
    registry._registered.update(before)


class Figure(Metric):
    primary = "figure"
    values: Any = {"figure": 1.0}
    protocol: Any = {}

    def evaluate(self, evaluation: Any) -> Figures:
        return Figures(self.values, self.protocol)


class Strike(Component):
    act: Any = staticmethod(lambda: None)

    def schedule(self, step: int) -> None:
        if step == 3:
            type(self).act()


def steps(folder: Path) -> list[int]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in found if "figure" not in row]


@pytest.mark.parametrize(
    ("values", "protocol"),
    [({"figure": "many"}, {}), ({"figure": None}, {}), ({"figure": 1.0}, {("a", 1): 2}), (None, {})],
)
def test_a_metric_that_gives_no_numbers_is_told_and_left_out(
    tmp_path: Path, values: Any, protocol: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Figure.values, Figure.protocol = values, protocol
    assert run(small(), tmp_path / "run") == 0
    assert "metric.figure: no figure at step 4: " in capsys.readouterr().out
    assert steps(tmp_path / "run") == [1, 2, 3, 4]


def test_pictures_that_have_no_place_do_not_end_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """samples/ has become a file: grids and a metric's pictures alike."""

    def spoil() -> None:
        shutil.rmtree(tmp_path / "run/samples")
        (tmp_path / "run/samples").write_text("x")

    Strike.act = staticmethod(spoil)
    assert run(small(trick={"strike": {"name": "strike"}}), tmp_path / "run") == 0
    told = capsys.readouterr().out
    assert "samples: no picture at step 4: FileExistsError" in told
    assert "metric.figure: no figure at step 4: FileExistsError" in told
    assert steps(tmp_path / "run") == [1, 2, 3, 4]


def test_a_run_folder_that_was_moved_is_not_made_anew_by_a_picture(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Strike.act = staticmethod(lambda: folder.rename(tmp_path / "elsewhere"))
    made = small(trick={"strike": {"name": "strike"}}, log_every=9)
    with pytest.raises(GantrickError, match="the run folder is gone"):
        run(made, folder, console=Console(quiet=True))
    assert not folder.exists()
    Strike.act = staticmethod(lambda: None)
    (tmp_path / "elsewhere").rename(folder)
    assert run(made, folder, console=Console(quiet=True), resume=True) == 0
    assert checkpoint.load(folder / "checkpoints/last.pt")["step"] == 4


@pytest.mark.parametrize("missing", ["meter", "feed", "random", "latents", "best", "gan", "step"])
def test_a_checkpoint_that_lacks_something_is_refused_and_nothing_is_lost(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "run"
    run(small(), folder, console=Console(quiet=True))
    rows = (folder / "metrics.jsonl").read_bytes()
    for file in (folder / "checkpoints").glob("*.pt"):
        state = torch.load(file, weights_only=True)
        torch.save({k: v for k, v in state.items() if k != missing}, file)
    with pytest.raises(GantrickError, match=f"does not fit its config .*{missing}|not a checkpoint of this version"):
        run(small(steps=6), folder, console=Console(quiet=True), resume=True)
    assert (folder / "metrics.jsonl").read_bytes() == rows


def test_a_checkpoint_without_what_came_later_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(small(), folder, console=Console(quiet=True))
    later = ("data", "acts", "origin", "lr_scale", "peak", "processes", "wandb")
    state = torch.load(folder / "checkpoints/last.pt", weights_only=True)
    torch.save({k: v for k, v in state.items() if k not in later}, folder / "checkpoints/last.pt")
    assert run(small(steps=6), folder, console=Console(quiet=True), resume=True) == 0
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_another_process_took_further_is_not_taken_back(tmp_path: Path, resume: bool) -> None:
    """Both looked at the folder; the second may enter it when the first is done."""
    folder = tmp_path / "run"
    if resume:
        run(small(), folder, console=Console(quiet=True))
    late = Trainer(small(steps=6), folder, console=Console(quiet=True), resume=resume)
    assert run(small(steps=8), folder, console=Console(quiet=True), resume=resume) == 0
    with pytest.raises(GantrickError, match="another process has trained this run since this one looked at it"):
        late.run()
    assert checkpoint.load(folder / "checkpoints/last.pt")["step"] == 8 and steps(folder)[-1] == 8
    assert RunFolder(folder).state() == "finished"


def test_a_row_whose_step_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": "three"}\n')
    with pytest.raises(GantrickError, match=r"metrics\.jsonl:2: not a row of JSON; remove the line"):
        RunFolder(tmp_path).cut(1)


def test_a_full_disk_says_of_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "config.yaml").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "config.yaml", "new")
    assert caught.value.filename == str(tmp_path / "config.yaml")
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"] and (tmp_path / "config.yaml").read_text() == "old"


def test_what_a_resume_changes_must_be_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", f"resume={tmp_path}", "steps=[1"]) == 2
    assert capsys.readouterr().err == ("gantrick train: error: steps: '[1' is not a value; give one as in steps=…\n")
    assert cli.main(["train", "resume=~nobody-of-this-name/run"]) == 2
    assert "not a run folder, it has no config.yaml" in capsys.readouterr().err


def test_a_change_to_a_group_that_is_garbage_is_a_fault_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**small().resolved, "dataset": "digits"}))
    with pytest.raises(ConfigError, match="dataset: has settings but no name"):
        recorded(tmp_path, {"dataset.workers": 1})


def test_a_job_whose_status_is_garbage_did_not_finish(tmp_path: Path) -> None:
    for name, text in (("0", '{"state": "finished", "reason": null}'), ("1", "[1]"), ("2", "\x00"), ("3", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text(text)
    assert [told.partition(" (")[0] for told in train.failures(tmp_path)] == [
        f"job {number}: status.json cannot be read" for number in "123"
    ]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("steps=1" + "0" * 40, "steps: must be a whole number within ±2^63, not one of 41 digits"),
        ("optimizer.final=1" + "0" * 400, "optimizer.final: must be a number that floats reach, not one of 401 digits"),
        ("model.g_width=100000000000", "model: dcgan has a layer larger than any tensor can be; lower its widths"),
        (
            "model.z_size=9223372036854775807",
            "model: dcgan has a layer larger than any tensor can be; lower its widths",
        ),
    ],
)
def test_numbers_beyond_what_machines_count(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", word]) == 2
    assert capsys.readouterr().err.startswith(f"gantrick plan: error: {said}")
