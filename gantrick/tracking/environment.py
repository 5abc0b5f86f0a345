"""What a run ran on: versions, device, commit and command. Every entry that cannot be found out is null."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "hydra-core", "omegaconf", "pytorch-fid", "wandb")


def environment(device: torch.device | str) -> dict[str, Any]:
    """A plain mapping, for environment.json. Raises nothing."""
    commit = _try(lambda: _git("rev-parse", "HEAD"))
    return {
        "started": _try(lambda: datetime.now().astimezone().isoformat(timespec="seconds")),
        "command": _try(lambda: shlex.join(sys.argv)),
        "working_directory": _try(os.getcwd),
        "host": _try(socket.gethostname),
        "platform": _try(platform.platform),
        "device": str(device),
        "device_name": _try(lambda: _device_name(torch.device(device))),
        "cpus": _try(os.cpu_count),
        "cpus_allowed": _try(lambda: len(os.sched_getaffinity(0))),  # fewer in a container or under a scheduler
        "threads": _try(torch.get_num_threads),
        "cuda": torch.version.cuda,
        "git": None if commit is None else {"commit": commit, "dirty": _try(_dirty)},
        "versions": {
            "gantrick": _try(_own_version),
            "python": platform.python_version(),
            **{name: _try(lambda name=name: metadata.version(name)) for name in PACKAGES},  # type: ignore[misc]
        },
    }


def _try(ask: Callable[[], Any]) -> Any:
    with suppress(Exception):
        return ask()
    return None


def _own_version() -> str:
    from gantrick import __version__

    return __version__


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _dirty() -> bool:
    return bool(_git("status", "--porcelain", "--untracked-files=no"))


def _git(*words: str) -> str:
    """Of the repository around the working directory. Takes no locks: the runs of a sweep ask at the same moment."""
    done = subprocess.run(
        ["git", *words],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return done.stdout.strip()
