"""What a run ran on, against git and the modules themselves."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrick import __version__
from gantrick.tracking.environment import environment


def git(*words: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *author, *words], check=True, capture_output=True, text=True).stdout.strip()


def test_versions_device_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gantrick", "train", "name=two words"])
    found = json.loads(json.dumps(environment(torch.device("cpu"))))
    assert found["versions"]["gantrick"] == __version__
    assert found["versions"]["python"] == platform.python_version()
    assert torch.__version__.startswith(found["versions"]["torch"].partition("+")[0])
    assert found["command"] == "gantrick train 'name=two words'"
    assert found["device"] == "cpu" and found["device_name"]
    assert found["cpus"] == os.cpu_count() and found["threads"] == torch.get_num_threads()
    assert found["host"] == socket.gethostname() and found["platform"] == platform.platform()
    age = datetime.now().astimezone() - datetime.fromisoformat(found["started"])
    assert 0 <= age.total_seconds() < 60


def test_the_commit_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment("cpu")["git"] is None
    git("init", "-q")
    assert environment("cpu")["git"] is None  # no commit yet
    (tmp_path / "a.txt").write_text("one")
    git("add", "a.txt")
    git("commit", "-q", "-m", "one")
    assert environment("cpu")["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new.txt").write_text("not added")
    assert environment("cpu")["git"]["dirty"] is False
    (tmp_path / "a.txt").write_text("two")
    assert environment("cpu")["git"]["dirty"] is True


def test_nothing_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Callable[..., Any]:
        raise OSError("not here")

    for module, name in ((subprocess, "run"), (socket, "gethostname"), (os, "getcwd"), (os, "cpu_count")):
        monkeypatch.setattr(module, name, broken)
    found = environment("cuda:99")
    gone = ("git", "host", "working_directory", "cpus", "device_name")
    assert [found[key] for key in gone] == [None] * len(gone)
    assert found["versions"]["python"] and found["device"] == "cuda:99"
