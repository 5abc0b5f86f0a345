"""The GPUs of a machine, dealt out among the jobs of a sweep that run beside each other on it.

A job holds as many as it has processes, and waits while there are too few that are free. The holding is done by the
system's file locks, which end with their process, so that a killed job leaves nothing behind and two sweeps on one
machine do not meet. Slurm and Ray deal out their own.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

VARIABLE = "CUDA_VISIBLE_DEVICES"
_kept: dict[str, int] = {}  # what this process has used, which CUDA binds it to, and the locks on it
_pool: list[str] | None = None  # what this process saw before it was dealt any


def pool(variable: str | None, there: int) -> list[str]:
    """The names of the GPUs that may be used: those of CUDA_VISIBLE_DEVICES, up to the first that is none, or all."""
    if variable is None:
        return [str(number) for number in range(there)]
    names: list[str] = []
    for name in (word.strip() for word in variable.split(",")):
        if not name or name == "-1" or name in names:
            break  # as CUDA reads it
        names.append(name)
    return names


def turn(names: Sequence[str], job: int, count: int) -> list[str]:
    """All of them, beginning with those that a job of `count` processes would have if all jobs began at once."""
    start = job * count % len(names) if names else 0
    return [*names[start:], *names[:start]]


@contextmanager
def dealt(job: int, count: int, sharing: int, tell: Callable[[str], object]) -> Iterator[list[str]]:
    """Inside, this process and those that it starts see `count` GPUs, which at most `sharing` jobs hold at once.

    None are dealt where there are too few, or none. A process that has used its GPU keeps it, for its next job.
    """
    global _pool
    if _pool is None:
        _pool = pool(os.environ.get(VARIABLE), torch.cuda.device_count())
    own = list(_kept)
    if own and count == 1:
        yield own
        return
    if not 0 < count <= len(_pool):  # what is asked for cannot be had, which the run itself says
        yield []
        return
    others = [name for name in turn(_pool, job, count) if name not in own]
    taken = _wait(others, count - len(own), sharing, tell)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join([*own, *taken])
    try:
        yield [*own, *taken]
    finally:
        if count == 1 and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            _kept.update(taken)
        else:
            _release(taken)
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before


def _wait(names: Sequence[str], count: int, sharing: int, tell: Callable[[str], object]) -> dict[str, int]:
    told = False
    while not (taken := _take(names, count, sharing)):
        if not told:
            tell(f"waiting for {'a GPU' if count == 1 else f'{count} GPUs'}: other jobs hold {', '.join(names)}")
        told = True
        time.sleep(random.uniform(0.5, 1.5))  # two that wait for several must not take turns at failing
    return taken


def _take(names: Sequence[str], count: int, sharing: int) -> dict[str, int]:
    """Locks on the first `count` that have room, or none at all."""
    taken: dict[str, int] = {}
    for place in range(sharing):  # an empty GPU before a second job on another
        for name in names:
            if name not in taken and (held := _lock(f"{name}.{place}")) is not None:
                taken[name] = held
            if len(taken) == count:
                return taken
    _release(taken)
    return {}


def _lock(name: str) -> int | None:
    """A lock on this name that no other process has. A system without file locks has none to wait for."""
    folder = Path(tempfile.gettempdir()) / f"gantrick-gpus-{getattr(os, 'getuid', int)()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = os.open(folder / name.replace("/", "-"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return held
    except OSError:
        os.close(held)
        return None
    return held


def _release(taken: dict[str, int]) -> None:
    for held in taken.values():
        os.close(held)
