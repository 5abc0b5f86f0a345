"""Statistics of reals on disk, so that they are computed once on a machine and not once a run.

A file is named by the sha256 over all that made its numbers, and holds that text too. It is written aside and renamed,
one process fills it while others that want it wait, and a file that cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrick import parallel

Tensors = dict[str, Tensor]


def folder() -> Path:
    """$GANTRICK_CACHE, else $XDG_CACHE_HOME/gantrick, else ~/.cache/gantrick; in it `statistics`."""
    own, users = os.environ.get("GANTRICK_CACHE"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(own or os.path.join(users, "gantrick"))) / "statistics"


def stored(
    key: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]], tell: Callable[[str], object] = lambda _: None
) -> Tensors:
    """What `make` gives for `key`, from the disk where it has been made before.

    key: plain values that decide every bit of the outcome. Several processes of a run all call it and all make it, or
    none. A disk that cannot be written to is told, and the statistics are made anew the next time.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    with _alone_at(path):
        found = _read(path, text)
        if all(parallel.exchange(found is not None)):
            return found or {}
        made = {name: tensor.cpu() for name, tensor in make().items()}
        if parallel.writes():
            try:
                _write(path, text, made)
            except OSError as error:
                tell(
                    f"{path.parent}: the reference statistics cannot be kept ({error.strerror or error}), so the next "
                    "run computes them again; make room, or set GANTRICK_CACHE to another folder"
                )
    return made


def _read(path: Path, text: str) -> Tensors | None:
    try:
        # opened here, as numpy leaves what it cannot read open; a zip, whose parts have checksums
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    if str(found.pop("key", "")) != text:
        return None
    return {name: torch.from_numpy(array) for name, array in found.items()}


def _write(path: Path, text: str, tensors: Tensors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
            np.savez(file, key=np.array(text), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def _alone_at(path: Path) -> Iterator[None]:
    """One run at a time inside, on this machine; where there are no locks, each for itself."""
    try:
        import fcntl

        if not parallel.writes():
            raise OSError("the writer holds the lock for all")
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)  # ends with the process that holds it
        yield
    finally:
        os.close(held)
