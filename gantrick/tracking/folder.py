"""The run folder: plain YAML, JSON and PNG files that can be read without gantrick, each whole at any moment."""

from __future__ import annotations

import errno
import json
import math
import numbers
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Literal

import yaml

from gantrick.types import GantrickError

WAIT = 6  # seconds that a folder in use is waited for: workers outlive their killed process by up to five
State = Literal["running", "finished", "failed", "preempted"]


class RunFolder:
    """The files of one run. Rows are appended and flushed one by one; everything else is replaced in one move.

    writes: False for a process of the run that leaves the writing to another; its calls write nothing.
    """

    def __init__(self, path: Path, writes: bool = True):
        self.path, self.writes = Path(path), writes

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Makes the folder and holds it against another process inside. Raises GantrickError where one has it.

        The lock is the system's own, on the folder itself, and ends with the process; where the system or the file
        system has none, nothing is held. What a killed process leaves running may hold it for a moment longer.
        """
        if not self.writes:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl

            held = os.open(self.path, os.O_RDONLY)
        except (ImportError, OSError):
            yield
            return
        try:
            for left in reversed(range(WAIT * 10)):
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not left:
                        raise GantrickError(
                            f"{self.path}: another process is training this run; wait for it, or stop it first"
                        ) from None
                    time.sleep(0.1)
                except OSError:
                    break
            yield
        finally:
            os.close(held)

    def open(self, resolved: Mapping[str, Any], plan: str, environment: Mapping[str, Any]) -> None:
        """Makes the folder and writes config.yaml, plan.txt, environment.json, and that the run is running."""
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        for left_over in self.path.glob(".*.partial"):  # of a process that was killed while it wrote
            left_over.unlink(missing_ok=True)
        config = yaml.safe_dump(_plain(resolved), sort_keys=False, allow_unicode=True, width=120)
        write_atomically(self.path / "config.yaml", config)
        write_atomically(self.path / "plan.txt", plan if plan.endswith("\n") else plan + "\n")
        write_atomically(self.path / "environment.json", _json(environment, indent=2))
        rows = self.rows()
        self.status("running", rows[-1].get("step", 0) if rows else 0)

    def row(self, values: Mapping[str, float | int | str | None]) -> None:
        """Appends one line to metrics.jsonl. JSON has no NaN: such a value is null, its name is in `non_finite`."""
        row = {key: _plain(value) for key, value in values.items()}
        bad = [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        if bad:
            row |= {key: None for key in bad} | {"non_finite": bad}
        self.append(self._metrics.name, row)

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """One more line in a file of JSON lines, whole or not at all."""
        if not self.writes:
            return
        path, line = self.path / name, _json(row).encode()
        with open(path, "a+b", buffering=0) as file:
            _drop_cut_line(file)
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line without its end, of a run that was killed, is none."""
        return [row for _, row in self._lines()]

    def cut(self, step: int) -> None:
        """Drops the rows past a step: those that a run resumed from it will write again."""
        if not self.writes:
            return
        lines = self._lines()
        kept = [line for line, row in lines if row.get("step", 0) <= step]
        if self._metrics.exists():
            write_atomically(self._metrics, "".join(kept))

    def state(self) -> str | None:
        """The state that status.json tells, None where it cannot be read."""
        try:
            found = json.loads((self.path / "status.json").read_text(encoding="utf-8"))["state"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(found)

    def status(self, state: State, step: int, reason: str | None = None, **more: Any) -> None:
        """Replaces status.json. A `running` whose heartbeat (Unix time, seconds) is old was killed."""
        if not self.writes:
            return
        now = time.time()
        values = {
            "state": state,
            "step": step,
            "reason": reason,
            "heartbeat": now,
            "heartbeat_iso": datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            **more,
        }
        write_atomically(self.path / "status.json", _json(values, indent=2))

    def evaluation(self, report: Mapping[str, Any]) -> None:
        """Replaces evaluation.json: figures and their protocols."""
        if self.writes:
            write_atomically(self.path / "evaluation.json", _json(report, indent=2))

    def picture(self, name: str) -> Path:
        """Where a picture of this name goes, its folder made; the run's own folder must be there."""
        path = self.path / "samples" / name
        if self.writes:
            path.parent.mkdir(exist_ok=True)
        return path

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def _lines(self) -> list[tuple[str, dict[str, Any]]]:
        try:
            text = self._metrics.read_bytes()
        except FileNotFoundError:
            return []
        lines = []
        for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(keepends=True), 1):
            try:
                row = dict(json.loads(line))
                if not isinstance(row.get("step", 0), int):
                    raise ValueError("a step is a whole number")
                lines.append((line.decode(), row))
            except (ValueError, TypeError):
                raise GantrickError(f"{self._metrics}:{number}: not a row of JSON; remove the line") from None
        return lines


def write_atomically(path: Path, text: str) -> None:
    """Writes aside, flushes to disk and renames: a reader finds the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say of which file
    finally:
        partial.unlink(missing_ok=True)


def _drop_cut_line(file: BinaryIO) -> None:
    """A write that was cut short must not run into the next row."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _json(values: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(_finite(_plain(values)), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """The value in the types that JSON and YAML have; a number of numpy's is a number, anything else is its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [_plain(entry) for entry in value]
    return str(value)
