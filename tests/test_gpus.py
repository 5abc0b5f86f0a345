"""GPUs dealt out among jobs: the choice by hand, the holding by real processes and the system's locks; no GPU needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gantrick import gpus, train

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Locks of this test alone, and a machine of four GPUs that this process has not touched."""
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_pool", None)
    monkeypatch.setattr(gpus, "_kept", {})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv(gpus.VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("variable", "there", "names"),
    [
        (None, 3, ["0", "1", "2"]),
        (None, 0, []),
        ("", 3, []),
        ("2, 0", 3, ["2", "0"]),
        ("1,-1,2", 3, ["1"]),
        ("1,1,2", 3, ["1"]),
        ("GPU-8932f937,MIG-1/2", 1, ["GPU-8932f937", "MIG-1/2"]),
    ],
)
def test_which_there_are(variable: str | None, there: int, names: list[str]) -> None:
    assert gpus.pool(variable, there) == names


@pytest.mark.parametrize(("count", "machine"), [(1, 4), (2, 4), (2, 3), (3, 8), (4, 4), (1, 1)])
def test_jobs_that_begin_together_are_spread_evenly(count: int, machine: int) -> None:
    """Of the first `machine` jobs every GPU is the first choice of equally many processes, and all are in every turn."""
    names = [str(number) for number in range(machine)]
    chosen = Counter(name for job in range(machine) for name in gpus.turn(names, job, count)[:count])
    assert chosen == Counter(dict.fromkeys(names, count))
    assert all(sorted(gpus.turn(names, job, count)) == names for job in range(9))
    assert gpus.turn([], 3, 1) == []


def test_what_is_held_is_not_dealt_again_until_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with gpus.dealt(0, 3, 1, told.append) as first:
        assert first == ["0", "1", "2"] and os.environ[gpus.VARIABLE] == "0,1,2"
        assert gpus._take(["0", "1", "2", "3"], 2, 1) == {}
        last = gpus._take(["0", "1", "2", "3"], 1, 1)
        assert list(last) == ["3"], "those that were too few have been let go"
        naps: list[float] = []

        def nap(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 3:
                gpus._release(last)

        monkeypatch.setattr(gpus.time, "sleep", nap)
        assert list(gpus._wait(["0", "3"], 1, 1, told.append)) == ["3"]
        assert len(naps) == 3 and told == ["waiting for a GPU: other jobs hold 0, 3"]
    assert gpus.VARIABLE not in os.environ


def test_jobs_may_share_and_empty_ones_come_first() -> None:
    held = [gpus._take(["0", "1"], 1, 2) for _ in range(5)]
    assert [list(one) for one in held] == [["0"], ["1"], ["0"], ["1"], []]


def test_a_process_keeps_the_gpu_that_it_has_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA sees what it saw first: the next job of the process goes where the last one was."""
    with gpus.dealt(2, 1, 1, print) as first:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert first == ["2"] and os.environ[gpus.VARIABLE] == "2"
    with gpus.dealt(7, 1, 1, print) as second:
        assert second == ["2"]
    with gpus.dealt(7, 2, 1, print) as several:  # its children see another one too
        assert several == ["2", "3"] and os.environ[gpus.VARIABLE] == "2,3"
    assert os.environ[gpus.VARIABLE] == "2" and gpus._take(["2"], 1, 1) == {}


def test_more_than_there_are_is_left_to_the_run_to_refuse() -> None:
    with gpus.dealt(0, 5, 1, print) as found:
        assert found == [] and gpus.VARIABLE not in os.environ


JOB = """
import json, sys, time
import torch
from gantrick import gpus
torch.cuda.device_count = lambda: 2
gpus.tempfile.tempdir = sys.argv[1]
with gpus.dealt(int(sys.argv[2]), 1, 1, lambda said: None) as found:
    began = time.time()
    time.sleep(0.4)
    print(json.dumps({"gpu": found[0], "began": began, "ended": time.time()}), flush=True)
    if sys.argv[3] == "die":
        import os
        os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_processes_never_hold_the_same_one_at_once(tmp_path: Path) -> None:
    """Five processes on two GPUs, one of which is killed while it holds one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop(gpus.VARIABLE, None)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path), str(job), "die" if job == 1 else "live"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for job in range(5)
    ]
    found = [json.loads(process.communicate(timeout=120)[0]) for process in started]
    assert [process.returncode for process in started].count(-9) == 1
    for gpu in ("0", "1"):
        spans = sorted((one["began"], one["ended"]) for one in found if one["gpu"] == gpu)
        assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert len(found) == 5


@pytest.mark.parametrize(
    ("launcher", "device", "dealt"),
    [
        ("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "auto", True),
        ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher", "cuda", True),
        ("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "cuda:1", False),
        ("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "cpu", False),
        ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "auto", False),
        ("hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "auto", False),
        ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", "auto", False),
    ],
)
def test_who_is_dealt_any(launcher: str, device: str, dealt: bool) -> None:
    node = SimpleNamespace(mode=train.RunMode.MULTIRUN, launcher={"_target_": launcher}, job=SimpleNamespace(num=3))
    made: Any = SimpleNamespace(settings=SimpleNamespace(device=device, devices=1, jobs_per_gpu=1))
    with train._gpus(node, made) as found:
        assert found == (["3"] if dealt else None)
    node.mode = train.RunMode.RUN
    with train._gpus(node, made) as found:
        assert found is None
