"""The signals that end a run early, and giving the machine back to the scheduler that asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gantrick import parallel
from gantrick.tracking.console import Console

REQUEUE = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
ENDS = (signal.SIGINT, signal.SIGTERM, *REQUEUE)


class Stopping:
    """`by` is the signal that asked the run to end, None while none has. A second one ends it at once."""

    def __init__(self) -> None:
        self.by: int | None = None
        self._handlers: dict[int, Any] = {}  # of whoever had these signals before
        self._noted = 0.0

    @property
    def name(self) -> str:
        return signal.Signals(self.by or signal.SIGTERM).name

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, a signal is noted, and the run looks at `by` after each step."""
        self._handlers = {}
        for number in ENDS:
            with suppress(ValueError):  # not the main thread: its owner decides
                self._handlers[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in self._handlers.items():
                # What started several processes ends the others when one fails; the writer still has to say why.
                signal.signal(number, handler if parallel.world() == 1 else signal.SIG_IGN)

    def _note(self, number: int, frame: Any) -> None:
        if self.by is not None:
            if parallel.world() > 1 and time.monotonic() - self._noted < 5:
                return  # of one Ctrl-C, by way of the terminal and of torchrun
            raise KeyboardInterrupt
        self.by, self._noted = number, time.monotonic()

    def hand_back(self, console: Console) -> None:
        """After a scheduler's signal: a launcher's own handler (submitit's) queues the job again, and a job of Slurm's
        without one is queued again here.
        """
        if self.by not in REQUEUE or not parallel.writes():
            return
        handler, job = self._handlers.get(self.by or 0), os.environ.get("SLURM_JOB_ID")
        if callable(handler):
            handler(self.by, None)
        elif job is not None:
            try:
                subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
                console.event(f"job {job} is queued again")
            except (OSError, subprocess.SubprocessError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip()
                console.warn(f"scontrol requeue {job}: {said}; queue the job again by hand")
