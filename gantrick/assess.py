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

from gantrick import config, mixture, parallel, registry
from gantrick.analysis.compare import jobs_of, published_of
from gantrick.evaluation import Judging, JudgingByMode, JudgingMixture, Taken, modes_of, take
from gantrick.feed import Reals
from gantrick.gan import unfit
from gantrick.mixture import Part
from gantrick.protocol import protocol
from gantrick.recipe import Part as RecipePart
from gantrick.recipe import Recipe, recorded
from gantrick.sampling import Trained, Weights, load
from gantrick.tracking.folder import RunFolder
from gantrick.types import ConfigError, Metric

FOLDER = "evaluations"  # of a run: figures.jsonl and pictures
KEYS = ("metric", "checkpoint", "protocol", "weights", "mixture", "truncation", "standing_statistics", "seed", "device")


@dataclass(frozen=True)
class Request:
    """What is to be judged and how: each part by itself, whether it is a run or a mixture.

    by_mode: of mixtures each mode of the data is drawn from the member that finds it most often. truncations: each
    |z_j| ≤ t in turn; None draws as the run does. standing: batches for standing statistics, 0: none.
    """

    parts: tuple[Part, ...]
    metric: str | None = None  # as on a command line: "[fid,kid]"; None: the run's own
    options: Mapping[str, Any] = field(default_factory=dict)  # "metric.fid.samples": 1000
    protocol: str = "field"
    weights: Weights | None = None
    by_mode: bool = False
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
            runs += [folder] if mixture.is_mixture(folder) else jobs_of(folder) or [folder]
        elif key.startswith("metric."):
            options[key] = _value(key, text, faults)
        elif key in KEYS:
            given[key] = text
        else:
            faults.append(registry.unknown("eval", f"there is no key {key}", key, KEYS))
    for run in runs:
        if not (run / "config.yaml").is_file() and not mixture.is_mixture(run):
            faults.append(f"{run}: not a run folder, it has no config.yaml; name a folder under runs/")
    if not runs:
        faults.append("eval: names no run; give one or more run folders")
    made: dict[str, Any] = {}
    if "metric" in given:
        made["metric"] = given["metric"] if given["metric"].startswith("[") else f"[{given['metric']}]"
    asked = mixture.check_checkpoints(given["checkpoint"], faults) if "checkpoint" in given else None
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
    parts: list[Part] = []
    if not faults:
        parts = mixture.parts_of(runs, asked, ("best",) if "mixture" in given else ("best", "last"))
    if "mixture" in given and (parts or not runs):
        made["by_mode"] = given["mixture"] == "by_mode"
        shares = mixture.shares_of(given["mixture"], len(parts), faults)
        parts = parts if faults else [mixture.together(parts, shares)]
    if faults:
        raise ConfigError(*faults)
    return Request(tuple(parts), options=options, **made)


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
        for part in self.asked.parts:
            for threshold in self.asked.truncations:
                found = self._judged(part, threshold)
                if part.folder is not None:
                    self._record(found)
                yield found

    def _judged(self, part: Part, threshold: float | None) -> Assessed:
        opened = [self._open(member.run, member.checkpoint, threshold) for member in part.members]
        first = opened[0]
        judging = self._judging(first, part.folder)
        for one in opened:  # of one data set, which is read once
            one.gan.reals = judging.reals
        if part.mixture:
            together = mixture.Mixture(part.members, opened)
            named = mixture.told(part.members, opened, self.asked.weights)
            how = {"by_mode": True} if self.asked.by_mode else {}
            ways = {**judging.ways, "mixture": named, **how}
            gans = [one.gan for one in opened]
            judging = JudgingMixture(**{**vars(judging), "ways": ways}, gans=gans, shares=together.shares)
            judging.step = max(one.step for one in opened)
            if self.asked.by_mode:
                mode_of, modes = modes_of(judging.dataset, first.recipe.resolved.get("extractor"))
                judging = JudgingByMode(**vars(judging), mode_of=mode_of, modes=modes)
        taken = take(self._metrics_of(first, judging), judging)
        names = (part.folder,) if part.folder else tuple(dict.fromkeys(member.run for member in part.members))
        others = {} if part.mixture else published_of(first.recipe.resolved)
        others = {name: entry for name, entry in others.items() if entry["metric"] in taken.figures}
        return Assessed(names, part.checkpoint, judging.step, threshold, taken, others)

    def _open(self, run: Path, which: str, threshold: float | None) -> Trained:
        trained = load(run, which, self.asked.device)
        if threshold is not None:
            trained.truncate(threshold)
        if self.asked.standing:
            trained.stand(self.asked.standing)
        return trained

    def _seed(self, recipe: Recipe) -> int:
        return recipe.settings.seed if self.asked.seed is None else self.asked.seed

    def _judging(self, trained: Trained, folder: Path | None = None) -> Judging:
        recipe = trained.recipe
        key = json.dumps(recipe.resolved["dataset"], sort_keys=True, default=str)
        if key not in self._data:
            self._data[key] = trained.gan.reals, {}
        trained.gan.reals, cache = self._data[key]
        pictures = folder / FOLDER if folder is not None and parallel.writes() else None
        if pictures is not None:
            try:
                pictures.mkdir(exist_ok=True)
            except OSError:  # a run that may only be read; it is told when the figures are to be kept
                pictures = None
        return Judging(
            trained.gan,
            trained.gan.reals,
            self._seed(recipe),
            trained.step,
            pictures,
            self.asked.weights,
            recipe.settings.eval_samples if self.asked.protocol == "training" else None,
            ways=trained.ways,
            cache=cache,
            beat=self.beat,
            tell=self.tell,
        )

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

    def _metric(self, part: RecipePart) -> Metric:
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
