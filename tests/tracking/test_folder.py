"""The run folder, read back with json and yaml alone."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gantrick.tracking.folder import RunFolder, write_atomically
from gantrick.types import GantrickError

CONFIG = {"loss": {"name": "wgan", "recipe": "wgan_ct"}, "optimizer": {"lr": 1e-5, "betas": [0.0, 0.9]}, "name": None}


def opened(path: Path) -> RunFolder:
    folder = RunFolder(path / "runs" / "one")
    folder.open(CONFIG, "build: dcgan", {"host": "here", "versions": {"torch": "2"}})
    return folder


def read(file: Path) -> Any:
    """Strict JSON: the constants NaN and Infinity are refused."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)


def in_child(act: Callable[[], None]) -> int:
    """How a forked process ended that did this: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_a_run_is_stands_in_its_folder(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == CONFIG
    assert list(yaml.safe_load((folder.path / "config.yaml").read_text())) == list(CONFIG)  # in the order given
    assert (folder.path / "plan.txt").read_text() == "build: dcgan\n"
    assert read(folder.path / "environment.json") == {"host": "here", "versions": {"torch": "2"}}
    assert read(folder.path / "status.json")["state"] == "running"
    assert {f.name for f in folder.path.iterdir()} == {"config.yaml", "plan.txt", "environment.json", "status.json"}


def test_config_yaml_is_plain(tmp_path: Path) -> None:
    betas = (0.5, 0.999)
    RunFolder(tmp_path).open({"a": betas, "b": betas, "path": Path("x/y"), "n": np.float32(0.5)}, "", {})
    text = (tmp_path / "config.yaml").read_text()
    assert "!!" not in text and "&" not in text and "*" not in text  # no tags, anchors or aliases
    assert yaml.safe_load(text) == {"a": [0.5, 0.999], "b": [0.5, 0.999], "path": "x/y", "n": 0.5}


def test_rows_come_back_and_what_is_not_finite_is_named(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.row({"step": 1, "loss/d": 0.5, "note": "é", "fid/inception": None})
    folder.row({"step": 2, "loss/d": math.nan, "loss/g": -math.inf, "score/real": np.float32(0.25), "n": np.int64(3)})
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss/d": 0.5, "note": "é", "fid/inception": None},
        {"step": 2, "loss/d": None, "loss/g": None, "score/real": 0.25, "n": 3, "non_finite": ["loss/d", "loss/g"]},
    ]
    assert folder.rows() == [json.loads(line) for line in lines]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), st.one_of(st.none(), st.integers(-(2**60), 2**60), st.text(), st.floats())))
def test_any_row_is_one_line_of_strict_json(tmp_path: Path, row: dict[str, Any]) -> None:
    row.pop("non_finite", None)
    (tmp_path / "metrics.jsonl").unlink(missing_ok=True)
    folder = RunFolder(tmp_path)
    folder.row(row)
    text = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n") and text.count("\n") == 1
    bad = [k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)]
    expected = {**row, **dict.fromkeys(bad)} | ({"non_finite": bad} if bad else {})
    assert read(tmp_path / "metrics.jsonl") == expected
    assert folder.rows() == [expected]


def test_every_row_is_on_disk_at_once(tmp_path: Path) -> None:
    folder = opened(tmp_path)

    def write_and_die() -> None:
        for step in range(3):
            folder.row({"step": step})
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write_and_die) == -signal.SIGKILL
    assert [row["step"] for row in folder.rows()] == [0, 1, 2]


@pytest.mark.parametrize("tail", ['{"step": 3, "lo', '{"step": 3}', "\x00\x00\x00"])
def test_a_line_cut_short_is_no_row_and_spoils_no_other(tmp_path: Path, tail: str) -> None:
    folder = opened(tmp_path)
    assert folder.rows() == []
    folder.row({"step": 1})
    folder.row({"step": 2})
    with open(folder.path / "metrics.jsonl", "a") as file:
        file.write(tail)
    assert [row["step"] for row in folder.rows()] == [1, 2]
    folder.row({"step": 4})
    assert (folder.path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n{"step": 4}\n'


def test_only_a_cut_line_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"st')
    folder = RunFolder(tmp_path)
    assert folder.rows() == []
    folder.row({"step": 1})
    assert folder.rows() == [{"step": 1}]


def test_a_broken_line_within_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\noops\n{"step": 2}\n')
    with pytest.raises(GantrickError, match=r"metrics\.jsonl:2: not a row of JSON; remove the line"):
        RunFolder(tmp_path).rows()


def test_a_row_that_does_not_fit_on_the_disk(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.row({"step": 1})
    size = (tmp_path / "metrics.jsonl").stat().st_size

    def fill_and_go_on() -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))
        with pytest.raises(OSError):
            folder.row({"step": 2, "text": "x" * 100})
        assert (tmp_path / "metrics.jsonl").stat().st_size == size + 5  # a part of it is there
        assert [row["step"] for row in folder.rows()] == [1]
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        folder.row({"step": 3})

    assert in_child(fill_and_go_on) == 0
    assert [row["step"] for row in folder.rows()] == [1, 3]


def test_cut_drops_what_comes_after_a_step(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.cut(0)  # nothing to cut
    assert not (tmp_path / "metrics.jsonl").exists()
    for step in (0, 10, 10, 20, 30):
        folder.row({"step": step, "loss/d": 1 / 3})
    before = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    folder.cut(10)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(before[:3])
    folder.row({"step": 20})
    assert [row["step"] for row in folder.rows()] == [0, 10, 10, 20]


def test_status_tells_state_heartbeat_and_process(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    before = time.time()
    folder.status("failed", 7, "loss/d is not finite", traceback="…")
    status = read(folder.path / "status.json")
    assert before <= status.pop("heartbeat") <= time.time()
    assert status.pop("heartbeat_iso").endswith("+00:00")
    assert status == {
        "state": "failed",
        "step": 7,
        "reason": "loss/d is not finite",
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "traceback": "…",
    }


def test_a_reason_of_any_text_is_written(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.status("failed", 1, "no such file: \udcff.png")  # a file name that is not UTF-8
    assert read(folder.path / "status.json")["reason"] == "no such file: \udcff.png"


def test_a_folder_opened_again_is_at_the_step_of_its_last_row(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.row({"step": 40})
    again = opened(tmp_path)
    assert read(again.path / "status.json")["step"] == 40
    assert again.rows() == [{"step": 40}]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_killed_in_the_middle_of_a_write(tmp_path: Path, moment: str) -> None:
    folder = opened(tmp_path)
    folder.status("running", 1)

    def die_while_writing() -> None:
        setattr(os, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        folder.status("running", 2, "x" * 100_000)

    assert in_child(die_while_writing) == -signal.SIGKILL
    status = read(folder.path / "status.json")
    assert (status["state"], status["step"], status["reason"]) == ("running", 1, None)
    assert len(list(folder.path.glob(".*"))) == 1
    opened(tmp_path)
    assert not list(folder.path.glob(".*"))


def test_killed_at_any_moment(tmp_path: Path) -> None:
    folder = opened(tmp_path)

    def write_for_ever() -> None:
        step = 0
        while True:
            step += 1
            folder.status("running", step, f"{step} " * 5000)

    steps = set()
    for tries in range(10):
        child = os.fork()
        if child == 0:
            try:
                write_for_ever()
            finally:
                os._exit(1)
        time.sleep(0.02 + 0.003 * tries)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = read(folder.path / "status.json")
        assert status["reason"] is None or status["reason"] == f"{status['step']} " * 5000
        steps.add(status["step"])
    assert max(steps) > 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    write_atomically(file, "old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_evaluation_and_pictures(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.evaluation({"last": {"step": 5, "figures": {"fid/inception": 12.5, "kid/inception": math.nan}}})
    found = read(folder.path / "evaluation.json")
    assert found == {"last": {"step": 5, "figures": {"fid/inception": 12.5, "kid/inception": None}}}
    picture = folder.picture("0000005.png")
    assert picture == folder.path / "samples" / "0000005.png" and picture.parent.is_dir() and not picture.exists()


def test_a_picture_does_not_bring_back_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RunFolder(tmp_path / "gone").picture("0000005.png")
    assert not (tmp_path / "gone").exists()
