"""Figures of trained runs, at any checkpoint and by any protocol: `gantrick eval`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from inspect import signature
from pathlib import Path
from typing import Any

import yaml

from gantrick import config, parallel, registry
from gantrick.analysis.compare import jobs_of, published_of
from gantrick.evaluation import Judging, JudgingByMode, JudgingMixture, Reals, Taken, modes_of, take
from gantrick.gan import unfit
from gantrick.protocol import protocol
from gantrick.recipe import Part, Recipe, recorded
from gantrick.sampling import Trained, Weights, load, stand
from gantrick.tracking.folder import RunFolder
from gantrick.types import ConfigError, Metric

FOLDER = "evaluations"  # of a run: figures.jsonl and pictures
KEYS = ("metric", "checkpoint", "protocol", "weights", "mixture", "truncation", "standing_statistics", "seed", "device")
STANDING_BATCH = 64


@dataclass(frozen=True)
class Request:
    """What is to be judged and how. shares: the runs together, in these shares; None: each by itself.

    truncations: each |z_j| ≤ t in turn; None draws as the run does. standing: batches for standing statistics, 0: none.
    """

    runs: tuple[Path, ...]
    metric: str | None = None  # as on a command line: "[fid,kid]"; None: the run's own
    options: Mapping[str, Any] = field(default_factory=dict)  # "metric.fid.samples": 1000
    checkpoints: tuple[str, ...] = ("best", "last")
    protocol: str = "field"
    weights: Weights | None = None
    shares: tuple[float, ...] | None = None
    by_mode: bool = False  # of a mixture: each mode of the data is drawn from the part that finds it most often
    truncations: tuple[float | None, ...] = (None,)
    standing: int = 0
    seed: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Assessed:
    """The figures of one generator, and how it was drawn from.

    published: what others took by the run's recipe, of these figures' kinds and by protocols of their own.
    """

    runs: tuple[Path, ...]
    checkpoint: str
    step: int
    truncation: float | None
    taken: Taken
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        run = " + ".join(str(run) for run in self.runs)
        cut = f", |z| ≤ {self.truncation:g}" if self.truncation is not None else ""
        return f"{run} {self.checkpoint} (step {self.step:,}{cut})"


# --- the words -------------------------------------------------------------------------------------------------------


def request(words: Sequence[str]) -> Request:
    """From words: run folders, sweeps for all their jobs, and key=value. Raises ConfigError with every fault."""
    runs, given, options, faults = list[Path](), dict[str, str](), dict[str, Any](), list[str]()
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or Path(os.path.expanduser(word)).is_dir():
            folder = Path(os.path.expanduser(word))
            runs += jobs_of(folder) or [folder]
        elif key.startswith("metric."):
            options[key] = _value(key, text, faults)
        elif key in KEYS:
            given[key] = text
        else:
            faults.append(registry.unknown("eval", f"there is no key {key}", key, KEYS))
    for run in runs:
        if not (run / "config.yaml").is_file():
            faults.append(f"{run}: not a run folder, it has no config.yaml; name a folder under runs/")
    if not runs:
        faults.append("eval: names no run; give one or more run folders")
    made: dict[str, Any] = {}
    if "metric" in given:
        made["metric"] = given["metric"] if given["metric"].startswith("[") else f"[{given['metric']}]"
    if "checkpoint" in given:
        made["checkpoints"] = tuple(given["checkpoint"].strip("[]").split(","))
        faults += [
            f"checkpoint: must be best, last, all or a step, not {which!r}"
            for which in made["checkpoints"]
            if which not in ("best", "last", "all") and not which.isdecimal()
        ]
    if "protocol" in given:
        try:
            protocol(given["protocol"])
            made["protocol"] = given["protocol"]
        except ConfigError as error:
            faults += error.faults
    if "weights" in given:
        made["weights"] = given["weights"]
        if given["weights"] not in ("ema", "raw"):
            faults.append(f"weights: must be ema or raw, not {given['weights']}")
    if "truncation" in given:
        made["truncations"] = tuple(_threshold(text, faults) for text in given["truncation"].strip("[]").split(","))
    for key, name in (("standing_statistics", "standing"), ("seed", "seed")):
        if key in given:
            if not given[key].isdecimal():
                faults.append(f"{key}: must be a whole number at least 0, not {given[key]}")
            else:
                made[name] = int(given[key])
    if "device" in given:
        made["device"] = given["device"]
    if "mixture" in given:
        made["by_mode"] = given["mixture"] == "by_mode"
        made["shares"] = _shares(given["mixture"], len(runs) * len(made.get("checkpoints", ("best",))), faults)
        made.setdefault("checkpoints", ("best",))
    if faults:
        raise ConfigError(*faults)
    return Request(tuple(runs), options=options, **made)


def _value(key: str, text: str, faults: list[str]) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        faults.append(f"{key}: {text!r} is not a value; give one as in {key}=…")
        return None


def _threshold(text: str, faults: list[str]) -> float | None:
    if text in ("null", "none"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        faults.append(f"truncation: must be numbers above 0, or none, not {text!r}")
        return None
    return value


def _shares(text: str, count: int, faults: list[str]) -> tuple[float, ...]:
    if text in ("uniform", "by_mode"):
        return (1.0,) * count
    try:
        shares = tuple(float(word) for word in text.strip("[]").split(","))
    except ValueError:
        shares = ()
    if len(shares) != count or any(not 0 <= share < math.inf for share in shares) or not sum(shares):
        faults.append(f"mixture: must be uniform, by_mode, or {count} shares at least 0 like 0.7,0.3, not {text!r}")
    return shares


# --- the figures -----------------------------------------------------------------------------------------------------


class Assessor:
    """Judges what a request names. beat: told how many fakes there are, and of how many; tell: takes warnings."""

    def __init__(
        self,
        asked: Request,
        beat: Callable[[int, int], object] = lambda done, count: None,
        tell: Callable[[str], object] = lambda sentence: None,
    ):
        self.asked, self.beat, self.tell = asked, beat, tell
        self._metrics: dict[str, Metric] = {}  # by what they are: a network of features is built once
        self._data: dict[str, tuple[Reals, dict[Any, Any]]] = {}  # by data set, with what is remembered of it

    def __iter__(self) -> Iterator[Assessed]:
        """One after another, each as soon as it is there. Raises GantrickError where there is nothing to judge."""
        opened = [(run, which) for run in self.asked.runs for which in self._checkpoints(run)]
        if self.asked.shares is not None:
            yield from self._together(opened)
            return
        for run, which in opened:
            for threshold in self.asked.truncations:
                trained = self._open(run, which, threshold)
                judging = self._judging(trained, threshold)
                taken = take(self._metrics_of(trained, judging), judging)
                others = published_of(trained.recipe.resolved)
                others = {name: entry for name, entry in others.items() if entry["metric"] in taken.figures}
                found = Assessed((run,), which, trained.step, threshold, taken, others)
                self._record(found)
                yield found

    def _together(self, opened: Sequence[tuple[Path, str]]) -> Iterator[Assessed]:
        shares = self.asked.shares or ()
        for threshold in self.asked.truncations:
            parts = [self._open(run, which, threshold) for run, which in opened]
            first = parts[0]
            unlike = [
                part.path for part in parts if part.recipe.resolved["dataset"] != first.recipe.resolved["dataset"]
            ]
            if unlike:
                raise ConfigError(f"mixture: {unlike[0]} is of other data than {first.path}; mix runs of one data set")
            base = self._judging(first, threshold)
            judging = JudgingMixture(**{**vars(base), "folder": None}, gans=[part.gan for part in parts], shares=shares)
            told: object = [round(share / sum(shares), 6) for share in shares]
            if self.asked.by_mode:
                mode_of, modes = modes_of(judging.dataset, first.recipe.resolved.get("extractor"))
                judging, told = JudgingByMode(**vars(judging), mode_of=mode_of, modes=modes), "by mode"
            taken = take(self._metrics_of(first, judging), judging)
            for protocol_ in taken.protocols.values():
                protocol_["mixture"] = told
            names = tuple(dict.fromkeys(run for run, _ in opened))
            yield Assessed(names, "mixture", max(part.step for part in parts), threshold, taken)

    def _checkpoints(self, run: Path) -> list[str]:
        """Those asked for; best and last are one where they are of the same step."""
        kept, chosen = run / "checkpoints", list[str]()
        for which in self.asked.checkpoints:
            if which == "all":
                chosen += [str(int(f.stem)) for f in sorted(kept.glob("*.pt")) if f.stem.isdigit()]
            elif which != "best" or (kept / "best.pt").is_file() or "last" not in self.asked.checkpoints:
                chosen.append(which)
        if not chosen:
            raise ConfigError(f"{run}: keeps no checkpoints by step; train with keep_every, or choose best or last")
        return list(dict.fromkeys(chosen))

    def _open(self, run: Path, which: str, threshold: float | None) -> Trained:
        trained = load(run, which, self.asked.device)
        if threshold is not None:
            trained.truncate(threshold)
        if self.asked.standing:
            stand(trained.gan, self.asked.standing, STANDING_BATCH, self._seed(trained.recipe), self.asked.weights)
        return trained

    def _seed(self, recipe: Recipe) -> int:
        return recipe.settings.seed if self.asked.seed is None else self.asked.seed

    def _judging(self, trained: Trained, threshold: float | None = None) -> Judging:
        recipe = trained.recipe
        key = json.dumps(recipe.resolved["dataset"], sort_keys=True, default=str)
        if key not in self._data:
            self._data[key] = Reals(trained.gan.assembly.dataset), {}
        reals, cache = self._data[key]
        pictures: Path | None = trained.path / FOLDER if parallel.writes() else None
        if pictures is not None:
            try:
                pictures.mkdir(exist_ok=True)
            except OSError:  # a run that may only be read; it is told when the figures are to be kept
                pictures = None
        return Judging(
            trained.gan,
            reals,
            self._seed(recipe),
            trained.step,
            pictures,
            self.asked.weights,
            recipe.settings.eval_samples if self.asked.protocol == "training" else None,
            ways=self._ways(threshold),
            cache=cache,
            beat=self.beat,
            tell=self.tell,
        )

    def _ways(self, threshold: float | None) -> dict[str, Any]:
        """How the request changes the drawing, named as the parts of a run are: it belongs to a figure's protocol."""
        ways: dict[str, Any] = {}
        if threshold is not None:
            ways["truncate"] = {"trick.truncation": {"threshold": threshold, "how": "resample"}}
        if self.asked.standing:
            ways["standing_statistics"] = self.asked.standing
        return ways

    def _metrics_of(self, trained: Trained, judging: Judging) -> dict[str, Metric]:
        """The metrics asked for, ready. Raises ConfigError where one does not fit the data, or cannot be had."""
        asked, recipe = self.asked, trained.recipe
        entries = {part.key: {"name": part.name, **part.options} for part in recipe.metrics}
        if asked.metric is not None:
            extractor = recipe.resolved.get("extractor") or "inception"
            with config.composer() as composing:
                words = [f"metric={asked.metric}", f"extractor={extractor}"]
                entries = {key: dict(entry) for key, entry in composing.resolved(words)["metric"].items()}
        if not entries:
            raise ConfigError(f"{trained.path}: was trained without a metric; choose one, as in metric=[fid]")
        way = protocol(asked.protocol)
        for entry in entries.values():
            has = signature(registry.load("metric", entry["name"])).parameters
            if "extractor" in has and asked.protocol != "training":
                chosen = way.options(has, len(judging.reals(way.split or "train")) if way.samples == "reals" else 0)
                if "inception" not in entry.get("extractor", "inception"):  # the others resize in one way
                    chosen.pop("resizer", None)
                entry |= chosen
        faults = []
        for name, value in asked.options.items():
            _, key, option = (*name.split(".", 2), "", "")[:3]
            if key not in entries:
                faults.append(f"{name}: {key} is not among the metrics {', '.join(entries)}; add it by metric=[…]")
            else:
                entries[key][option] = value
        if faults:
            raise ConfigError(*faults)
        made: dict[str, Metric] = {}
        for part in recorded(trained.path, {"metric": entries}).metrics:
            made[part.key] = self._metric(part)
            faults += unfit(part.label, made[part.key], judging.dataset, trained.gan.assembly.tags)
        if faults:
            raise ConfigError(*faults)
        for metric in made.values():
            metric.prepare()
        return made

    def _metric(self, part: Part) -> Metric:
        key = json.dumps([part.key, part.name, dict(part.options)], sort_keys=True, default=str)
        if key not in self._metrics:
            self._metrics[key] = part.create()
        return self._metrics[key]

    def _record(self, found: Assessed) -> None:
        """One more line in the run's evaluations/figures.jsonl; a folder that cannot be written to is told."""
        if not found.taken.figures or not parallel.writes():
            return
        row = {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "checkpoint": found.checkpoint,
            "step": found.step,
            "figures": found.taken.figures,
            "protocol": found.taken.protocols,
        }
        folder = found.runs[0] / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            RunFolder(folder).append("figures.jsonl", row)
        except OSError as error:
            self.tell(f"{folder}: the figures cannot be kept there ({error.strerror or error}); they are told here")


def curve(found: Sequence[Assessed], path: Path) -> bool:
    """Precision against recall along the truncation, as a picture; False where the figures are not there."""
    points = []
    for each in found:
        by = {name.partition("/")[0]: value for name, value in each.taken.figures.items()}
        if {"precision", "recall"} <= by.keys():
            points.append((each.runs, each.checkpoint, each.truncation, by["recall"], by["precision"]))
    if len({point[2] for point in points}) < 2:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    for key in dict.fromkeys((runs, which) for runs, which, *_ in points):
        own = sorted((p for p in points if p[:2] == key), key=lambda p: math.inf if p[2] is None else p[2])
        label = f"{' + '.join(run.name for run in key[0])} {key[1]}"
        axes.plot([p[3] for p in own], [p[4] for p in own], "o-", label=label)
        for _, _, threshold, recall, precision in own:
            text = "none" if threshold is None else f"{threshold:g}"
            axes.annotate(text, (recall, precision), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="recall", ylabel="precision", title="along the truncation |z| ≤ t")
    axes.margins(0.12)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True
