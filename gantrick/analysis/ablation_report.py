"""What the runs of an ablation say: effects with their verdicts, what parts cost, and all of it as tables and files."""

from __future__ import annotations

import json
import math
import shlex
import statistics as middle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gantrick.analysis import statistics
from gantrick.analysis.ablate import Contrast, Outcome, Study, outcome
from gantrick.analysis.compare import Estimate
from gantrick.tracking.console import duration
from gantrick.tracking.folder import write_atomically

REPORT = "report"

# --- what it says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """One contrast on one figure, at the end or at its best: what its family's judgement finds, and that in words."""

    contrast: Contrast
    figure: str
    which: str
    finding: statistics.Finding | None
    verdict: str


@dataclass(frozen=True)
class Cost:
    """What having the part costs: seconds a step as a ratio, bytes, parameters of G and D. None: not known."""

    time: float | None
    memory: float | None
    generator: int | None
    discriminator: int | None


@dataclass(frozen=True)
class Report:
    study: Study
    outcomes: Mapping[tuple[str, int], Outcome]
    effects: tuple[Effect, ...]
    costs: Mapping[str, Cost]
    notes: tuple[str, ...]

    @property
    def failed(self) -> list[tuple[str, int]]:
        return [run for run, found in self.outcomes.items() if found.state == "failed"]

    @property
    def unfinished(self) -> list[tuple[str, int]]:
        return [run for run, found in self.outcomes.items() if not found.ended]

    def effect(self, contrast: Contrast, figure: str | None = None, which: str = "last") -> Effect:
        wanted = (contrast, figure or self.study.figure, which)
        return next(e for e in self.effects if (e.contrast, e.figure, e.which) == wanted)


def judge(study: Study, folder: Path) -> Report:
    """Reads the runs of a study, finished or not, and judges every effect. Raises GantrickError."""
    outcomes = {
        (arm, seed): outcome(folder / study.place(arm, seed), study) for seed in study.seeds for arm in study.arms
    }
    notes = list(_notes(study, outcomes))
    names = dict.fromkeys([study.figure, *(name for found in outcomes.values() for name in found.last)])
    effects: list[Effect] = []
    for figure in names:
        unlike = _unlike(figure, outcomes)
        if unlike:
            notes.append(f"{figure}: taken by unlike protocols ({unlike}), so it is not compared")
        for which in ("last", "best"):
            for family in (study.main, [contrast for contrast in study.contrasts if contrast.kind == "pair"]):
                effects += _family(study, outcomes, family, figure, which, bool(unlike))
    costs = {contrast.name: _cost(study, outcomes, contrast) for contrast in study.main}
    return Report(study, outcomes, tuple(effects), costs, tuple(notes))


def _family(
    study: Study,
    outcomes: Mapping[tuple[str, int], Outcome],
    contrasts: Sequence[Contrast],
    figure: str,
    which: str,
    unlike: bool,
) -> list[Effect]:
    differences: dict[str, list[float]] = {}
    why: dict[str, str] = {}
    for contrast in contrasts:
        if unlike:
            why[contrast.name] = "not compared: unlike protocols"
            continue
        try:
            differences[contrast.name] = _differences(study, outcomes, contrast, figure, which)
        except _Incomparable as reason:
            why[contrast.name] = f"not compared: {reason}"
    findings = statistics.judge(differences, study.asked.alpha) if differences else {}
    return [
        Effect(c, figure, which, findings.get(c.name), why.get(c.name) or verdict(study, c, figure, findings[c.name]))
        for c in contrasts
    ]


class _Incomparable(Exception):
    pass


def _differences(
    study: Study, outcomes: Mapping[tuple[str, int], Outcome], contrast: Contrast, figure: str, which: str
) -> list[float]:
    """By seed, of those whose runs have all ended. Raises _Incomparable with why there are none."""
    found: list[float] = []
    for seed in study.seeds:
        runs = [outcomes[arm, seed] for arm in (*contrast.plus, *contrast.minus)]
        if not all(run.ended for run in runs):
            continue
        values = [run.figure(figure, which) for run in runs]
        if any(value is not None and math.isnan(value) for value in values):
            raise _Incomparable(f"seed {seed} has no {figure}")
        if None not in values:
            count = len(contrast.plus)
            found.append(sum(values[:count]) - sum(values[count:]))  # type: ignore[arg-type]
        elif contrast.kind == "pair":
            raise _Incomparable("runs were lost, and of four runs the lost ones have no rank")
        elif figure not in study.better:
            raise _Incomparable(f"runs were lost, and whether a high {figure} is good is not known")
        else:
            worst = math.inf if study.better[figure] == "lower" else -math.inf
            plus, minus = (worst if value is None else 0.0 for value in values)
            found.append(plus - minus)  # nan where both were lost
    return found


def verdict(study: Study, contrast: Contrast, figure: str, finding: statistics.Finding) -> str:
    """A finding in words, which follow from its interval; from ranks where pairs lost runs."""
    n, planned, better = finding.n, len(study.seeds), study.better.get(figure)
    so_far = f" so far ({n} of {planned} seeds)" if n < planned else ""
    ranked = finding.test == "signed ranks"
    by = f", by ranks: {finding.lost} of {n} pairs lost a run" if finding.lost else ", by ranks" if ranked else ""
    if n < 2:
        return f"not yet: {n} of {planned} pairs have ended"
    if finding.real:
        if better is None:
            word = "raises it" if finding.sign > 0 else "lowers it"
        else:
            word = "helps" if (finding.sign < 0) == (better == "lower") else "hurts"
        return f"{word}{' more together than apart' if contrast.kind == 'pair' else ''}{by}{so_far}"
    if all(math.isnan(value) for value in finding.differences):
        return f"lost: every run with it and without{so_far}"
    if not finding.lost and not any(finding.differences):
        return f"no difference at all{so_far}"
    if ranked:
        least = statistics.pairs_for_ranks(finding.level)
        short = f"; ranks decide nothing with fewer than {least} seeds" if n < least else ""
        return f"no evidence with {n} seeds{by}{short}{so_far}"
    worth = statistics.round_below((finding.detectable or 0.0) / 2)
    needed = finding.needed(worth)
    more = f"about {needed}" if needed is not None else f"more than {statistics.ENOUGH:,}"
    return f"no evidence with {n} seeds; {more} would show {worth:g}{so_far}"


def _unlike(figure: str, outcomes: Mapping[tuple[str, int], Outcome]) -> str:
    """The arms by the protocols of a figure, where these are several."""
    found: dict[str, dict[str, None]] = {}
    for (arm, _), run in outcomes.items():
        if figure in run.protocols:
            found.setdefault(run.protocols[figure], {})[arm] = None
    return " against ".join(", ".join(arms) for arms in found.values()) if len(found) > 1 else ""


def _notes(study: Study, outcomes: Mapping[tuple[str, int], Outcome]) -> Iterable[str]:
    lost: dict[tuple[str, str], list[int]] = {}
    for arm in study.arms:
        for seed in study.seeds:
            if (run := outcomes[arm, seed]).lost:
                lost.setdefault((arm, f"{run.state} at step {run.step:,}, {run.reason}"), []).append(seed)
    for (arm, end), seeds in lost.items():
        which = study.place(arm, seeds[0]) if len(seeds) == 1 else f"{arm}, seeds {', '.join(map(str, seeds))}"
        yield f"{which}: {end}"
    drawn = {arm: run.drawn for (arm, _), run in outcomes.items() if run.drawn}
    for contrast in study.main:
        ways = [
            {key: drawn[arm].get(key) for key in drawn[arm]}
            for arm in (*contrast.plus, *contrast.minus)
            if arm in drawn
        ]
        if len(ways) == 2 and ways[0] != ways[1]:
            keys = sorted(key for key in {*ways[0], *ways[1]} if ways[0].get(key) != ways[1].get(key))
            yield f"{contrast.name}: it changes how samples are drawn ({', '.join(keys)}), which is part of its effect"
    norms = {arm: run.norms for (arm, _), run in outcomes.items() if run.norms}
    for contrast in study.main:
        (plus, minus) = (norms.get(arm, {}) for arm in (*contrast.plus, *contrast.minus))
        for player in sorted(plus.keys() & minus.keys()):
            (mine, _, why), (other, _, whys) = (told[player].partition(" ") for told in (plus, minus))
            if mine != other:
                given = next((reason for reason in (why, whys) if "architecture" not in reason), why)
                yield (
                    f"{contrast.name}: {player}'s norm is {mine} with it and {other} without {given}, which is part of "
                    f"its effect; set model.{player.lower()}_norm to have the same in all arms"
                )
    whole = {run: found for run, found in outcomes.items() if found.state == "finished"}
    images = {arm: middle.median(f.images for (a, _), f in whole.items() if a == arm) for arm in {a for a, _ in whole}}
    if images and max(images.values()) > 1.01 * min(images.values()):
        told = ", ".join(f"{arm} {images[arm]:,.0f}" for arm in study.arms if arm in images)
        yield f"real images taken: {told}" + (
            "; the arms are not equal in them" if study.asked.budget == "images" else ""
        )
    counts = {found.evaluations for found in whole.values()}
    if len(counts) > 1:
        yield f"runs were judged {min(counts)} to {max(counts)} times; the best of more is better by chance alone"


def _cost(study: Study, outcomes: Mapping[tuple[str, int], Outcome], contrast: Contrast) -> Cost:
    [plus], [minus] = contrast.plus, contrast.minus
    pairs = [(outcomes[plus, seed], outcomes[minus, seed]) for seed in study.seeds]
    ratios = [a.second / b.second for a, b in pairs if a.second and b.second]
    bytes_ = [a.memory - b.memory for a, b in pairs if a.memory and b.memory]
    counts = [(a.parameters, b.parameters) for a, b in pairs if a.parameters and b.parameters]
    more = [
        counts[0][0][player] - counts[0][1][player] if counts else None for player in ("generator", "discriminator")
    ]
    return Cost(middle.median(ratios) if ratios else None, middle.median(bytes_) if bytes_ else None, *more)


# --- telling ---------------------------------------------------------------------------------------------------------

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]  # column titles, and rows


def planned(study: Study) -> tuple[Rows, list[str]]:
    """The plan as a table of arms, and what is to be known before anything is spent."""
    rows: list[tuple[str, ...]] = []
    for arm in study.arms.values():
        steps = "by the clock" if study.asked.budget == "seconds" else f"{arm.steps:,}"
        step = "–" if arm.second is None else f"{arm.second * 1e3:.3g} ms"
        rows.append((arm.name, steps, step, f"{arm.reals:,}", " ".join(arm.overrides)))
    total, n, m = study.seconds, len(study.seeds), len(study.main)
    time = (
        "a step could not be timed here"
        if total is None
        else f"about {duration(total)} one after another on this machine"
    )
    judging = "" if study.evaluation else ", evaluations not counted"
    lines = [f"{study.runs} runs: {len(study.arms)} arms × {n} seeds; {time}{judging}"]
    alpha = study.asked.alpha
    single, strict = (statistics.detectable(1.0, n, alpha / k) for k in (1, m))
    lines.append(
        f"{n} seeds show, with probability {statistics.POWER:.0%}, differences of {strict:.2g} standard deviations "
        f"of the paired differences (the strictest of {m} levels, {alpha / m:.2g}; alone, at {alpha:g}: {single:.2g})"
    )
    decides = f"{study.figure} at the end decides, {study.better[study.figure]} is better"
    lines.append(f"{decides}; all arms get equal {study.asked.budget}")
    lines += [f"refused: {name}: {fault}" for name, faults in study.refused.items() for fault in faults]
    return (("arm", "steps", "a step", "reals a step", "overrides"), rows), lines


def summary(report: Report) -> Rows:
    """A row for each part: its effect on the deciding figure, the verdict, and what it costs."""
    study = report.study
    columns = ("part", "compared", f"{study.figure}, end", "verdict", "sign flips", "lost", "at its best")
    costs = ("time", "memory", "parameters G, D")
    rows: list[tuple[str, ...]] = []
    for contrast in study.contrasts:
        last, best = report.effect(contrast), report.effect(contrast, which="best")
        cost = report.costs.get(contrast.name, Cost(None, None, None, None))
        flips = last.finding.flips if last.finding else None
        rows.append(
            (
                contrast.subject,
                contrast.how,
                _interval(last.finding),
                last.verdict,
                "–" if flips is None else f"p = {flips:.2g}",
                _lost(report, contrast),
                _interval(best.finding),
                "–" if cost.time is None else f"× {cost.time:.3g}",
                "–" if cost.memory is None else f"{cost.memory / 2**20:+,.0f} MiB",
                "–" if cost.generator is None else f"{cost.generator:+,}, {cost.discriminator:+,}",
            )
        )
    return (*columns, *costs), rows


def levels(report: Report) -> Rows:
    """A row for each arm: what its runs came to at the end, as measured, in brackets where the run counts as lost."""
    study = report.study
    names = list(dict.fromkeys(name for found in report.outcomes.values() for name in found.last))
    others = [name for name in names if name != study.figure]
    rows: list[tuple[str, ...]] = []
    for arm in study.arms:
        runs = [report.outcomes[arm, seed] for seed in study.seeds]
        each = [
            str(Estimate.of([run.last[name] for run in runs if _at_the_end(run, name)]) or "–")
            for name in (study.figure, *others)
        ]
        steps = [run.second for run in runs if run.second is not None]
        rows.append(
            (
                arm,
                each[0],
                " ".join(_measured(run, study.figure) for run in runs),
                *each[1:],
                f"{middle.median(steps) * 1e3:.3g} ms" if steps else "–",
            )
        )
    return ("arm", f"{study.figure}, end", "seed by seed", *others, "a step"), rows


def _at_the_end(run: Outcome, figure: str) -> bool:
    return run.state in ("finished", "collapsed") and figure in run.last


def _measured(run: Outcome, figure: str) -> str:
    if not _at_the_end(run, figure):
        return run.state if run.ended else "…"
    value = f"{run.last[figure]:.3g}"
    return value if run.state == "finished" else f"({value})"


def details(report: Report) -> Rows:
    """A row for each part and figure, best and last."""
    rows: list[tuple[str, ...]] = [
        (e.figure, e.which, e.contrast.subject, e.contrast.how, _interval(e.finding), e.verdict) for e in report.effects
    ]
    return ("figure", "at", "part", "compared", "effect", "verdict"), rows


def _interval(finding: statistics.Finding | None) -> str:
    if finding is None or finding.n < 2:
        return "–"
    if finding.mean is None:
        return "lost runs"
    if finding.interval is None:
        return f"{finding.mean:+.3g} in every pair"
    return f"{finding.mean:+.3g} [{finding.interval.low:+.3g}, {finding.interval.high:+.3g}]"


def _lost(report: Report, contrast: Contrast) -> str:
    """Runs lost at the end with the part, and without."""

    def count(arms: Sequence[str]) -> int:
        return sum(report.outcomes[arm, seed].lost for arm in arms for seed in report.study.seeds)

    return f"{count(contrast.plus)} with, {count(contrast.minus)} without"


def legend(report: Report) -> list[str]:
    study = report.study
    better = f"{study.better[study.figure]} {study.figure} is better"
    return [
        f"Effects are of having the part, paired over {len(study.seeds)} seeds; {better}. Intervals are Student's at "
        f"the levels of Holm's procedure: the chance of any false verdict among {len(study.main)} of a figure is at "
        f"most {study.asked.alpha:g}.",
        *report.notes,
        *(f"refused: {name}: {fault}" for name, faults in study.refused.items() for fault in faults),
    ]


def as_markdown(report: Report) -> str:
    def table(rows: Rows) -> list[str]:
        titles, body = rows
        lines = [titles, tuple("---" for _ in titles), *body]
        return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]

    study = report.study
    arms, lines = planned(study)
    command = shlex.join(["gantrick", "ablate", *study.asked.flags, *study.asked.words])
    text = [f"# {command}", "", *table(summary(report)), "", *(f"- {line}" for line in legend(report)), ""]
    said = "Means over seeds of what was measured at the end ± 95 % intervals; in brackets what counts as lost."
    text += ["## Arms", "", said, "", *table(levels(report)), ""]
    text += ["## Every figure", "", *table(details(report)), "", "## Plan", "", *table(arms), ""]
    return "\n".join([*text, *(f"- {line}" for line in lines)]) + "\n"


def as_json(report: Report) -> str:
    """All of it. A difference is null where a run of its pair was lost."""

    def told(finding: statistics.Finding | None) -> dict[str, Any] | None:
        if finding is None:
            return None
        differences = [value if math.isfinite(value) else None for value in finding.differences]
        return {**asdict(finding), "differences": differences}

    study = report.study
    effects = [
        {
            "part": e.contrast.subject,
            "compared": e.contrast.how,
            "plus": e.contrast.plus,
            "minus": e.contrast.minus,
            "figure": e.figure,
            "at": e.which,
            "verdict": e.verdict,
            "finding": told(e.finding),
        }
        for e in report.effects
    ]
    runs = [
        {"arm": arm, "seed": seed, "folder": study.place(arm, seed), **asdict(found)}
        for (arm, seed), found in report.outcomes.items()
    ]
    for run in runs:
        run.pop("protocols")
    whole = {
        "figure": study.figure,
        "better": study.better,
        "alpha": study.asked.alpha,
        "effects": effects,
        "costs": {name: asdict(cost) for name, cost in report.costs.items()},
        "runs": runs,
        "refused": study.refused,
        "notes": report.notes,
    }
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def write(report: Report, folder: Path) -> None:
    """report.json and report.md in the study's folder."""
    write_atomically(folder / f"{REPORT}.json", as_json(report))
    write_atomically(folder / f"{REPORT}.md", as_markdown(report))
