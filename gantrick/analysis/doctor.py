"""What ails a run? Findings with their evidence, read from its folder: of a running, failed or damaged run too.

Nothing here imports torch. What could be done is in `remedies.py`.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeGuard

import yaml

Certainty = Literal["sure", "likely", "maybe"]
Curve = list[tuple[int, float]]  # (step, value)


@dataclass(frozen=True)
class Threshold:
    """A limit beyond which something is a finding, and why it is put there."""

    value: float
    reason: str


# Where no source is named, a value is this project's choice.
THRESHOLDS: Mapping[str, Threshold] = {
    "rows": Threshold(10, "logged rows that a curve needs: a tenth of them is one row at least"),
    "evaluations": Threshold(4, "evaluations that a curve of figures needs: with fewer, one bad draw decides"),
    "begun": Threshold(100, "steps before which G is rather unborn than collapsed"),
    "diversity": Threshold(0.7, "of the reals' own mean distance, which a good generator has too"),
    "recall": Threshold(0.1, "of the reals are near some fake (arXiv 1904.06991); a second sample of reals has most"),
    "covered": Threshold(0.9, "of the known modes; PacGAN's tables count every missing one (arXiv 1712.04086)"),
    "lost": Threshold(0.5, "of the most modes that were covered at once: what trick=guard calls lost"),
    "accuracy": Threshold(0.98, "of D: 1 in 50 judged wrongly leaves a saturated loss hardly a gradient"),
    "floor": Threshold(0.1, "of D's loss at the start, where 0 is its least: it has little left to learn"),
    "vanishing": Threshold(1e-3, "of the norm of G's gradient at the start (arXiv 1701.04862: falls by such factors)"),
    "vanished": Threshold(1e-8, "norm of G's gradient: what trick=guard calls vanishing; Adam's ε is of that size"),
    "memorization": Threshold(0.6, "½ is chance (arXiv 2004.05675); and it must lie 4 standard errors above ½"),
    "copies": Threshold(0.05, "of the fakes; 0.01 is chance, by definition of the figure"),
    "overfit": Threshold(0.5, "D's score of held-out images is half-way to that of fakes (arXiv 2006.06676)"),
    "errors": Threshold(4, "standard errors that a gap must be from chance: one false alarm in 30,000"),
    "runaway": Threshold(100, "times what scores or losses were between a tenth and half of the run, and that large"),
    "cycle": Threshold(
        0.7, "autocorrelation at the period, over 40 rows at least, which white noise has in 1 of 1,000"
    ),
    "swing": Threshold(0.5, "of the mean size of a loss: smaller cycles are not worth a word"),
    "jump": Threshold(1.3, "times up or down between evaluations, far beyond what drawing other fakes does to FID"),
    "jumps": Threshold(3, "turns up and down of that size"),
    "spectral": Threshold(3.0, "times the norm at a quarter of the run, and growing (arXiv 1809.11096, section 4.1)"),
    "spectral_beneath": Threshold(
        10.0, "the same of a weight that is divided by its norm: its size alone does nothing"
    ),
    "past_best": Threshold(1.5, "times worse than the best"),
    "improving": Threshold(0.1, "better in the last third, and best at the end"),
    "steep": Threshold(3.0, "times the slope that the penalty aims at"),
    "steeper": Threshold(10.0, "times the largest slope at a quarter of the run"),
    "silence": Threshold(600, "seconds without a sign of life, which a running run gives every 15"),
}


def limit(name: str) -> float:
    return THRESHOLDS[name].value


@dataclass(frozen=True)
class Finding:
    """An illness that a run shows: how sure that is, and by what. numbers are the same for a program."""

    name: str
    title: str
    certainty: Certainty
    evidence: tuple[str, ...]
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unjudged:
    """What could not be told of a run, why, and what would tell it: metrics that it lacks, or something else to do."""

    name: str
    title: str
    reason: str
    metrics: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All that was found. healthy: the titles of what was looked for and not found."""

    run: Run
    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...]
    healthy: tuple[str, ...]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run folder as far as it can be read; `notes` say what could not."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)  # evaluation.json
    rows: list[dict[str, Any]] = field(default_factory=list)  # since the last new start
    later: list[dict[str, Any]] = field(default_factory=list)  # of gantrick eval
    acts: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        return str(self.status.get("state", "unknown"))

    @property
    def step(self) -> int:
        found = self.status.get("step")
        return found if _is_count(found) else max((row["step"] for row in self.rows), default=0)

    def names(self, group: str) -> list[str]:
        """The parts of a group that the run has: "trick"."""
        found = self.config.get(group)
        return [str(key) for key in found] if isinstance(found, Mapping) else []

    def setting(self, *keys: str) -> Any:
        node: Any = self.config
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    def curve(self, name: str) -> Curve:
        """A number's finite values by step."""
        return [(row["step"], float(row[name])) for row in self.rows if _finite(row.get(name))]

    @cached_property
    def figures(self) -> dict[str, tuple[int, float]]:
        """The newest of every figure: (step, value); of the run itself, else of gantrick eval."""
        found: dict[str, tuple[int, float]] = {}
        for row in self.later:
            values = row.get("figures")
            for name, value in values.items() if isinstance(values, Mapping) else ():
                if _finite(value) and row["step"] >= found.get(name, (0, 0))[0]:
                    found[name] = row["step"], float(value)
        for row in self.rows:
            for name, value in row.items():
                if "/" in name and _finite(value) and row["step"] >= found.get(name, (0, 0))[0]:
                    found[name] = row["step"], float(value)
        return found

    def figure(self, kind: str) -> tuple[str, int, float] | None:
        """(name, step, value) of the newest figure of a kind of a trained G: of "recall" it is "recall/inception"."""
        found = [(name, *at) for name, at in self.figures.items() if name.partition("/")[0] == kind and at[0] > 0]
        return max(found, key=lambda entry: entry[1], default=None)

    def protocol(self, name: str) -> Mapping[str, Any]:
        """The protocol of a figure, from the run's last evaluation or from gantrick eval."""
        for entry in (self.report.get("last"), *reversed(self.later)):
            found = entry.get("protocol") if isinstance(entry, Mapping) else None
            if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
                return dict(found[name])
        return {}


def _finite(value: Any) -> bool:
    """Whether a value is a number that float32 can hold, as all that a run writes; NaN compares with nothing."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e39


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.yaml", "metrics.jsonl", "status.json"))


def read(folder: Path) -> Run:
    """A run folder, as far as it can be read."""
    run = Run(folder)
    for name, place in (("status.json", "status"), ("environment.json", "environment"), ("evaluation.json", "report")):
        setattr(run, place, _mapping(folder / name, json.loads, run.notes, missing=name == "status.json"))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    run.config = _mapping(folder / "config.yaml", lambda text: yaml.load(text, Loader=loader), run.notes, missing=True)
    rows = _rows(folder / "metrics.jsonl", run.notes, missing=True)
    run.later = _rows(folder / "evaluations" / "figures.jsonl", run.notes)
    acts = run.status.get("acts")
    run.acts = [act for act in acts if isinstance(act, dict)] if isinstance(acts, list) else []
    origin = max((a["step"] for a in run.acts if a.get("act") == "reseed" and _is_count(a.get("step"))), default=0)
    run.rows = [row for row in rows if row["step"] >= origin]
    return run


def _mapping(path: Path, parse: Callable[[str], Any], notes: list[str], missing: bool = False) -> dict[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing:
            notes.append(f"{path.name} is not there")
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        notes.append(f"{path.name} cannot be read ({type(error).__name__})")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{path.name} holds something else than it should")
        return {}
    return found


def _rows(path: Path, notes: list[str], missing: bool = False) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, in the order of their steps; what is no row is counted."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        if missing or not isinstance(error, FileNotFoundError):
            notes.append(
                f"{path.name} is not there"
                if isinstance(error, FileNotFoundError)
                else f"{path.name}: {error.strerror}"
            )
        return []
    rows, bad = list[dict[str, Any]](), 0
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and _is_count(row.get("step")):
            rows.append(row)
        else:
            bad += 1
    if bad:
        notes.append(f"{path.name}: {bad} of {len(lines)} lines are no rows and are left out")
    return sorted(rows, key=lambda row: int(row["step"]))


# --- judging ---------------------------------------------------------------------------------------------------------

Judgement = Finding | Unjudged | None
Illness = Callable[[Run], Judgement]
ILLNESSES: list[tuple[str, Illness]] = []


def illness(title: str) -> Callable[[Callable[[Run, str, str], Judgement]], Callable[[Run, str, str], Judgement]]:
    """Puts a test among those that every run goes through; it is handed its name and title."""

    def put(test: Callable[[Run, str, str], Judgement]) -> Callable[[Run, str, str], Judgement]:
        name = test.__name__.strip("_")
        ILLNESSES.append((title, lambda run: test(run, name, title)))
        return test

    return put


def examine(folder: Path) -> Report:
    run = read(folder)
    judged = [(title, test(run)) for title, test in ILLNESSES]
    return Report(
        run,
        tuple(found for _, found in judged if isinstance(found, Finding)),
        tuple(found for _, found in judged if isinstance(found, Unjudged)),
        tuple(title for title, found in judged if found is None),
    )


def _middle(curve: Curve, start: float, end: float) -> tuple[float, int, int]:
    """The median of a share of a curve's rows, one at least, and the steps between which they lie."""
    first = min(int(start * len(curve)), len(curve) - 1)
    rows = curve[first : max(first + 1, math.ceil(end * len(curve)))]
    return statistics.median(value for _, value in rows), rows[0][0], rows[-1][0]


def _few(run: Run, name: str, title: str, what: str) -> Unjudged:
    return Unjudged(
        name,
        title,
        f"fewer than {limit('rows'):g} logged rows have {what}",
        remedy="train on, or lower log_every",
    )


def _unseen(run: Run, name: str, title: str, *metrics: str) -> Unjudged:
    """No figure tells. Those that need features are of images."""
    if _of_points(run) and {"memorization", "prdc"} & {*metrics}:
        return Unjudged(name, title, "there is no figure of points that sees it")
    return Unjudged(name, title, "no figure of the run sees it", metrics)


def _of_points(run: Run) -> bool:
    return run.setting("dataset", "name") in ("ring", "grid") or run.setting("dataset", "images") == "points"


@illness("a number that is not finite")
def non_finite(run: Run, name: str, title: str) -> Judgement:
    evidence, terms = list[str](), list[str]()
    reason = str(run.status.get("reason") or "")
    if "is not finite" in reason:
        evidence.append(f"{run.state}: {reason}")
    for row in run.rows:
        if isinstance(row.get("non_finite"), list):
            terms += [str(term) for term in row["non_finite"]]
            if len(evidence) < 3:
                evidence.append(f"step {row['step']:,}: {', '.join(map(str, row['non_finite'][:4]))} not finite")
    evidence += [
        f"step {act.get('step')}: {act.get('reason')}, {act.get('act')}"
        for act in run.acts
        if "not finite" in str(act.get("reason"))
    ]
    return (
        Finding(name, title, "sure", tuple(evidence), {"terms": ", ".join(dict.fromkeys(terms))}) if evidence else None
    )


@illness("mode collapse")
def mode_collapse(run: Run, name: str, title: str) -> Judgement:
    evidence, numbers, seen, strong = list[str](), dict[str, float | int | str](), False, False
    found = run.figure("diversity")
    reals = None if found is None else run.figures.get(found[0].replace("diversity", "diversity_of_reals", 1))
    if found is not None and reals is not None and reals[1] > 0:
        seen, ratio = True, found[2] / reals[1]
        if ratio < limit("diversity"):
            numbers["diversity"] = ratio
            evidence.append(
                f"{found[0]} is {found[2]:.4g} at step {found[1]:,}, {ratio:.0%} of that of reals ({reals[1]:.4g})"
            )
            strong |= ratio < limit("diversity") / 2
    if (found := run.figure("recall")) is not None:
        seen = True
        if found[2] < limit("recall"):
            numbers["recall"] = found[2]
            evidence.append(f"{found[0]} is {found[2]:.3f} at step {found[1]:,}: so few reals are near any fake")
    if (covered := run.figures.get("modes/covered")) is not None and covered[0] > 0:
        seen, most = True, max((value for _, value in run.curve("modes/covered")), default=covered[1])
        modes = run.protocol("modes/covered").get("modes")
        if _is_count(modes) and covered[1] < limit("covered") * modes:
            numbers["covered"] = covered[1]
            evidence.append(f"{covered[1]:g} of {modes} modes are covered at step {covered[0]:,}")
            strong = True
        if covered[1] < limit("lost") * most:
            numbers["most"] = most
            evidence.append(f"{covered[1]:g} modes are covered at step {covered[0]:,}, and {most:g} were before")
            strong = True
    if not seen:
        known = run.setting("dataset", "name") in ("ring", "grid")
        return _unseen(run, name, title, *(["modes"] if known else ["prdc", "diversity"]))
    if not evidence:
        return None
    if run.step < limit("begun"):
        return Unjudged(name, title, f"{run.step} steps are no more than a start", remedy="train on")
    return Finding(name, title, "sure" if strong or len(evidence) > 1 else "likely", tuple(evidence), numbers)


@illness("D is too certain")
def d_too_certain(run: Run, name: str, title: str) -> Judgement:
    accuracy = run.curve("accuracy/d")
    if len(accuracy) < limit("rows"):
        return _few(run, name, title, "accuracy/d")
    middle, first, last = _middle(accuracy, 0.8, 1)
    if middle < limit("accuracy") or not _saturates(run):
        return None
    evidence = [f"accuracy/d is {middle:.3f} (median of steps {first:,} to {last:,})"]
    numbers: dict[str, float | int | str] = {"accuracy": middle}
    loss, more = run.curve("loss/d"), 0
    if len(loss) >= limit("rows"):
        before, now = _middle(loss, 0, 0.1)[0], _middle(loss, 0.8, 1)[0]
        if 0 <= now <= limit("floor") * before:
            more += 1
            numbers["loss"] = now
            evidence.append(f"loss/d fell from {before:.3g} to {now:.3g}, and 0 is its least")
    gradient = run.curve("grad_norm/g")
    if len(gradient) >= limit("rows"):
        before, now = _middle(gradient, 0, 0.1)[0], _middle(gradient, 0.8, 1)[0]
        if now < limit("floor") * before:
            more += 1
            evidence.append(f"grad_norm/g fell from {before:.3g} to {now:.3g}")
    return Finding(name, title, "sure" if more else "likely", tuple(evidence), numbers)


def _saturates(run: Run) -> bool:
    """Whether D's loss ends where it is always right; a critic that tells all pairs apart is what others ask for."""
    from gantrick import registry
    from gantrick.types import GantrickError

    try:
        loss = registry.load("loss", str(run.setting("loss", "name")))
    except GantrickError:  # of the user's own, or of a config that cannot be read
        return True
    return getattr(loss, "boundary", 0.0) is not None and "lipschitz_needed" not in getattr(loss, "provides", ())


@illness("G's gradient is gone")
def vanishing_gradient(run: Run, name: str, title: str) -> Judgement:
    curve = run.curve("grad_norm/g")
    if len(curve) < limit("rows"):
        return _few(run, name, title, "grad_norm/g")
    (before, _, _), (now, first, last) = _middle(curve, 0, 0.1), _middle(curve, 0.9, 1)
    if now > limit("vanished") and now > limit("vanishing") * before:
        return None
    evidence = f"grad_norm/g is {now:.2g} (median of steps {first:,} to {last:,}), and was {before:.2g} at first"
    return Finding(name, title, "sure", (evidence,), {"first": before, "last": now})


@illness("G copies training images")
def memorising(run: Run, name: str, title: str) -> Judgement:
    share, copies = run.figure("memorization"), run.figure("copies")
    if share is None and copies is None:
        return _unseen(run, name, title, "memorization")
    evidence, numbers = list[str](), dict[str, float | int | str]()
    if share is not None:
        counts = [run.protocol(share[0]).get(key) for key in ("fakes", "held_out_count")]
        m, n = (c if _is_count(c) and c > 0 else 100 for c in counts)
        error = math.sqrt((m + n + 1) / (12 * m * n))  # of Mann and Whitney's statistic by chance
        if share[2] >= max(limit("memorization"), 0.5 + limit("errors") * error):
            numbers["memorization"] = share[2]
            evidence.append(
                f"{share[0]} is {share[2]:.3f} at step {share[1]:,}: ½ by chance, with a standard error of {error:.2g}"
            )
    if copies is not None and copies[2] >= limit("copies"):
        numbers["copies"] = copies[2]
        evidence.append(f"{copies[0]} is {copies[2]:.3f} at step {copies[1]:,}: 0.01 by chance")
    if not evidence:
        return None
    return Finding(name, title, "sure" if len(evidence) > 1 else "likely", tuple(evidence), numbers)


@illness("D knows the training images")
def d_overfit(run: Run, name: str, title: str) -> Judgement:
    ratio = run.figures.get("generalization/ratio")
    gap, error = (run.figures.get(f"generalization/{key}") for key in ("gap", "gap_error"))
    if ratio is None or gap is None or error is None:
        return _unseen(run, name, title, "generalization")
    if ratio[1] < limit("overfit") or gap[1] < limit("errors") * error[1]:
        return None
    means = {key: run.figures.get(f"generalization/{key}") for key in ("train", "held_out", "fake")}
    told = ", ".join(f"{key.replace('_', '-')} {at[1]:.3g}" for key, at in means.items() if at is not None)
    evidence = (
        f"generalization/ratio is {ratio[1]:.2f} at step {ratio[0]:,}: 0 is none, 1 scores new images as fakes"
        + (f" (mean scores: {told})" if told else "")
    )
    return Finding(name, title, "sure" if ratio[1] > 0.8 else "likely", (evidence,), {"ratio": ratio[1]})


@illness("scores or losses run away")
def divergence(run: Run, name: str, title: str) -> Judgement:
    evidence, numbers, long = list[str](), dict[str, float | int | str](), 0
    for key in ("score/real", "score/fake", "loss/d", "loss/g"):
        curve = [(step, abs(value)) for step, value in run.curve(key)]
        long = max(long, len(curve))
        if len(curve) < limit("rows"):
            continue
        before, first, last = _middle(curve, 0.1, 0.5)
        earlier, now = _middle(curve, 0.8, 0.9)[0], _middle(curve, 0.9, 1)[0]
        if now >= limit("runaway") * max(before, 1.0) and now > earlier:
            numbers[key] = now
            evidence.append(
                f"|{key}| is {now:.3g} at the end, and was {before:.3g} between steps {first:,} and {last:,}"
            )
    if not evidence:
        return None if long >= limit("rows") else _few(run, name, title, "scores and losses")
    return Finding(name, title, "sure" if len(evidence) > 1 else "likely", tuple(evidence), numbers)


@illness("the players circle each other")
def oscillation(run: Run, name: str, title: str) -> Judgement:
    evidence, numbers, judged = list[str](), dict[str, float | int | str](), False
    for key in ("loss/d", "loss/g"):
        curve = run.curve(key)
        rows = curve[len(curve) // 2 :]
        if len(rows) < 40:
            continue
        judged = True
        period, strength, swing = cycle([value for _, value in rows])
        if strength >= limit("cycle") and swing >= limit("swing"):
            steps = period * (rows[-1][0] - rows[0][0]) / (len(rows) - 1)
            numbers[f"{key} period"] = steps
            evidence.append(
                f"{key} swings with a period of about {steps:,.0f} steps (autocorrelation {strength:.2f}), by "
                f"{swing:.0%} of its mean size"
            )
    if (primary := _primary(run)) is not None:
        figures = _evaluated(run, primary[0])
        later = figures[len(figures) // 3 :]
        if len(later) >= 5 and all(value > 0 for _, value in later):
            judged = True
            turns = _turns([math.log(value) for _, value in later], math.log(limit("jump")))
            if turns >= limit("jumps"):
                numbers["turns"] = turns
                evidence.append(
                    f"{primary[0]} turned {turns} times by a factor of {limit('jump'):g} or more between steps "
                    f"{later[0][0]:,} and {later[-1][0]:,}"
                )
    if not evidence:
        few = Unjudged(
            name,
            title,
            "the second half of the run has fewer than 40 rows and 5 evaluations",
            remedy="train on, or lower log_every",
        )
        return None if judged else few
    return Finding(name, title, "likely" if len(evidence) > 1 else "maybe", tuple(evidence), numbers)


def cycle(values: Sequence[float]) -> tuple[int, float, float]:
    """(period in rows, autocorrelation there, the middle 80 % over the mean size) of values without their trend.

    The period is the lag beyond the first zero crossing of the autocorrelation at which it is largest, to half of the
    rows; where it never crosses there is none: 0.
    """
    n = len(values)
    at = [i - (n - 1) / 2 for i in range(n)]
    mean = statistics.fmean(values)
    slope = math.fsum(x * y for x, y in zip(at, values, strict=True)) / math.fsum(x * x for x in at)
    rest = [y - mean - slope * x for x, y in zip(at, values, strict=True)]
    power = math.fsum(r * r for r in rest)
    size = statistics.fmean(abs(v) for v in values)
    if power <= 1e-24 * max(size, 1e-300) ** 2 * n or size == 0:
        return 0, 0.0, 0.0
    found = [math.fsum(a * b for a, b in zip(rest, rest[lag:], strict=False)) / power for lag in range(n // 2 + 1)]
    crossing = next((lag for lag, value in enumerate(found) if value <= 0), None)
    if crossing is None or crossing >= len(found) - 1:
        return 0, 0.0, 0.0
    period = max(range(crossing, len(found)), key=found.__getitem__)
    ordered = sorted(rest)
    swing = ordered[int(0.9 * (n - 1))] - ordered[int(0.1 * (n - 1))]
    return period, found[period] * n / (n - period), swing / size


def _turns(values: Sequence[float], least: float) -> int:
    """How often values turn round by `least` or more from their last extreme."""
    turns, direction, low, high = 0, 0, values[0], values[0]
    for value in values[1:]:
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= least:
            turns, direction, high = turns + (direction != 0), 1, value
        elif direction >= 0 and high - value >= least:
            turns, direction, low = turns + (direction != 0), -1, value
    return turns


@illness("spectral norms grow")
def spectral_growth(run: Run, name: str, title: str) -> Judgement:
    curves = spectral_norms(run)
    if max(map(len, curves.values()), default=0) < limit("evaluations"):
        return Unjudged(
            name,
            title,
            "fewer than 4 evaluations have the norms of the layers",
            remedy="train with metric=[…,lipschitz] and a smaller eval_every",
        )
    beneath = {"both": "dg", "generator": "g", "discriminator": "d"}.get(
        str(run.setting("trick", "spectral_norm", "network")), "d" if "spectral_norm" in run.names("trick") else ""
    )
    beneath += "d" if "weight_norm" in run.names("trick") else ""
    found = []
    for layer, curve in curves.items():
        if len(curve) < limit("evaluations"):
            continue
        end = curve[-1][0]
        early = next((at for at in curve if at[0] >= end / 4), curve[0])
        late = next((at for at in curve if at[0] >= 3 * end / 4), curve[-1])
        factor = curve[-1][1] / max(early[1], 1e-12)
        least = limit("spectral_beneath" if layer[0] in beneath else "spectral")
        if early[0] < late[0] < end and factor >= least and curve[-1][1] > 1.1 * late[1]:
            found.append((factor, layer, early, curve[-1]))
    if not found:
        return None
    found.sort(reverse=True)
    evidence = [
        f"{layer} grew from {early[1]:.3g} at step {early[0]:,} to {now[1]:.3g} at step {now[0]:,}, and grows on"
        for _, layer, early, now in found[:3]
    ]
    if len(found) > 3:
        evidence.append(f"and {len(found) - 3} more layers")
    numbers = {layer: factor for factor, layer, *_ in found}
    return Finding(name, title, "likely" if len(found) > 1 else "maybe", tuple(evidence), numbers)


def spectral_norms(run: Run) -> dict[str, Curve]:
    """The largest singular values of layers by evaluation: "d: body.first" -> curve."""
    found: dict[str, Curve] = {}
    for row in run.rows:
        players = row.get("spectral_norm")
        for player, layers in players.items() if isinstance(players, Mapping) else ():
            for layer, value in layers.items() if isinstance(layers, Mapping) else ():
                if _finite(value):
                    found.setdefault(f"{player}: {layer}", []).append((row["step"], float(value)))
    return found


FIRST = {  # the figure that chooses, of metrics with several
    "modes": ("modes/score",),
    "stacked_modes": ("modes/kl",),
    "inception_score": ("inception_score/", "classifier_score/"),
    "prdc": ("coverage/",),
}


def _primary(run: Run) -> tuple[str, bool] | None:
    """The figure by which the run chose its best checkpoint, and whether lower is better; None where it is not known.

    Both follow from what the run wrote: the best step is where that figure is least, or largest.
    """
    metrics = run.names("metric")
    best = run.report.get("best")
    figures = best.get("figures") if isinstance(best, Mapping) else None
    if not metrics or not isinstance(figures, Mapping) or not isinstance(best, Mapping):
        return None
    wanted = FIRST.get(metrics[0], (f"{metrics[0]}/",))
    for name in (name for name in figures if name.startswith(wanted)):
        values = [value for _, value in run.curve(name)]
        if not _finite(figures[name]) or len(values) < 2 or min(values) == max(values):
            continue
        for lower, extreme in ((True, min(values)), (False, max(values))):
            if math.isclose(extreme, figures[name], rel_tol=1e-9):
                return name, lower
    return None


def _evaluated(run: Run, name: str) -> Curve:
    """A figure's values in training, without that of the untrained G."""
    return [(step, value) for step, value in run.curve(name) if step > 0]


@illness("past its best")
def past_best(run: Run, name: str, title: str) -> Judgement:
    primary = _primary(run)
    curve = [] if primary is None else run.curve(primary[0])
    if primary is None or len(curve) < limit("evaluations"):
        return _unevaluated(run, name, title)
    figure, lower = primary
    worse = [
        (value / best if lower else best / value) if min(value, best) > 0 else 1.0
        for (_, value), best in _bests(curve, lower)
    ]
    if worse[-1] < limit("past_best"):
        return None
    step, best = (min if lower else max)(curve, key=lambda at: at[1])
    evidence = f"{figure} was {best:.4g} at step {step:,}, and is {curve[-1][1]:.4g} at step {curve[-1][0]:,}"
    sure = len(worse) > 1 and worse[-2] >= limit("past_best")
    return Finding(
        name, title, "sure" if sure else "likely", (evidence,), {"best": best, "step": step, "last": curve[-1][1]}
    )


def _bests(curve: Curve, lower: bool) -> Iterable[tuple[tuple[int, float], float]]:
    best = curve[0][1]
    for at in curve:
        best = min(best, at[1]) if lower else max(best, at[1])
        yield at, best


def _unevaluated(run: Run, name: str, title: str) -> Unjudged:
    if not run.names("metric"):
        return Unjudged(name, title, "the run has no metric", remedy="train with metric=[fid], or another")
    return Unjudged(
        name,
        title,
        "fewer than 4 evaluations have the first metric's figure",
        remedy="train on, or with a smaller eval_every",
    )


@illness("stopped while it still improved")
def undertrained(run: Run, name: str, title: str) -> Judgement:
    primary = _primary(run)
    curve = [] if primary is None else _evaluated(run, primary[0])
    if primary is None or len(curve) < limit("evaluations"):
        return _unevaluated(run, name, title)
    if run.state not in ("finished", "preempted"):
        return None
    (figure, lower), end = primary, curve[-1]
    before = [value for step, value in curve if step <= 2 * end[0] / 3]
    if not before or min(end[1], *before) <= 0 or end != (min if lower else max)(curve, key=lambda at: at[1]):
        return None
    best = min(before) if lower else max(before)
    gain = 1 - (end[1] / best if lower else best / end[1])
    if gain < limit("improving"):
        return None
    evidence = (
        f"{figure} is best at the end, {end[1]:.4g} at step {end[0]:,}, {gain:.0%} better than the best of the first "
        f"two thirds ({best:.4g})"
    )
    return Finding(name, title, "likely", (evidence,), {"gain": gain, "last": end[1]})


@illness("D is steep")
def steep(run: Run, name: str, title: str) -> Judgement:
    found = run.figures.get("lipschitz/lower")
    if found is None:
        return _unseen(run, name, title, "lipschitz")
    evidence, numbers = list[str](), {"lower": found[1]}
    upper = run.figures.get("lipschitz/upper")
    bound = "" if upper is None else f", at most {upper[1]:.3g}"
    for key in ("gp", "lp"):
        target = run.setting("regularizer", key, "target")
        if key in run.names("regularizer") and _finite(target) and target > 0 and found[0] > 0:
            if found[1] >= limit("steep") * target:
                evidence.append(
                    f"D's slope is at least {found[1]:.3g}{bound} at step {found[0]:,}, and regularizer.{key} aims at "
                    f"{target:g}"
                )
    curve = [at for at in run.curve("lipschitz/lower") if at[0] > 0]
    early = next((at for at in curve if at[0] >= curve[-1][0] / 4), None)
    if early is not None and curve[-1][0] > early[0] and curve[-1][1] >= limit("steeper") * early[1] > 0:
        evidence.append(
            f"D's slope is at least {curve[-1][1]:.3g}{bound} at step {curve[-1][0]:,}, and was {early[1]:.3g} at step "
            f"{early[0]:,}"
        )
    if not evidence:
        return None
    return Finding(name, title, "likely" if len(evidence) > 1 else "maybe", tuple(evidence), numbers)


# --- telling ---------------------------------------------------------------------------------------------------------


def heading(run: Run, now: float | None = None) -> str:
    """What the run is and how it stands, on a line."""
    loss = run.setting("loss", "recipe") or run.setting("loss", "name")
    parts = [run.setting("model", "name"), loss, *run.names("trick"), "on", run.setting("dataset", "name")]
    what = " ".join(str(part) for part in parts if part) if run.config else "of an unknown config"
    reason = run.status.get("reason")
    state = run.state + (f" ({reason})" if reason else "")
    beat = run.status.get("heartbeat")
    if run.state == "running" and _finite(beat):
        silent = (time.time() if now is None else now) - float(beat)  # type: ignore[arg-type]
        if silent > limit("silence"):
            state = f"running, but without a sign of life for {silent / 60:,.0f} minutes: it was killed"
    acts = f", acted on {len(run.acts)} times by its own guards" if run.acts else ""
    return f"{run.path}: {what}, {state} at step {run.step:,}{acts}; {len(run.rows):,} rows"


def draw_norms(run: Run, path: Path) -> bool:
    """The spectral norms of all layers through training, D's and G's beside each other; False where there are none."""
    curves = spectral_norms(run)
    if not curves:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    players = [(p, t) for p, t in (("d", "discriminator"), ("g", "generator")) if any(k.startswith(p) for k in curves)]
    figure, all_axes = pyplot.subplots(
        1, len(players), figsize=(7 * len(players), 4.5), layout="constrained", squeeze=False
    )
    for axes, (player, title) in zip(all_axes[0], players, strict=True):
        own = {key.partition(": ")[2]: curve for key, curve in curves.items() if key.startswith(f"{player}: ")}
        colours = pyplot.get_cmap("viridis")
        for place, (layer, curve) in enumerate(own.items()):
            colour = colours(place / max(1, len(own) - 1))
            axes.plot([s for s, _ in curve], [v for _, v in curve], label=layer, color=colour, linewidth=1.2)
        axes.set(xlabel="step", ylabel="σ(W)", title=title)
        if all(value > 0 for curve in own.values() for _, value in curve):
            axes.set_yscale("log")
        if len(own) <= 20:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True
