"""Runs side by side: what differs between them, their figures with intervals over seeds, and what they cost.

Run folders are read, or the records of a W&B project, of running and failed runs too; a damaged one is told and left
out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RECORDING = frozenset(
    {"seed", "runs_dir", "name", "tags", "wandb", "device", "devices", "jobs_per_gpu", "published", "imports"}
)
LISTS = ("regularizer", "trick", "metric")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """A figure and the fingerprint of its protocol: only figures that agree in both stand in one column."""

    name: str
    fingerprint: str


@dataclass
class Run:
    """What a run folder tells. best and last: its figures; cost: seconds a step, steps, images."""

    path: Path
    keys: dict[str, str]
    seed: str
    state: str
    reason: str | None
    step: int
    seconds: float
    best: dict[Figure, float] = field(default_factory=dict)
    last: dict[Figure, float] = field(default_factory=dict)
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped: bool = False  # finished before its last step, by a component that watched it


@dataclass
class Group:
    """Runs that differ in nothing but their seed."""

    label: dict[str, str]
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.state == "finished"]

    def figures(self, which: str, figure: Figure) -> list[float]:
        found = (getattr(run, which).get(figure) for run in self.runs)
        return [value for value in found if value is not None]

    @property
    def published(self) -> dict[str, dict[str, Any]]:
        return {name: entry for run in self.runs for name, entry in run.published.items()}


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds and half the width of its interval (Student's t); nan where n < 2."""

    mean: float
    half: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate | None:
        if not values:
            return None
        mean, n = statistics.fmean(values), len(values)
        if n < 2:
            return cls(mean, math.nan, n)
        from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

        return cls(mean, float(stdtrit(n - 1, (1 + confidence) / 2)) * statistics.stdev(values) / math.sqrt(n), n)

    def __str__(self) -> str:
        return f"{self.mean:.4g}" if math.isnan(self.half) else f"{self.mean:.4g} ± {self.half:.2g}"


# --- reading ---------------------------------------------------------------------------------------------------------


def read(folders: Iterable[Path], tell: Callable[[str], object] = lambda sentence: None) -> list[Run]:
    """The runs in these folders, sweeps for their jobs. What cannot be read is told, one sentence each."""
    found = []
    for folder in folders:
        jobs = jobs_of(folder)
        if not jobs:
            tell(f"{folder}: neither a run nor a sweep, it has no config.yaml; it is left out")
        for job in jobs:
            try:
                found.append(_run(job))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
                tell(f"{job}: cannot be read ({type(error).__name__}: {str(error).splitlines()[0]}); it is left out")
    return found


def jobs_of(folder: Path) -> list[Path]:
    """A run itself, a sweep's jobs by their numbers, or none."""
    if (folder / "config.yaml").is_file():
        return [folder]
    return sorted((file.parent for file in folder.glob("*/config.yaml")), key=lambda job: (len(job.name), job.name))


def _run(folder: Path) -> Run:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), Loader=loader)
    status = _json(folder / "status.json") or {}
    row = _last_row(folder / "metrics.jsonl")
    report = _json(folder / "evaluation.json") or {}
    return Run(
        folder,
        _flat(config),
        str(config.get("seed", "")),
        str(status.get("state", "unknown")),
        status.get("reason"),
        int(status.get("step") or 0),
        float(row.get("seconds") or 0.0),
        _figures(report.get("best")),
        _figures(report.get("last")),
        published_of(config),
        any(act.get("act") == "stop" for act in status.get("acts") or ()),
    )


AT_WANDB = {"crashed": "failed", "killed": "failed", "preempting": "preempted"}  # what it calls states of ours


def of_records(
    records: Iterable[Mapping[str, Any]], tell: Callable[[str], object] = lambda sentence: None
) -> list[Run]:
    """The runs of these records of W&B (path, state, config, summary). What gantrick did not write is told."""
    found = []
    for record in records:
        try:
            found.append(_of_record(record))
        except (ValueError, KeyError, TypeError, AttributeError):
            tell(f"{record['path']}: is no run of gantrick's; it is left out")
    return found


def _of_record(record: Mapping[str, Any]) -> Run:
    summary = record["summary"]
    config = {**{name: {} for name in LISTS}, **record["config"]["gantrick"]}  # an empty one may not have been kept
    state = AT_WANDB.get(record["state"], str(record["state"]))
    if state == "failed" and summary.get("status") == "preempted":  # any exit code but 0 is a failure there
        state = "preempted"
    figures: dict[str, dict[Figure, float]] = {"best": {}, "last": {}}
    for key, value in summary.items():
        which, _, name = key.partition("/")
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if which in figures and number and name != "step":
            figures[which][Figure(name, str(summary.get(f"protocol/{name}", "")))] = float(value)
    return Run(
        Path(record["path"]),
        _flat(config),
        str(config.get("seed", "")),
        state,
        summary.get("reason") or None,
        int(summary.get("step") or 0),
        float(summary.get("seconds") or 0.0),
        **figures,
        published=published_of(config),
        stopped=bool(summary.get("stopped_early")),
    )


def published_of(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of others that a config's recipe brings, by who took them: metric, value, protocol, source.

    Without those of another `dataset` than the run's, which a recipe brings where its data were changed, and without
    what is no figure.
    """
    named, data = config.get("published"), config.get("dataset")
    own = data.get("name") if isinstance(data, Mapping) else None
    found = {}
    for name, entry in named.items() if isinstance(named, Mapping) else ():
        if not isinstance(entry, Mapping) or entry.get("dataset", own) != own:
            continue
        value = entry.get("value")
        if isinstance(entry.get("metric"), str) and isinstance(value, (int, float)) and not isinstance(value, bool):
            found[str(name)] = dict(entry)
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _last_row(path: Path) -> dict[str, Any]:
    """The last whole row, found from the end: a long run is not read through."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return {}


def _figures(report: Any) -> dict[Figure, float]:
    if not isinstance(report, Mapping):
        return {}
    protocols = report.get("protocol") or {}
    return {
        Figure(name, str((protocols.get(name) or {}).get("fingerprint", ""))): float(value)
        for name, value in (report.get("figures") or {}).items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    """The config as dotted keys; a list of parts is one key of their names, besides the options of each."""
    found: dict[str, str] = {}

    def put(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, entry in value.items():
                put(f"{prefix}.{key}" if prefix else str(key), entry)
        else:
            found[prefix] = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    for key, value in config.items():
        if key in RECORDING:
            continue
        if key in LISTS:
            found[key] = "+".join(map(str, value or {})) or "none"
        put(str(key), value)
    if isinstance(loss := config.get("loss"), Mapping) and loss.get("recipe"):
        found["loss.name"] = str(loss["recipe"])
    return found


# --- grouping --------------------------------------------------------------------------------------------------------


def groups(runs: Sequence[Run]) -> tuple[list[Group], list[str]]:
    """The runs by all but their seed, in the order they come, and the keys that vary among the groups."""
    by: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        by.setdefault(tuple(sorted(run.keys.items())), []).append(run)
    configs = [dict(key) for key in by]
    every = dict.fromkeys(key for run in runs for key in run.keys)
    varying = [key for key in every if len({config.get(key) for config in configs}) > 1]
    # An option of a part that not all have says no more than that they have it not.
    varying = [
        key
        for key in varying
        if not (key.startswith(tuple(f"{name}." for name in LISTS)) and any(key not in config for config in configs))
        and not (key.endswith(".name") and key.partition(".")[0] in LISTS)
        and key != "loss.brings"
    ]
    labels = [{key: config.get(key, "–") for key in varying} for config in configs]
    return [Group(label, found) for label, found in zip(labels, by.values(), strict=True)], varying


# --- telling ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Column titles and rows of text; `numbers` are the same rows for a program."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def table(runs: Sequence[Run]) -> Table:
    """One row for each group: what varies, how many finished, every figure best and last, seconds a step."""
    found, varying = groups(runs)
    figures = list(dict.fromkeys(f for run in runs for f in (*run.best, *run.last)))
    several = {f.name for f in figures if sum(g.name == f.name for g in figures) > 1}
    titles = {f: f.name + (f" [{f.fingerprint}]" if f.name in several else "") for f in figures}
    published = dict.fromkeys(entry.get("metric", "") for group in found for entry in group.published.values())
    columns = [*varying, "runs"]
    for figure in figures:
        columns += [f"{titles[figure]} best", f"{titles[figure]} last"]
    columns += [f"{name} published" for name in published]
    columns.append("s/step")
    rows, numbers, notes = [], [], []
    for group in found:
        done, total = len(group.finished), len(group.runs)
        stopped = sum(run.stopped for run in group.finished)
        count = str(total) if done == total else f"{done} of {total} finished"
        row = [*group.label.values(), f"{count}, {stopped} of them stopped early" if stopped else count]
        number: dict[str, Any] = {**group.label, "runs": total, "finished": done, "stopped": stopped}
        for figure in figures:
            for which in ("best", "last"):
                estimate = Estimate.of(group.figures(which, figure))
                row.append("–" if estimate is None else str(estimate))
                title = f"{titles[figure]} {which}"
                number[title] = None if estimate is None else estimate.mean
                number[f"{title} ±"] = None if estimate is None or math.isnan(estimate.half) else estimate.half
                number[f"{title} n"] = 0 if estimate is None else estimate.n
        for name in published:
            entries = [f"{e['value']:g} ({k})" for k, e in group.published.items() if e.get("metric") == name]
            row.append(", ".join(entries) or "–")
            number[f"{name} published"] = {k: e["value"] for k, e in group.published.items() if e.get("metric") == name}
        cost = [run.seconds / run.step for run in group.runs if run.step]
        row.append(f"{statistics.median(cost):.3g}" if cost else "–")
        number["s/step"] = statistics.median(cost) if cost else None
        rows.append(tuple(row))
        numbers.append(number)
        notes += [
            f"{run.path}: {run.state} at step {run.step:,}" + (f", {run.reason}" if run.reason else "")
            for run in group.runs
            if run.state != "finished" or run.stopped
        ]
    if several:
        notes.append(f"{', '.join(sorted(several))}: taken by several protocols, which do not compare; one column each")
    return Table(tuple(columns), tuple(rows), tuple(numbers), tuple(notes))


def as_csv(made: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    keys = list(dict.fromkeys(key for number in made.numbers for key in number))
    writer.writerow(keys)
    writer.writerows([number.get(key) for key in keys] for number in made.numbers)
    return text.getvalue()


def as_latex(made: Table) -> str:
    """A tabular with booktabs' rules."""

    def cell(text: str) -> str:
        for character in "&%#_{}":
            text = text.replace(character, f"\\{character}")
        return text.replace("±", "$\\pm$").replace("–", "--")

    lines = ["\\begin{tabular}{" + "l" * len(made.columns) + "}", "\\toprule"]
    lines += [" & ".join(map(cell, made.columns)) + " \\\\", "\\midrule"]
    lines += [" & ".join(map(cell, row)) + " \\\\" for row in made.rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"
