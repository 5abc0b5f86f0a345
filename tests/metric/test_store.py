from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrick.metric._store import folder, stored

KEY = {"of": "these", "count": 3}


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANTRICK_CACHE", str(tmp_path))
    return tmp_path / "statistics"


class Maker:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, Tensor]:
        self.times += 1
        return {"mean": torch.arange(3.0), "count": torch.tensor(7)}


def test_made_once_and_read_after_bit_for_bit() -> None:
    make = Maker()
    first, second = stored(KEY, make), stored(KEY, make)
    assert make.times == 1
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor) and second[name].dtype == tensor.dtype
    stored({**KEY, "count": 4}, make)
    assert make.times == 2


def test_where_it_lies(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == own
    monkeypatch.delenv("GANTRICK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert folder() == Path("/x/gantrick/statistics")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path.home() / ".cache/gantrick/statistics"


@pytest.mark.parametrize("damage", ["empty", "short", "bytes", "text", "another key", "no key", "pickle"])
def test_a_file_that_is_no_good_is_made_anew(own: Path, damage: str) -> None:
    make = Maker()
    stored(KEY, make)
    (file,) = own.glob("*.npz")
    data = file.read_bytes()
    if damage == "another key":
        np.savez(file, key=np.array("other"), mean=np.ones(3))
    elif damage == "no key":
        np.savez(file, mean=np.ones(3))
    elif damage == "pickle":
        np.savez(file, key=np.array([{}], dtype=object))
    else:
        changed = bytearray(data)
        changed[data.index(b"mean.npy") + 150] ^= 255
        file.write_bytes({"empty": b"", "short": data[:-30], "bytes": bytes(changed), "text": b"text"}[damage])
    assert torch.equal(stored(KEY, make)["mean"], torch.arange(3.0))
    assert make.times == 2
    stored(KEY, make)
    assert make.times == 2


def test_a_failure_leaves_nothing_and_is_not_hidden(own: Path) -> None:
    def fail() -> dict[str, Tensor]:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        stored(KEY, fail)
    assert not list(own.glob("*.npz"))


def test_several_processes_make_it_once(tmp_path: Path) -> None:
    code = (
        "import sys, time, torch; from gantrick.metric._store import stored\n"
        "def make():\n    open(sys.argv[1], 'a').write('made '); time.sleep(1); return {'x': torch.ones(2)}\n"
        "assert stored({'a': 1}, make)['x'].sum() == 2"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "log")]
    running = [subprocess.Popen(words, env=dict(os.environ)) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert (tmp_path / "log").read_text() == "made "


def test_one_that_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    code = (
        "import sys, time, torch; from gantrick.metric._store import stored\n"
        "def make():\n    open(sys.argv[1], 'w').write('x'); time.sleep(60)\n"
        f"stored({KEY!r}, make)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")])
    while not (tmp_path / "log").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    make = Maker()
    stored(KEY, make)
    assert make.times == 1
