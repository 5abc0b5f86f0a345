"""What the other jobs of a run's sweep have found so far, read from their folders: nobody else knows of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SWEEP = "sweep.json"  # in a sweep's folder: the words that it was started with


def sweep_of(folder: Path) -> Path | None:
    """The folder of the sweep that a run is a job of."""
    return next((parent for parent in folder.absolute().parents if (parent / SWEEP).is_file()), None)


@dataclass
class _Curve:
    """What has been read of a file, and how far."""

    offset: int = 0
    values: dict[int, float] = field(default_factory=dict)


class Peers:
    """The curves of one figure in the other jobs of the sweep that a folder belongs to."""

    def __init__(self, folder: Path, figure: str):
        self._own, self._sweep, self._figure = folder.absolute(), sweep_of(folder), figure
        self._curves: dict[Path, _Curve] = {}

    @property
    def of_a_sweep(self) -> bool:
        return self._sweep is not None

    def until(self, step: int, fingerprint: str) -> list[list[float]]:
        """The values up to a step of each other job that has come as far, under the protocol of this fingerprint.

        Those of step 0, before training, are left out, and so is what cannot be read: a job may be writing it, or gone.
        """
        found = []
        for job in self._jobs():
            try:
                values = self._read(job / "metrics.jsonl")
                if values and max(values) >= step and self._fingerprint(job) == fingerprint:
                    found.append([value for at, value in sorted(values.items()) if 0 < at <= step])
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return [values for values in found if values]

    def _jobs(self) -> Iterator[Path]:
        if self._sweep is not None:
            for file in sorted(self._sweep.glob("**/metrics.jsonl")):
                if file.parent != self._own:
                    yield file.parent

    def _read(self, path: Path) -> dict[int, float]:
        """The figure by its step. Only what was added since the last time is read; a job that is resumed drops rows."""
        curve = self._curves.setdefault(path, _Curve())
        if path.stat().st_size < curve.offset:
            curve = self._curves[path] = _Curve()
        with open(path, "rb") as file:
            file.seek(curve.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]  # the last row may not be complete yet
        name = json.dumps(self._figure).encode()
        for line in whole.splitlines():
            if name in line:
                row: dict[str, Any] = json.loads(line)
                if isinstance(row.get(self._figure), (int, float)):
                    curve.values[int(row["step"])] = float(row[self._figure])
        curve.offset += len(whole)
        return curve.values

    def _fingerprint(self, job: Path) -> str:
        report = json.loads((job / "evaluation.json").read_text(encoding="utf-8"))
        return str(report["last"]["protocol"][self._figure]["fingerprint"])
