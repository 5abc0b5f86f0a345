"""The copy at W&B: real offline runs read back by W&B's own tool, and everything that may go wrong with it."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gantrick.tracking.grid import save_grid
from gantrick.tracking.wandb_log import WandbLog, clean_project, filters, has_key

Offline = tuple[Path, dict[str, Any], list[dict[str, Any]], list[str]]

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "model": {"name": "dcgan", "z_size": 128},
    "loss": {"name": "wgan", "recipe": "wgan_ct"},
    "dataset": {"name": "digits"},
    "optimizer": {"name": "adam", "lr": 2e-4},
    "regularizer": {"gp": {"name": "gp", "weight": 10.0}, "ct": {"name": "ct"}},
    "trick": {},
    "metric": {"fid": {"name": "fid"}},
    "seed": 3,
    "steps": 20,
    "batch_size": 64,
    "d_steps": 5,
}
SHOWN = {key: value for key, value in CONFIG.items() if value != {}}  # the reader shows no empty mapping
OPEN = """
import json, sys
from pathlib import Path
from gantrick.tracking import wandb_log
wandb_log.PATIENCE = 1.0
told = []
log = wandb_log.WandbLog(
    sys.argv[1], "gantrick", None, folder=Path("runs/a"), runs_dir=Path("runs"), name="a", group=None, job_type="train",
    tags=["x"], config=json.loads(sys.argv[2]), run_id=sys.argv[3] if len(sys.argv) > 3 else None, warn=told.append,
)
before = log.id
log.start()
log.log({"step": 1, "loss/d": 0.5})
log.finish(0)
print(json.dumps({"mode": log.mode, "id": log.id, "before": before, "told": told, "wandb": "wandb" in sys.modules}))
"""


def new(folder: Path, mode: str = "offline", **changes: Any) -> tuple[WandbLog, list[str]]:
    told: list[str] = []
    options: dict[str, Any] = {
        "folder": folder / "runs" / "one",
        "runs_dir": folder / "runs",
        "name": "a run",
        "group": "a sweep",
        "job_type": "train",
        "tags": ("wgan_ct", "x" * 100, "wgan_ct", ""),
        "config": CONFIG,
        "run_id": None,
        "warn": told.append,
        **changes,
    }
    return WandbLog(mode, "my/proj:ect", None, **options), told


def inspect(file: Path, *words: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *words, str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=clean(file.parent)).stdout


def clean(home: Path, **more: str) -> dict[str, str]:
    """The environment without anything of W&B's, and a home folder without its files."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "_WANDB"))}
    kept.pop("NETRC", None)
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(autouse=True)
def nothing_of_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """A whole run: its folder, its summary and its records as W&B reads them, and what was warned of."""
    folder = tmp_path_factory.mktemp("offline")
    log, told = new(folder)
    log.start()
    assert (log.mode, log.active) == ("offline", True) and log.id is not None and len(log.id) == 8
    log.figure_metric("fid/inception", lower_is_better=True)
    log.figure_metric("modes/score", lower_is_better=False)
    for step, figure in ((0, 50.0), (10, 30.0), (20, 40.0)):
        log.log(
            {
                "step": step,
                "loss/d": 0.5 if step else math.nan,
                "fid/inception": figure,
                "modes/score": figure,
                "no": None,
            }
        )
    save_grid(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), folder / "grid.png")
    log.picture("samples", folder / "grid.png", 20)
    log.log({"step": 10, "late": 1.0})  # a step that goes back is a row like the others
    log.summary({"best/fid/inception": 30.0, "best/step": 10})
    log.finish(3)
    files = list((folder / "runs" / "wandb").glob(f"offline-run-*-{log.id}/run-{log.id}.wandb"))
    assert len(files) == 1  # where `wandb sync runs/wandb/offline-run-*` looks
    records = [json.loads(line) for line in inspect(files[0], "--json").splitlines()]
    return folder, json.loads(inspect(files[0], "--summary", "--json")), records, told


def test_an_offline_run_is_whole(offline: Offline) -> None:
    folder, summary, _, told = offline
    assert told == []
    assert summary["exit_code"] == 3
    assert (summary["project"], summary["name"]) == ("my-proj-ect", "a run")
    assert sorted(summary["tags"]) == ["wgan_ct", "x" * 64]
    assert summary["console"] == []
    assert summary["config"]["gantrick"] == SHOWN
    assert {k: v for k, v in summary["config"].items() if k != "gantrick"} == {
        "model": "dcgan",
        "loss": "wgan_ct",
        "dataset": "digits",
        "optimizer": "adam",
        "regularizer": "gp+ct",
        "trick": "none",
        "metric": "fid",
        "seed": 3,
        "steps": 20,
        "batch_size": 64,
        "d_steps": 5,
        "folder": str(folder / "runs" / "one"),
    }


def test_the_table_has_best_and_last(offline: Offline) -> None:
    values = offline[1]["summary"]
    assert values["fid/inception"] == {"min": 30, "last": 40}
    assert values["modes/score"] == {"max": 50, "last": 40}
    assert (values["best/fid/inception"], values["best/step"], values["late"]) == (30, 10, 1)
    assert "no" not in values


def test_every_row_is_there_with_its_step(
    offline: tuple[Path, dict[str, Any], list[dict[str, Any]], list[str]],
) -> None:
    records = [record["history"]["item"] for record in offline[2] if record["type"] == "history"]
    rows = [{k: v for k, v in item.items() if not k.startswith(("_", "samples."))} for item in records]
    assert rows == [
        {"step": 0, "loss/d": "NaN", "fid/inception": 50, "modes/score": 50},
        {"step": 10, "loss/d": 0.5, "fid/inception": 30, "modes/score": 30},
        {"step": 20, "loss/d": 0.5, "fid/inception": 40, "modes/score": 40},
        {"step": 20},  # the picture's
        {"step": 10, "late": 1},
    ]
    axes = {m.get("glob_name") or m["name"]: m["step_metric"] for m in (r.get("metric") for r in offline[2]) if m}
    assert axes == {"*": "step", "fid/inception": "step", "modes/score": "step"}
    picture = offline[1]["summary"]["samples"]
    assert picture["_type"] == "image-file" and picture["caption"] == "step 20"
    stored = list((offline[0] / "runs" / "wandb").glob(f"offline-run-*/files/{picture['path']}"))
    assert [file.read_bytes() for file in stored] == [(offline[0] / "grid.png").read_bytes()]


def started(home: Path, mode: str, run_id: str | None = None, **more: str) -> dict[str, Any]:
    """A run in a process of its own, in a clean environment, without anybody to answer a question."""
    home.mkdir(exist_ok=True)
    words = [sys.executable, "-c", OPEN, mode, json.dumps(CONFIG), *([run_id] if run_id else [])]
    options: dict[str, Any] = {"cwd": home, "env": clean(home, **more), "timeout": 60, "stdin": subprocess.DEVNULL}
    done = subprocess.run(words, capture_output=True, text=True, check=True, **options)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_auto_without_a_key_is_offline(tmp_path: Path) -> None:
    found = started(tmp_path / "home", "auto", "abc12345")
    assert (found["mode"], found["id"], found["told"]) == ("offline", "abc12345", [])
    assert list((tmp_path / "home" / "runs" / "wandb").glob("offline-run-*-abc12345"))


def test_online_without_a_key_is_offline_and_told(tmp_path: Path) -> None:
    found = started(tmp_path / "home", "online")
    assert found["mode"] == "offline" and found["id"] == found["before"]
    assert len(found["told"]) == 1 and "without a key" in found["told"][0] and "wandb login" in found["told"][0]


def test_a_server_that_does_not_answer_makes_the_run_an_offline_one_of_the_same_id(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        found = started(tmp_path / "home", "auto", WANDB_API_KEY="a" * 40, WANDB_BASE_URL=url)
    assert found["mode"] == "offline" and found["id"] == found["before"]
    assert len(found["told"]) == 1 and "kept offline" in found["told"][0] and "wandb sync" in found["told"][0]
    assert list((tmp_path / "home" / "runs" / "wandb").glob(f"offline-run-*-{found['id']}/run-{found['id']}.wandb"))


@pytest.mark.parametrize(("mode", "more"), [("disabled", {}), ("auto", {"WANDB_MODE": "disabled"})], ids=str)
def test_disabled_does_not_even_import(tmp_path: Path, mode: str, more: dict[str, str]) -> None:
    found = started(tmp_path / "home", mode, **more)
    assert (found["mode"], found["id"], found["told"], found["wandb"]) == ("disabled", None, [], False)
    assert not (tmp_path / "home" / "runs").exists()


def test_wandb_mode_decides_where_a_key_is_configured(tmp_path: Path) -> None:
    found = started(tmp_path / "home", "auto", WANDB_API_KEY="a" * 40, WANDB_MODE="offline")
    assert (found["mode"], found["told"]) == ("offline", [])


def test_under_a_sweep_of_its_own_the_agent_names_the_run_and_its_keys(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    parameters = home / "parameters.yaml"
    parameters.write_text("wandb_version: 1\nloss:\n  value: hinge\noptimizer.lr:\n  value: 0.1\n")
    sweep = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "agent123", "WANDB_SWEEP_PARAM_PATH": str(parameters)}
    found = started(home, "offline", **sweep)
    assert (found["id"], found["told"]) == ("agent123", [])
    (file,) = (home / "runs" / "wandb").glob("offline-run-*/run-agent123.wandb")
    config = json.loads(inspect(file, "--summary", "--json"))["config"]
    assert (config["loss"], config["optimizer.lr"]) == ("hinge", 0.1)  # as the sweep has set them
    assert config["gantrick"] == SHOWN and config["regularizer"] == "gp+ct"


@pytest.mark.parametrize(
    ("text", "base", "found"),
    [
        ("", "https://api.wandb.ai", False),
        ("machine api.wandb.ai login user password secret\n", "https://api.wandb.ai", True),
        ("machine api.wandb.ai login user password secret\n", "https://api.forge.coreweave.com", True),
        ("machine wandb.lab:8080 login user password secret\n", "http://wandb.lab:8080", True),
        ("machine github.com login user password secret\n", "https://api.wandb.ai", False),
        ("machine api.wandb.ai login user password\n", "https://api.wandb.ai", False),
        ("machine oops", "https://api.wandb.ai", False),
    ],
)
def test_a_key_in_netrc_counts_for_its_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, base: str, found: bool
) -> None:
    (tmp_path / "netrc").write_text(text)
    settings = SimpleNamespace(api_key=None, base_url=base)
    assert not has_key(settings)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_key(settings) is found
    monkeypatch.delenv("NETRC")
    (tmp_path / "home").mkdir()
    (tmp_path / "netrc").rename(tmp_path / "home" / ".netrc")
    assert has_key(settings) is found


def test_a_key_in_the_environment_or_the_settings_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(api_key="k" * 40, base_url="https://api.wandb.ai")
    assert has_key(settings)
    settings.api_key = None
    assert not has_key(settings)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert has_key(settings)


class FullDisk:
    """A run whose every call fails as on a full disk."""

    id = "abc"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.summary = self

    def _fail(self, name: str) -> None:
        self.calls.append(name)
        raise OSError(28, "No space left on device")

    def log(self, row: Mapping[str, Any]) -> None:
        self._fail("log")

    def update(self, values: Mapping[str, Any]) -> None:
        self._fail("update")

    def define_metric(self, *_: Any, **__: Any) -> None:
        self._fail("define_metric")

    def finish(self, exit_code: int) -> None:
        self._fail("finish")


CALLS = {
    "log": lambda log: log.log({"step": 1, "loss/d": 0.5}),
    "picture": lambda log: log.picture("samples", Path("nowhere.png"), 1),
    "figure_metric": lambda log: log.figure_metric("fid/inception", True),
    "summary": lambda log: log.summary({"best/step": 1}),
    "finish": lambda log: log.finish(0),
}


@pytest.mark.parametrize("first", CALLS)
def test_a_failure_is_told_once_and_nothing_is_sent_after_it(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FullDisk()
    log, told = new(tmp_path)
    monkeypatch.setattr(log, "_init", lambda mode: run)
    monkeypatch.setattr(run, "define_metric", lambda *_, **__: None)
    log.start()
    monkeypatch.undo()
    assert log.active
    CALLS[first](log)
    assert not log.active and len(told) == 1
    assert told[0].startswith("W&B: ") and "the run folder has everything" in told[0]
    assert first == "picture" or "No space left on device" in told[0]
    calls = list(run.calls)
    for call in CALLS.values():
        call(log)
    assert len(told) == 1 and run.calls == calls


def test_a_run_that_cannot_be_started_is_told_and_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, told = new(tmp_path)

    def fail(mode: str) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(log, "_init", fail)
    log.start()
    assert (log.active, log.mode, log.id, len(told)) == (False, "disabled", None, 1)
    for call in CALLS.values():
        call(log)
    assert len(told) == 1


def test_without_the_library_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it is an ImportError
    log, told = new(tmp_path)
    log.start()
    log.log({"step": 1})
    log.finish(0)
    assert not log.active and len(told) == 1 and "wandb" in told[0]


def test_its_process_killed_and_the_next_run_unharmed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from gantrick.tracking.wandb_log import WandbLog
told = []
def new(): return WandbLog("offline", "p", None, folder=Path("runs/a"), runs_dir=Path("runs"), name=None, group=None,
                           job_type=None, tags=[], config={}, run_id=None, warn=told.append)
log = new()
log.start()
def parent(entry): return entry.read_text().rpartition(")")[2].split()[1]
for entry in Path("/proc").glob("[0-9]*/stat"):
    try:
        if parent(entry) == str(os.getpid()): os.kill(int(entry.parent.name), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError): pass
for step in range(200):
    log.log({"step": step, "x": "y" * 10_000})
    if not log.active: break
log.finish(0)
assert len(told) == 1, told
log = new()
log.start()
log.log({"step": 1})
log.finish(0)
assert len(told) == 1 and log.mode == "offline", told
"""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to find the process")
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=tmp_path, env=clean(tmp_path), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("gantrick", "gantrick"), ("a/b\\c#d?e%f:g", "a-b-c-d-e-f-g"), ("//", "gantrick"), ("x" * 200, "x" * 128)],
)
def test_project_names(name: str, cleaned: str) -> None:
    assert clean_project(name) == cleaned


def test_tricks_are_one_word_in_their_order() -> None:
    assert filters({"trick": {"ema": {"name": "ema"}, "cascading": {"name": "cascading"}}})["trick"] == "ema+cascading"
    assert filters({"loss": {"name": "hinge"}})["loss"] == "hinge"
