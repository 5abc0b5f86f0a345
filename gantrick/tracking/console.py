"""What a run tells the person who started it: a progress bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

FRAME = 0.2  # seconds between pictures of the bar
LINE = 30.0  # seconds between lines where there is no terminal


class Console:
    """Header, progress, events and closing of a run. A stream that breaks silences it; training goes on.

    quiet: nothing is told at all, warnings neither (the other processes of a run, tests).
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False):
        self.quiet = quiet
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="replace")  # a × must not end a run where the locale is ASCII
        self._rich: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._total, self._step, self._told = 0, 0, -1
        self._values: dict[str, float] = {}
        self._figure: str | None = None
        self._next = float("inf")
        self._since: tuple[float, int] | None = None

    def header(self, lines: Mapping[str, str]) -> None:
        """What is about to run, one aligned line each."""
        width = max(map(len, lines), default=0)
        for name, text in lines.items():
            self._tell(f"{name:<{width}}  {text}")

    def warn(self, sentence: str) -> None:
        self._tell(f"warning: {sentence}", "yellow")

    def start(self, total: int, done: int = 0, figure: str | None = None) -> None:
        """Begins the progress at `done` of `total` steps. figure: the metric shown with it once `step` is given one."""
        self._total, self._step, self._figure = total, done, figure
        self._next = 0.0
        self._guard(self._start_bar)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Progress. Called at every step: without news, and until the next picture is due, it costs a clock reading."""
        if self.quiet:
            return
        self._step = step
        if values:
            self._values |= values
        now = time.monotonic()
        if self._since is None:
            self._since = now, step
        # Elsewhere than on a terminal the first line waits for the first losses.
        if now < self._next or not (self._terminal or self._values):
            return
        if self._bar is not None:
            self._next = now + FRAME
            self._guard(self._draw)
        else:
            self._line(now)

    def event(self, text: str) -> None:
        """Something that happened, above the bar: an evaluation's figures, a checkpoint."""
        self._tell(text)

    def stop(self) -> None:
        """Ends the progress and leaves its last state standing."""
        if self._bar is not None:
            self._guard(self._draw)
            bar, self._bar = self._bar, None
            with suppress(OSError, ValueError):
                bar.stop()  # even of a broken terminal: it has taken sys.stdout
        elif self._next != float("inf") and self._step != self._told:
            self._line(time.monotonic())
        self._next = float("inf")

    def closing(self, lines: Sequence[str]) -> None:
        """What was reached, where it is, what next."""
        for line in lines:
            self._tell(line)

    # --- the line and the bar ------------------------------------------------------------------------------------

    def _line(self, now: float) -> None:
        self._next, self._told = now + LINE, self._step
        percent = 100 * self._step // max(self._total, 1)
        self._tell(f"step {self._step:,}/{self._total:,} ({percent}%)  {self._news(now)}".rstrip())

    def _news(self, now: float) -> str:
        parts = []
        if "images_per_second" in self._values:
            parts.append(f"{self._values['images_per_second']:,.0f} images/s")
        losses = [
            f"{player} {self._values[f'loss/{player}']:.3g}" for player in "dg" if f"loss/{player}" in self._values
        ]
        if losses:
            parts.append("loss " + " ".join(losses))
        if self._figure in self._values:
            parts.append(f"{self._figure} {self._values[self._figure]:.4g}")
        if self._since is not None and self._since[1] < self._step < self._total:
            started, first = self._since
            parts.append(f"{duration((now - started) / (self._step - first) * (self._total - self._step))} left")
        return "  ".join(parts)

    def _start_bar(self) -> None:
        if not self._terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("step {task.completed:,}/{task.total:,}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[news]}", markup=False),
            console=self._terminal_console(),
            auto_refresh=False,  # no thread beside the training; `step` draws
        )
        self._task = self._bar.add_task("", total=self._total, completed=self._step, news="")
        self._bar.start()

    def _draw(self) -> None:
        self._bar.update(self._task, completed=self._step, news=self._news(time.monotonic()), refresh=True)

    # --- the stream ----------------------------------------------------------------------------------------------

    def _terminal_console(self) -> Any:
        if self._rich is None:
            from rich.console import Console as Rich

            self._rich = Rich(file=self._stream, force_terminal=True, highlight=False)  # it honours NO_COLOR itself
        return self._rich

    def _tell(self, text: str, style: str = "") -> None:
        def say() -> None:
            if self._terminal:
                self._terminal_console().print(text, style=style, markup=False, emoji=False, soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)

        self._guard(say)

    def _guard(self, act: Callable[[], object]) -> None:
        """The reader of a pipe may leave, a terminal may hang up, a disk may be full: no reason to stop training."""
        if self.quiet:
            return
        try:
            act()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.quiet = True


class Meanwhile:
    """Progress of a command that draws samples, on a terminal's stderr and nowhere else; time left with it."""

    def __init__(self, quiet: bool = False, what: str = "fakes"):
        self._bar: Any = None
        self.what = what
        if not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console as Rich
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn()
            self._bar = Progress(*columns, console=Rich(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=None)

    def beat(self, done: int, count: int) -> None:
        if self._bar is not None:
            if done == 0 or (self._bar.tasks[0].completed or 0) > done:
                self._bar.reset(self._task)
            self._bar.update(self._task, completed=done, total=count)

    def __enter__(self) -> Meanwhile:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """42 s, 12 min, 3.4 h, 2.1 days."""
    for unit, length, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 48 * 3600)):
        if seconds < limit:
            return f"{seconds / length:.1f} {unit}" if unit == "h" else f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
