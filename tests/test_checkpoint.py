"""A checkpoint is the old one or the new one, holds no code, and says in a sentence what is wrong with it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe

from gantrick import checkpoint
from gantrick.types import GantrickError

DEVICE = torch.device("cpu")


def state(value: float) -> dict[str, Any]:
    return {
        "step": int(value),
        "gan": {},
        "weights": torch.full((1000,), value),
        "nested": {"list": [1, 2.5, None, "text"], "yes": True},
    }


def same(a: Any, b: Any) -> bool:
    return torch.equal(a["weights"], b["weights"]) and a["step"] == b["step"] and a["nested"] == b["nested"]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    checkpoint.save(path, state(1))
    checkpoint.save(path, state(2))
    assert same(checkpoint.load(path), state(2))
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"], "nothing is left beside it"


def test_a_gan_comes_back_bit_for_bit(tmp_path: Path) -> None:
    made = recipe("wgan", {"gp": {}}, {"ema": {}, "spectral_norm": {}, "instance_noise": {}})
    one, two = Game(made).rounds(3), Game(made, seed=4)
    checkpoint.save(
        tmp_path / "last.pt", {"step": 3, "gan": one.gan.state_dict(), "random": checkpoint.random_states(DEVICE)}
    )
    read = checkpoint.load(tmp_path / "last.pt", DEVICE)
    two.gan.load_state_dict(read["gan"])
    assert equal(one.state(), two.state())
    expected = torch.randn(5)
    torch.manual_seed(77)
    checkpoint.restore_random_states(read["random"], DEVICE)
    assert torch.equal(torch.randn(5), expected)


@pytest.mark.parametrize("where", ["torch.save", "os.fsync", "os.replace"])
def test_a_writer_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A full disk at any moment: the error is told, the old one is whole, and no part of the new one lies about."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1))

    def fails(*args: Any) -> None:
        if where == "torch.save":
            args[1].write(b"half of a")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(where, fails)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(path, state(2))
    assert same(checkpoint.load(path), state(1))
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from gantrick import checkpoint
where, real = sys.argv[2], {"os.fsync": os.fsync, "os.replace": os.replace}
def die(*args):
    if where == "after os.replace":
        real["os.replace"](*args)
    if where == "torch.save":
        args[1].write(b"half of a"); args[1].flush()
    os.kill(os.getpid(), signal.SIGKILL)
module, name = where.split()[-1].split(".")
setattr({"os": os, "torch": torch}[module], name, die)
checkpoint.save(Path(sys.argv[1]), {"step": 2, "gan": {}, "weights": torch.full((1000,), 2.0), "nested": {}})
"""


@pytest.mark.parametrize(
    ("where", "step"), [("torch.save", 1), ("os.fsync", 1), ("os.replace", 1), ("after os.replace", 2)]
)
def test_a_writer_that_is_killed_leaves_a_whole_one(tmp_path: Path, where: str, step: int) -> None:
    """kill -9 before the name changes leaves the old one, after it the new one; the next writer is not disturbed."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1))
    root = str(Path(checkpoint.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), where], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    read = checkpoint.load(path)
    assert read["step"] == step and read["weights"].eq(float(step)).all()
    checkpoint.save(path, state(3))
    assert same(checkpoint.load(path), state(3))


def test_it_is_flushed_to_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that a power cut asks for: write, fsync of the same file, rename within the folder."""
    happened: list[tuple[str, Any]] = []
    fsync, replace = os.fsync, os.replace

    def on_fsync(number: int) -> None:
        happened.append(("fsync", os.fstat(number).st_ino))
        fsync(number)

    def on_replace(source: Path, target: Path) -> None:
        happened.append(("replace", os.stat(source).st_ino))
        assert Path(source).parent == Path(target).parent and zipfile.is_zipfile(source)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", on_fsync)
    monkeypatch.setattr(os, "replace", on_replace)
    checkpoint.save(tmp_path / "last.pt", state(1))
    assert [what for what, _ in happened] == ["fsync", "replace"] and happened[0][1] == happened[1][1]


class Touches:
    """Pickled, it creates a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_no_code_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for name, write in {"torch.pt": torch.save, "plain.pt": lambda o, p: p.write_bytes(pickle.dumps(o, 2))}.items():
        write({"format": checkpoint.FORMAT, "step": Touches(trap)}, tmp_path / name)
        with pytest.raises(GantrickError, match=rf"{name}: not a readable checkpoint \(UnpicklingError\)"):
            checkpoint.load(tmp_path / name)
    assert not trap.exists()


def test_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(GantrickError, match=r"last\.pt: there is no such checkpoint; name a run folder"):
        checkpoint.load(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [{"step": 1}, {"format": 0}, {"format": 2}, [1, 2], torch.zeros(3)])
def test_one_of_another_version(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(
        GantrickError, match="not a checkpoint of this version of gantrick; use the version that wrote it"
    ):
        checkpoint.load(tmp_path / "x.pt")


# torch warns of pickles that are not its own before it refuses them
of_torch = pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")


def unreadable() -> dict[str, bytes]:
    """What may lie where a checkpoint should."""
    rng = np.random.default_rng(0)
    noise = {f"noise {i}": rng.integers(0, 256, 300, dtype=np.uint8).tobytes() for i in range(40)}
    first_bytes = {f"begins with {i}": bytes([i]) + b"abc\n\x00\x01" for i in range(256)}
    text = {
        "empty": b"",
        "text": b"hello\n",
        "html": b"<!DOCTYPE html><html></html>",
        "utf-16": "text".encode("utf-16"),
    }
    pickles = {
        "pickled number": pickle.dumps(3),
        "stop": b".",
        "no stop": b"\x80\x04K\x01",
        "zip": b"PK\x03\x04" + b"\0" * 60,
    }
    return {**noise, **first_bytes, **text, **pickles}


@of_torch
def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    """Whatever the bytes are, one sentence with the file's name; never an error of the reader's own."""
    path, escaped = tmp_path / "x.pt", {}
    for name, content in unreadable().items():
        path.write_bytes(content)
        try:
            checkpoint.load(path)
        except GantrickError as error:
            assert str(error).startswith(f"{path}: not a") and "\n" not in str(error)
        except Exception as error:
            escaped[name] = type(error).__name__
    assert escaped == {}


@of_torch
def test_one_that_was_cut_or_spoilt(tmp_path: Path) -> None:
    """Cut anywhere it is refused in a sentence; with a byte changed it is so, or another state: no other error."""
    path, escaped = tmp_path / "x.pt", {}
    checkpoint.save(path, state(1))
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for length in [*rng.integers(0, len(whole), 60), len(whole) - 1]:
        path.write_bytes(whole[:length])
        try:
            checkpoint.load(path)
            escaped[f"cut to {length}"] = "nothing"
        except GantrickError as error:
            assert str(error).startswith(f"{path}: not a")
        except Exception as error:
            escaped[f"cut to {length}"] = type(error).__name__
    for place in rng.integers(0, len(whole), 150):
        spoilt = bytearray(whole)
        spoilt[place] ^= int(rng.integers(1, 256))
        path.write_bytes(spoilt)
        try:
            checkpoint.load(path)
        except GantrickError as error:
            assert str(error).startswith(f"{path}: not a")
        except Exception as error:
            escaped[f"byte {place}"] = type(error).__name__
    assert escaped == {}


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(GantrickError, match=r"not a readable checkpoint \(IsADirectoryError\)"):
        checkpoint.load(tmp_path)


def test_the_last_falls_back_to_the_furthest_that_can_be_read(tmp_path: Path) -> None:
    told: list[str] = []
    assert checkpoint.latest(tmp_path, told.append) is None
    for step in (2, 4, 6):
        checkpoint.save_last(tmp_path, state(step))
    checkpoint.save(tmp_path / "best.pt", state(5))
    checkpoint.save_to_stay(tmp_path, state(3), None)
    assert checkpoint.latest(tmp_path, told.append)["step"] == 6 and not told
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:-200])
    assert checkpoint.latest(tmp_path, told.append)["step"] == 4, "the best is of the middle of a step"
    assert "last.pt: not a readable checkpoint" in told[0] and "going on from previous.pt, of step 4" in told[0]
    (tmp_path / "last.pt").unlink()
    (tmp_path / "previous.pt").unlink()
    assert checkpoint.latest(tmp_path, told.append)["step"] == 3
    assert "last.pt: there is no such checkpoint; going on from 0000003.pt, of step 3" in told[-1]
    (tmp_path / "0000003.pt").write_bytes(b"PK")
    assert checkpoint.latest(tmp_path, told.append)["step"] == 5 and "going on from best.pt" in told[-1]
    (tmp_path / "best.pt").write_bytes(b"")
    with pytest.raises(GantrickError, match="there is no such checkpoint"):
        checkpoint.latest(tmp_path, told.append)


def test_of_those_that_stay_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 100_000_000, 11):
        checkpoint.save_to_stay(tmp_path, state(step), 3)
    assert [path.stem for path in checkpoint.numbered(tmp_path)] == ["100000000", "0000011", "0000010"]


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.save_last(tmp_path / "gone" / "checkpoints", state(1))
    assert not (tmp_path / "gone").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is Linux's")
def test_a_full_disk_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's writer turns it into a RuntimeError about positions in a file."""
    real = open
    monkeypatch.setattr("builtins.open", lambda path, mode="r", *a, **k: real("/dev/full", mode, *a, **k))
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path / "last.pt", state(1))
