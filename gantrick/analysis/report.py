"""Runs side by side on one HTML page that needs no server and no network: table, curves, samples, effects, configs.

What the page is made of is kept small enough to send: a curve of more than 400 points is drawn as the mean, the least
and the greatest value of up to 200 stretches, in half precision; pictures are reduced and, where there are many,
spread evenly over training. The page says what it leaves out. Its Content-Security-Policy lets only the two scripts
written here run, and fetches nothing.
"""

from __future__ import annotations

import base64
import gc
import gzip
import hashlib
import io
import json
import math
import multiprocessing
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrick import __version__
from gantrick.analysis.compare import CONFIDENCE, LISTS, Group, Run, Table, groups, table

Array = NDArray[np.float64]

EXACT = 400  # points of a curve that are drawn one by one
STRETCHES = 200  # what more points are drawn as: a mean and two extremes each, so 400 extremes at most
LEAST = 24  # stretches below which curves are left out instead
VALUES = 600_000  # numbers of all curves together: 1.2 MB in half precision, 1.6 MB as text
PICTURES = 200  # of all groups together
MOMENTS = 16  # pictures of one group
SIDE = 320  # pixels of a picture's longer side, and two thirds of it where there are more than FEW pictures
FEW = 60
PAGE = 4_900_000  # bytes that library, curves and pictures are to stay below together, and
TEXT = 400_000  # what of them is kept for all the rest
ALONE = 32_000_000  # bytes of rows that one process reads; more are shared out
CLOCKS = ("step", "images", "seconds")
DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError)


# --- curves ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A key of metrics.jsonl over training. x `(3, n)`: steps, images, seconds; mean, low, high, count `(n,)`.

    A point is a row of the file, or stands for rows in sequence, of which count have a value that is finite. nan: no
    such value, or a clock that the rows do not tell.
    """

    x: Array
    mean: Array
    low: Array
    high: Array
    count: Array

    @property
    def exact(self) -> bool:
        return bool((self.count <= 1).all())

    def condensed(self, stretches: int) -> Curve:
        """The same curve as so many stretches of nearly equal length: x and mean averaged, extremes kept."""
        if len(self.mean) <= stretches:
            return self
        starts = np.linspace(0, len(self.mean), stretches + 1).astype(int)[:-1]
        count = np.add.reduceat(self.count, starts)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = np.add.reduceat(np.where(self.count > 0, self.count * self.mean, 0.0), starts) / count
            x = np.add.reduceat(self.x, starts, axis=1) / np.diff(starts, append=len(self.mean))
        return Curve(x, mean, np.fmin.reduceat(self.low, starts), np.fmax.reduceat(self.high, starts), count)


def curves(folder: Path) -> tuple[dict[str, Curve], int]:
    """Every key of a run's metrics.jsonl as a curve, and how many of its lines are no rows. Raises OSError."""
    import orjson

    *lines, _ = (folder / "metrics.jsonl").read_bytes().split(b"\n")  # a line without its end was cut off
    layouts: dict[tuple[str, ...], tuple[list[int], list[Any]]] = {}  # rows with the same keys, their values in a row
    damaged = 0
    for number, line in enumerate(lines):
        try:
            row = orjson.loads(line)
            keys = tuple(row)
            if "step" not in keys:
                raise ValueError("a row without its step")
            values = row.values()
        except (ValueError, TypeError, AttributeError):
            damaged += 1
            continue
        layout = layouts.get(keys)
        if layout is None:
            layout = layouts[keys] = ([], [])
        layout[0].append(number)
        layout[1].extend(values)
    clocks = np.full((len(CLOCKS), len(lines)), np.nan)
    parts: dict[str, list[tuple[NDArray[np.intp], Array]]] = {}
    for keys, (which, flat) in layouts.items():
        columns = dict(zip(keys, _columns(flat, len(keys)), strict=True))
        known = np.isfinite(columns["step"])
        damaged += int((~known).sum())
        at = np.array(which)[known]
        for key, column in columns.items():
            if key in CLOCKS:
                clocks[CLOCKS.index(key), at] = column[known]
            else:
                parts.setdefault(key, []).append((at, column[known]))
    found = {}
    for key, pieces in parts.items():
        at, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
        order = np.argsort(at, kind="stable")
        at, values = at[order], np.where(np.isfinite(values), values, np.nan)[order]
        if not np.isnan(values).all():
            whole = Curve(clocks[:, at], values, values, values, np.isfinite(values).astype(np.float64))
            found[key] = whole if len(values) <= EXACT else whole.condensed(STRETCHES)
    return found, damaged


def _columns(flat: list[Any], width: int) -> list[Array]:
    """The columns of rows of so many values; null is nan, and whatever else is no number."""
    try:
        return list(np.array(flat, dtype=np.float64).reshape(-1, width).T)
    except (ValueError, TypeError, OverflowError):
        clean = [float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else math.nan for v in flat]
        return list(np.array(clean).reshape(-1, width).T)


def halves(values: Array) -> tuple[NDArray[np.float16], int]:
    """Half precision after division by a power of two, and its exponent: 2^exponent × halves is near the values.

    The greatest is brought into [2^14, 2^15), so that values down to a billionth of it keep three digits.
    """
    greatest = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 0.0
    exponent = int(np.frexp(greatest)[1]) - 15 if greatest > 0 else 0
    return np.ldexp(values, -exponent).astype(np.float16), exponent


# --- pictures --------------------------------------------------------------------------------------------------------


def grids(folder: Path) -> list[Path]:
    """A run's sample grids in the order of their steps."""
    return sorted((p for p in (folder / "samples").glob("*.png") if p.stem.isdecimal()), key=lambda p: int(p.stem))


def reduced(path: Path, side: int = SIDE) -> bytes | None:
    """A picture as WebP with no side longer than `side`; None where it cannot be read."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        written = io.BytesIO()
        picture.save(written, "WEBP", quality=60, method=1)
        return written.getvalue()
    except (*DAMAGE, SyntaxError, Image.DecompressionBombError):
        return None


def spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` of the numbers 0 … count − 1, evenly spaced, the first and the last among them."""
    if wanted >= count:
        return list(range(count))
    return [count - 1] if wanted < 2 else sorted({round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})


# --- effects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """What having a part changes of a figure, its interval where there is one, a verdict. better: lower or higher."""

    part: str
    figure: str
    at: str
    mean: float | None
    low: float | None
    high: float | None
    verdict: str
    better: str = ""


def effects(folder: Path, tell: Callable[[str], object] = lambda sentence: None) -> list[Effect]:
    """The effects of the ablation in a folder; none where it has no report.json, or one that cannot be read: told.

    report.json holds `effects`, a list of objects: part, compared, figure, at (`best` or `last`), verdict, and finding,
    an object with mean and interval (an object with low and high), each null where it is not known. `better` tells of
    a figure whether `lower` or `higher` is better. Other keys are not looked at.
    """
    path = folder / "report.json"
    if not path.is_file():
        return []
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        better = report.get("better") or {}
        found = []
        for entry in report["effects"]:
            finding = entry.get("finding") or {}
            interval = finding.get("interval") or {}
            found.append(
                Effect(
                    part=" ".join(str(entry[key]) for key in ("part", "compared") if entry.get(key)),
                    figure=str(entry["figure"]),
                    at=str(entry["at"]),
                    mean=_number(finding.get("mean")),
                    low=_number(interval.get("low")),
                    high=_number(interval.get("high")),
                    verdict=str(entry.get("verdict") or ""),
                    better=str(better.get(entry["figure"]) or ""),
                )
            )
        return found
    except DAMAGE as error:
        tell(f"{path}: not the report of an ablation ({type(error).__name__}: {error}); it is left out")
        return []


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """What the metrics.jsonl of one run gives: its curves, how many lines are no rows, why it cannot be read."""

    curves: dict[str, Curve]
    damaged: int = 0
    fault: str | None = None


def _rows(folder: Path) -> Rows:
    try:
        return Rows(*curves(folder))
    except FileNotFoundError:  # of a run that had no time to write one
        return Rows({})
    except DAMAGE as error:
        return Rows({}, fault=f"metrics.jsonl cannot be read ({type(error).__name__}: {error})")


def _read(folders: Sequence[Path], pictures: Sequence[Path]) -> tuple[list[Rows], list[bytes | None]]:
    """The rows of runs and the pictures, in as many processes as there are CPUs where it is worth their start."""
    sides = [SIDE if len(pictures) <= FEW else SIDE * 2 // 3] * len(pictures)
    sizes = [path.stat().st_size for f in folders if (path := f / "metrics.jsonl").is_file()]
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpus > 1 and sum(sizes) > ALONE:
        context = multiprocessing.get_context("spawn")
        try:
            # Rows are dicts by the million without a cycle among them: the search for some is a quarter of the time.
            with ProcessPoolExecutor(min(cpus, 8), mp_context=context, initializer=gc.disable) as pool:
                rows, drawn = pool.map(_rows, folders, chunksize=2), pool.map(reduced, pictures, sides, chunksize=8)
                return list(rows), list(drawn)
        except BrokenProcessPool:  # no memory for them, or a __main__ that cannot be imported again
            pass
    return [_rows(folder) for folder in folders], list(map(reduced, pictures, sides))


# --- packing ---------------------------------------------------------------------------------------------------------


@dataclass
class Contents:
    """What the page's script reads: `data` as JSON, `numbers` squeezed (float32 of the axes, then halves)."""

    data: dict[str, Any]
    numbers: str
    notes: list[str]


def contents(runs: Sequence[Run], found: Sequence[Group], varying: Sequence[str]) -> Contents:
    """Reads rows and pictures of the runs and packs them; notes say what of them the page lacks."""
    number = {id(run): n for n, run in enumerate(runs)}
    wanted = _wanted(found)
    rows, drawn = _read([run.path for run in runs], [path for _, _, path in wanted])
    notes = [f"{run.path}: {told.fault}" for run, told in zip(runs, rows, strict=True) if told.fault]
    notes += [
        f"{run.path}: {told.damaged} {'line' if told.damaged == 1 else 'lines'} of metrics.jsonl cannot be read"
        for run, told in zip(runs, rows, strict=True)
        if told.damaged
    ]
    configs = [group.runs[0].keys for group in found]
    shared = {key: value for key, value in configs[0].items() if all(config.get(key) == value for config in configs)}
    data: dict[str, Any] = {
        "groups": [
            {
                "name": _name(group.label),
                "runs": [number[id(run)] for run in group.runs],
                "config": {key: value for key, value in config.items() if key not in shared},
            }
            for group, config in zip(found, configs, strict=True)
        ],
        "varying": list(varying),
        "shared": shared,
        "runs": [{"path": str(run.path), "seed": run.seed, "state": run.state} for run in runs],
        "t": _quantiles(max(len(group.runs) for group in found)),
    }
    packed, numbers, said = _packed_curves(runs, rows)
    data |= packed
    notes += said
    squeezed = _squeezed(numbers)
    room = (PAGE - TEXT - len(_library()[1]) - len(squeezed)) * 3 // 4  # four characters stand for three bytes
    data["pictures"], said = _packed_pictures(found, number, wanted, drawn, room)
    return Contents(data, squeezed, notes + said)


def _name(label: Mapping[str, str]) -> str:
    """What a group is called: the names of its parts, and other keys with their values; "bare" where it has no part."""
    there = {key: value for key, value in label.items() if key not in LISTS or value != "none"}
    plain = [v if k in LISTS or k.endswith(".name") else f"{k}={v}" for k, v in there.items()]
    return " · ".join(plain) or ("bare" if label else "all runs")


def _quantiles(most: int) -> list[float]:
    """Student's t by the number of seeds: entry n is that of n − 1 degrees of freedom, 0 where n < 2."""
    from scipy.special import stdtrit

    return [0.0, 0.0, *(round(float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)), 4) for n in range(2, most + 1))]


def _packed_curves(runs: Sequence[Run], rows: Sequence[Rows]) -> tuple[dict[str, Any], bytes, list[str]]:
    """Every curve under its key and, of a figure, its protocol: unlike ones never share a chart."""
    figures = list(dict.fromkeys(figure for run in runs for figure in (*run.best, *run.last)))
    names = {figure.name for figure in figures}
    order = dict.fromkeys((figure.name, figure.fingerprint) for figure in figures)
    whole = []
    for n, (run, told) in enumerate(zip(runs, rows, strict=True)):
        protocols = {figure.name: figure.fingerprint for figure in (*run.best, *run.last)}
        whole += [(n, (key, protocols.get(key, "")), curve) for key, curve in told.curves.items()]
    present = dict.fromkeys(metric for _, metric, _ in whole)
    order |= dict.fromkeys(sorted(present, key=lambda metric: metric[0] not in names))
    metrics = [metric for metric in order if metric in present]

    def cost(curve: Curve, stretches: int) -> int:
        exact = curve.exact and len(curve.mean) <= 2 * stretches
        return len(curve.mean) if exact else 3 * min(len(curve.mean), stretches)

    stretches = STRETCHES
    while stretches > LEAST and sum(cost(curve, stretches) for _, _, curve in whole) > VALUES:
        stretches = max(LEAST, stretches * 9 // 10)
    kept, left = [], VALUES
    for metric in metrics:
        of_it = [entry for entry in whole if entry[1] == metric]
        left -= sum(cost(curve, stretches) for _, _, curve in of_it)
        if left < 0:
            break
        kept.append((metric, of_it))
    notes = []
    if lost := [name for name, _ in metrics[len(kept) :]]:
        notes.append(f"Curves of {', '.join(lost)} are left out: name fewer runs to see them")
    axes: list[NDArray[np.float32]] = []
    spans: dict[bytes, int] = {}  # where the axes start that are there, so that equal ones stand there once
    known: dict[tuple[int, ...], int] = {}
    halved, entries, coarse = [], [], False
    length = values = 0
    for place, (_, of_it) in enumerate(kept):
        for n, _, curve in of_it:
            drawn = curve if curve.exact and len(curve.mean) <= 2 * stretches else curve.condensed(stretches)
            coarse |= not drawn.exact
            axis = [len(drawn.mean)]
            for clock in drawn.x.astype(np.float32):
                start = spans.setdefault(clock.tobytes(), length)
                if start == length:
                    axes.append(clock)
                    length += len(clock)
                axis.append(start)
            which = known.setdefault(tuple(axis), len(known))
            lines = drawn.mean if drawn.exact else np.concatenate([drawn.mean, drawn.low, drawn.high])
            half, exponent = halves(lines)
            entries.append([n, place, which, values, exponent, int(drawn.exact)])
            halved.append(half)
            values += len(half)
    if coarse:
        notes.append(
            f"Curves of more than {2 * stretches} points are drawn as {stretches} stretches: a line through their "
            "means, and shaded from their least to their greatest value"
        )
    data = {
        "metrics": [_title(metric, metrics) for metric, _ in kept],
        "axes": [list(axis) for axis in known],
        "clocks": length,
        "curves": entries,
    }
    flat = [array.astype(kind).tobytes() for kind, arrays in (("<f4", axes), ("<f2", halved)) for array in arrays]
    return data, b"".join(flat), notes


def _title(metric: tuple[str, str], metrics: Iterable[tuple[str, str]]) -> str:
    name, fingerprint = metric
    several = sum(other == name for other, _ in metrics) > 1
    return f"{name} [{fingerprint or 'unknown protocol'}]" if several else name


def _wanted(found: Sequence[Group]) -> list[tuple[int, Run, Path]]:
    """Of each group the first run with grids, and of those some, evenly spaced: (group, run, path)."""
    chosen = []
    for n, group in enumerate(found):
        pick = next(((run, paths) for run in group.runs if (paths := grids(run.path))), None)
        if pick:
            chosen.append((n, *pick))
    chosen = chosen[:PICTURES]
    each = min(MOMENTS, PICTURES // max(1, len(chosen)))
    return [(n, run, paths[i]) for n, run, paths in chosen for i in spread(len(paths), each)]


def _packed_pictures(
    found: Sequence[Group],
    number: Mapping[int, int],
    wanted: Sequence[tuple[int, Run, Path]],
    drawn: Sequence[bytes | None],
    room: int,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Pictures as data: URLs by group and step; where they have more bytes than room, groups keep fewer moments."""
    read: dict[int, list[tuple[Run, int, bytes]]] = {}
    notes = [f"{path}: not a picture that can be read" for (_, _, path), b in zip(wanted, drawn, strict=True) if not b]
    for (group, run, path), picture in zip(wanted, drawn, strict=True):
        if picture:
            read.setdefault(group, []).append((run, int(path.stem), picture))
    by = read
    most = max(map(len, read.values()), default=0)
    while sum(len(picture) for moments in by.values() for _, _, picture in moments) > room and by:
        if most > 1:
            most -= 1
            by = {group: [moments[i] for i in spread(len(moments), most)] for group, moments in read.items()}
        else:
            by.popitem()
    there = {run.path: len(grids(run.path)) for moments in by.values() for run, _, _ in moments[:1]}
    shown = sum(len(moments) for moments in by.values())
    if any(len(group.runs) > 1 for group in found) and by:
        notes.append("Samples are those of the first run of each group that has any")
    if by and shown < sum(there.values()):
        notes.append(
            f"Samples: {shown:,} of {sum(there.values()):,} grids are here, evenly spaced over training, made smaller"
        )
    if read and (without := len(found) - len(by)):
        notes.append(f"Samples: of {without:,} of {len(found):,} groups there are none here")
    packed = [
        {
            "group": group,
            "run": number[id(moments[0][0])],
            "steps": [step for _, step, _ in moments],
            "urls": ["data:image/webp;base64," + base64.b64encode(picture).decode() for _, _, picture in moments],
        }
        for group, moments in by.items()
    ]
    return packed, notes


# --- the page --------------------------------------------------------------------------------------------------------


def page(runs: Sequence[Run], effects: Sequence[Effect] = (), left_out: Sequence[str] = ()) -> str:
    """The page as HTML. left_out: sentences on folders that could not be read, which the page repeats."""
    import jinja2
    from markupsafe import Markup

    found, varying = groups(runs)
    made, filled = table(runs), contents(runs, found, varying)
    room = resources.files("gantrick.analysis") / "page"
    script = (room / "page.js").read_text(encoding="utf-8")
    library = _library()
    data = filled.data | {"effects": [asdict(effect) for effect in effects]}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((room / "page.html").read_text(encoding="utf-8"))
    columns, rows = _cells(made)
    return template.render(
        version=__version__,
        made_at=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        confidence=f"{CONFIDENCE:.0%}",
        allowed=Markup(" ".join(f"'sha256-{digest}'" for digest in (_digest(script), library[0]))),
        style=Markup((room / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        library=library[1],
        data=Markup(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        numbers=filled.numbers,
        columns=columns,
        rows=rows,
        groups=found,
        runs=sorted(
            (_told(run, _name(group.label)) for group in found for run in group.runs),
            key=lambda told: (told["state"] == "finished", told["state"] == "running"),
        ),
        states=Counter(run.state for run in runs).most_common(),
        effects=effects,
        pictures=filled.data["pictures"],
        curves=filled.data["curves"],
        notes=[*filled.notes, *(note for note in made.notes if "several protocols" in note)],
        left_out=left_out,
    )


@cache
def _library() -> tuple[str, str]:
    """The script that draws: its digest, and itself as the page has it."""
    from plotly.offline import get_plotlyjs

    text = get_plotlyjs()
    return _digest(text), _squeezed(text.encode())


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _squeezed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _told(run: Run, group: str) -> dict[str, Any]:
    """A run's line in the page's list; of one that runs, when it last gave a sign of life."""
    reason = run.reason or ""
    if run.state == "running":
        try:
            status = json.loads((run.path / "status.json").read_text(encoding="utf-8"))
            reason = f"last sign of life {status['heartbeat_iso']}"
        except DAMAGE:
            pass
    elif run.state == "unknown":
        reason = "status.json cannot be read"
    return {
        "path": str(run.path),
        "group": group,
        "seed": run.seed,
        "state": run.state,
        "step": run.step,
        "hours": run.seconds / 3600,
        "reason": reason,
    }


@dataclass(frozen=True)
class Cell:
    """What stands in the table, its interval, what it is sorted by, and the same in full."""

    text: str
    half: str = ""
    sort: str = ""
    full: str = ""


def _cells(made: Table) -> tuple[list[tuple[str, bool]], list[list[Cell]]]:
    """The table's columns, each with whether it has numbers, and its rows. Numbers of a column share their decimals."""
    columns = [
        (column, any(isinstance(number.get(column), float) for number in made.numbers)) for column in made.columns
    ]
    rows: list[list[Cell]] = [[] for _ in made.rows]
    for place, (column, numeric) in enumerate(columns):
        values = [number.get(column) for number in made.numbers]
        halves = [number.get(f"{column} ±") for number in made.numbers]
        decimals = _decimals(values, halves) if numeric else 0
        for row, cells, number in zip(rows, made.rows, made.numbers, strict=True):
            value, half, n = number.get(column), number.get(f"{column} ±"), number.get(f"{column} n")
            if not numeric or not isinstance(value, float):
                row.append(Cell(cells[place], sort="" if cells[place] == "–" else cells[place]))
                continue
            full = f"{value:.10g}" + ("" if half is None else f" ± {half:.4g}") + (f", n = {n}" if n else "")
            row.append(
                Cell(
                    _rounded(value, decimals),
                    "" if half is None else f"± {_rounded(half, decimals)}",
                    repr(value),
                    full,
                )
            )
    return columns, rows


def _decimals(values: Sequence[Any], halves: Sequence[Any]) -> int:
    """Four digits of a usual value of the column, and no more than two of its narrowest interval."""

    def digits(size: float, wanted: int) -> int:
        return wanted - 1 - math.floor(math.log10(size))

    sizes = [abs(value) for value in values if isinstance(value, float) and value]
    wanted = [digits(statistics.median(sizes), 4)] if sizes else [0]
    wanted += [digits(min(known), 2)] if (known := [half for half in halves if half]) else []
    return min(6, max(0, min(wanted)))


def _rounded(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if value == 0 or 10.0**-decimals <= abs(value) < 1e7 else f"{value:.3g}"
