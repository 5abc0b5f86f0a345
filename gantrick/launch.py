"""`devices=N`: starts the N processes of a run on this machine, watches over them, and tells how they ended.

torchrun does the first two as well, but it prints a report of its own where here one sentence is said, and ends every
run that was asked to stop with code 1. The processes find each other by torchrun's variables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from gantrick import parallel, stopping, trainer
from gantrick.recipe import Recipe, check
from gantrick.tracking.folder import RunFolder
from gantrick.types import ConfigError, GantrickError

GRACE = 30.0  # seconds in which the others end by themselves when one has failed; as long again until they are killed


def run(
    recipe: Recipe, folder: Path, *, command: str | None = None, sweep: str | None = None, resume: bool = False
) -> int:
    """Trains a recipe in a folder with as many processes as it asks for, and returns the exit code.

    Raises GantrickError with why it failed, ConfigError where it was refused.
    """
    if recipe.settings.devices == 1 or parallel.world() > 1:
        return trainer.run(recipe, folder, command=command, sweep=sweep, resume=resume)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=parallel.ANSWER)
    given = {"folder": str(folder), "command": command, "sweep": sweep, "resume": resume, "resolved": recipe.resolved}
    signals: list[int] = []  # that were handed on
    with _started(recipe.settings.devices, store.port, json.dumps(given).encode(), signals) as processes:
        _watch(processes, store, folder, signals)
    codes = [process.returncode for process in processes]
    if store.check([parallel.FAILURE]):
        failure = json.loads(store.get(parallel.FAILURE))
        _close(folder, failure["reason"])
        if failure["code"] == 2:
            raise ConfigError(*failure["reason"].splitlines())
        raise GantrickError(failure["reason"])
    return 128 + signals[0] if signals and any(codes) else next((code for code in codes if code), 0)


@contextmanager
def _started(count: int, port: int, given: bytes, signals: list[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, each in a session of its own: a Ctrl-C reaches this process, which hands it on once."""
    threads = str(max(1, (os.cpu_count() or 1) // count))
    processes: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, frame: Any) -> None:
        signals.append(number)
        for process in processes:
            process.send_signal(number)

    before = {}
    for number in stopping.ENDS:
        with suppress(ValueError):  # not the main thread: its owner decides
            before[number] = signal.signal(number, hand_on)
    try:
        for rank in range(count):
            variables = {
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is here, and outlives any of them
                "TORCHELASTIC_RESTART_COUNT": "0",
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "gantrick.launch"],
                stdin=subprocess.PIPE,
                env={**os.environ, **variables},
                start_new_session=True,
            )
            processes.append(process)
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(given)
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(processes: Sequence[subprocess.Popen[bytes]], store: Store, folder: Path, signals: Sequence[int]) -> None:
    """Returns when all have ended: by themselves, or within twice GRACE of the first that failed."""
    until = float("inf")
    asked = False
    while None in [process.poll() for process in processes]:
        for rank, process in enumerate(processes):
            if process.returncode and until == float("inf"):
                until = time.monotonic() + GRACE
                if process.returncode < 0 and not signals:  # it could not say so itself
                    name = signal.Signals(-process.returncode).name
                    reason = f"process {rank} of {len(processes)} was ended by {name}"
                    reason += " (out of memory?)" if name == "SIGKILL" else ""
                    remedy = f"{reason}; go on with: gantrick train resume={folder}"
                    store.compare_set(parallel.FAILURE, "", json.dumps({"process": None, "reason": remedy, "code": 1}))
        if time.monotonic() > until:
            for process in processes:
                if process.poll() is None:
                    process.kill() if asked else process.terminate()
            until, asked = time.monotonic() + GRACE, True
        time.sleep(0.05)


def _close(folder: Path, reason: str) -> None:
    """Says in status.json that the run failed, where the process that writes it could not."""
    file = RunFolder(folder)
    with suppress(OSError, ValueError, KeyError):
        status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
        if status["state"] == "running":
            file.status("failed", status["step"], reason)


def told(error: Exception) -> tuple[str, int]:
    """Why a process fails, in a sentence, and its exit code."""
    if isinstance(error, parallel.Lost):
        return parallel.cause(f"another process of the run has ended ({error}); start it again"), 1
    if isinstance(error, ConfigError):
        return str(error), 2
    if isinstance(error, GantrickError):
        return str(error), 1
    return f"{type(error).__name__}: {error} (unexpected; --traceback shows where)", 1


def main() -> int:
    """One of the processes: what to do comes by standard input, why it failed goes to whoever started it."""
    given = json.loads(sys.stdin.buffer.read())
    try:
        parallel.start()
        return trainer.run(
            check(given["resolved"]),
            Path(given["folder"]),
            command=given["command"],
            sweep=given["sweep"],
            resume=given["resume"],
        )
    except Exception as error:
        if os.environ.get("GANTRICK_DEBUG") == "1":
            traceback.print_exc()
        reason, code = told(error)
        parallel.report(reason, code)
        return code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
