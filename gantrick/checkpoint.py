"""Atomic save and load of everything a run's future depends on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gantrick.types import GantrickError

FORMAT = 1


def save(path: Path, state: dict[str, Any], before: Path | None = None) -> None:
    """Writes aside, flushes to disk and renames: a reader finds the old checkpoint or the new, never a part.

    before: where the old one goes instead of being replaced. The run's own folder must be there; it is not made anew.
    """
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            with suppress(FileNotFoundError):
                os.replace(path, before)
        os.replace(partial, path)
    except RuntimeError as error:
        raise _as_os_error(error, path) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _as_os_error(error: RuntimeError, path: Path) -> Exception:
    """What torch's writer makes of a full disk ("unexpected pos …"), as the system told it; else the error itself."""
    cause = error.__context__
    if isinstance(cause, OSError):
        return OSError(cause.errno, cause.strerror, str(path))
    said = str(error).partition("\n")[0]
    writer = any(word in said for word in ("unexpected pos", "PytorchStreamWriter", "iostream", "basic_ios"))
    return OSError(errno.EIO, said, str(path)) if writer else error


def save_last(folder: Path, state: dict[str, Any]) -> None:
    """last.pt, with the one before it kept as previous.pt."""
    save(folder / "last.pt", state, folder / "previous.pt")


def save_to_stay(folder: Path, state: dict[str, Any], limit: int | None) -> None:
    """The checkpoint of this step under its number; of all such, the newest `limit` are kept."""
    save(folder / f"{state['step']:07d}.pt", state)
    for old in numbered(folder)[limit:] if limit is not None else ():
        old.unlink(missing_ok=True)


def numbered(folder: Path) -> list[Path]:
    """The checkpoints that stay, the newest first."""
    return sorted((path for path in folder.glob("*.pt") if path.stem.isdigit()), key=lambda p: -int(p.stem))


def latest(folder: Path, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """The state to go on from: last.pt, or where that cannot be read the furthest that can, which is told.

    None where there is no checkpoint at all. Raises GantrickError where there are some and none is readable.
    """
    last = folder / "last.pt"
    others = [path for path in (folder / "previous.pt", *numbered(folder)) if path.exists()]
    best = folder / "best.pt"  # written in the middle of a step, so what follows it in the step would be missing
    if not last.exists() and not others and not best.exists():
        return None
    try:
        return load(last)
    except GantrickError as error:
        trouble = error
    furthest: dict[str, Any] | None = None
    for path in (*others, best):
        with suppress(GantrickError):
            if path == best and furthest is not None:
                break
            state = load(path)
            if furthest is None or state["step"] > furthest["step"]:
                furthest, source = state, path
    if furthest is None:
        raise trouble
    tell(f"{str(trouble).partition(';')[0]}; going on from {source.name}, of step {furthest['step']:,}")
    return furthest


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a checkpoint; tensors and plain values only, no code is run. Raises GantrickError."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise GantrickError(f"{path}: there is no such checkpoint; name a run folder that has been trained") from None
    except Exception as error:  # a spoilt file fails in many ways, all of them this one
        raise GantrickError(f"{path}: not a readable checkpoint ({type(error).__name__}); take another one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not {"gan", "step"} <= state.keys():
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
