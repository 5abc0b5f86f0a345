"""Atomic save and load of everything a run's future depends on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from gantrick.types import GantrickError

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes aside, flushes to disk and renames: a reader finds the old checkpoint or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a checkpoint; tensors and plain values only, no code is run. Raises GantrickError."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise GantrickError(f"{path}: there is no such checkpoint; name a run folder that has been trained") from None
    except Exception as error:  # a spoilt file fails in many ways, all of them this one
        raise GantrickError(f"{path}: not a readable checkpoint ({type(error).__name__}); take another one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise GantrickError(f"{path}: not a checkpoint of this version of gantrick; use the version that wrote it")
    return state


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of torch's own random streams, as tensors."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"].cpu())
