"""What each part of a recipe is worth: a study of arms, each with the same seeds, and the report of what they say.

effect = Σ figures of the arms in `plus` - Σ figures of those in `minus`, of one seed at a time. Adding A to the bare
base: (base + A) - base. Leaving it out of the full recipe: full - (full without A). So an effect is always that of
having the part. Two parts together: (base + A + B) - (base + A) - (base + B) + base, likewise in the full recipe.

Which runs count, and as what:

- A run that failed or diverged (a number was not finite) has no figures: it is lost, and ranks below those that do.
- A run that came to its end has collapsed where one of its own tricks stopped it, where its first metric has no finite
  value at the end, or one no better than that of the untrained networks at step 0 (this last not in fine-tuning). It is
  lost at the end; at its best it has a figure, unless that is of step 0.
- Lost runs are counted and told, never left out. `statistics` says how they are judged.
- A figure whose protocol differs between arms is not compared. What a trick changes in drawing (averaged weights,
  truncation) is part of what it does, and no difference of protocols.
"""

from __future__ import annotations

import json
import math
import re
import statistics as middle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from gantrick import config
from gantrick.evaluation import DRAWING
from gantrick.gan import preflight
from gantrick.recipe import Recipe, check
from gantrick.tracking.folder import RunFolder, write_atomically
from gantrick.types import ConfigError, GantrickError

STUDY = "study.json"
FORMAT = 1
UNBOUNDED = 10**9  # steps of a run that ends by the clock
LISTS = ("regularizer", "trick")
MODES = ("add", "leave", "both")
BUDGETS = ("steps", "images", "seconds")
KEYS = ("seeds", "mode", "of", "pairs", "budget", "alpha")
HELD = ("seed", "steps", "max_seconds", "eval_every")  # what the study itself sets in all arms
# How runs are judged, which no arm may change.
JUDGING = ("metric", "extractor", "eval_samples", "dataset.name", "dataset.limit", "dataset.path")

Kind = Literal["add", "leave", "set", "pair"]


# --- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """The study's own keys. words: all that was asked; overrides: gantrick train's of them; launcher: Hydra's; flags:
    --config-dir and its like.
    """

    words: tuple[str, ...]
    overrides: tuple[str, ...]
    launcher: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    seeds: int = 5
    mode: Literal["add", "leave", "both"] = "both"
    of: tuple[str, ...] | None = None
    pairs: bool = False
    budget: Literal["steps", "images", "seconds"] = "steps"
    alpha: float = 0.05


def request(overrides: Sequence[str], flags: Sequence[str] = ()) -> Asked:
    """The words after `gantrick ablate` as what they ask. Raises ConfigError with every fault of its own keys."""
    own: dict[str, Any] = {}
    train: list[str] = []
    faults: list[str] = []
    for word in overrides:
        key, sign, text = word.partition("=")
        if key not in KEYS or not sign:
            train.append(word)
        elif key == "of":
            own["of"] = (*own.get("of", ()), *_listed(text))
        else:
            value, fault = _value(key, text)
            own[key] = value
            faults += [fault] if fault else []
    launcher = [word for word in train if config.key_of(word).startswith(("hydra.", "hydra/"))]
    faults += [
        f"{word}: the study lists its runs itself; leave it out, and choose only hydra/launcher"
        for word in launcher
        if config.key_of(word).startswith(("hydra/sweeper", "hydra.sweep", "hydra.run", "hydra.mode"))
    ]
    if "of" in own and not own["of"]:
        faults.append("of: names nothing; leave it out for all parts of the recipe, or name some as in of=ema,topk")
    if faults:
        raise ConfigError(*faults)
    left = tuple(word for word in train if word not in launcher)
    return Asked(tuple(overrides), left, tuple(launcher), tuple(flags), **own)


def _value(key: str, text: str) -> tuple[Any, str | None]:
    if key == "seeds":
        found = int(text) if text.isdecimal() else 0
        return (
            found,
            None if found >= 2 else f"seeds: must be a whole number at least 2, not {text}; one shows no spread",
        )
    if key == "alpha":
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        return value, None if 0 < value < 1 else f"alpha: must be a number between 0 and 1, not {text}"
    if key == "pairs":
        return text == "true", None if text in ("true", "false") else f"pairs: must be true or false, not {text}"
    known = MODES if key == "mode" else BUDGETS
    return text, None if text in known else f"{key}: must be {', '.join(known[:-1])} or {known[-1]}, not {text}"


def _listed(text: str) -> list[str]:
    """The entries of "ema,topk" or "[ema,loss=wgan_gp]"; commas in brackets or quotes part nothing."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    found, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in ")}]":
            depth -= 1
        if character == "," and not depth and not quote:
            found.append("")
        else:
            found[-1] += character
    return [entry.strip() for entry in found if entry.strip()]


# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """What is asked about: a part of group "regularizer", "trick" or "loss", in or out, or an override (group "")."""

    group: str
    name: str

    @property
    def label(self) -> str:
        return f"{self.group}.{self.name}" if self.group else self.name


@dataclass(frozen=True)
class Arm:
    """One of the configs that are run. reals: real images a step; second: seconds a step, None where unknown."""

    name: str
    folder: str
    overrides: tuple[str, ...]
    steps: int
    eval_every: int
    reals: int
    second: float | None = None

    def evaluations(self, steps: float) -> int:
        """How often so many steps are judged, their beginning and end among them."""
        return 1 + (math.ceil(steps / self.eval_every) if self.eval_every else 1)

    def seconds(self, limit: float | None, evaluation: float) -> float | None:
        """Of a run that ends by the clock after `limit` of them, or by its steps; None where a step was not timed."""
        if self.second is None:
            return None
        steps = self.steps if limit is None else min(self.steps, limit / self.second)
        return steps * self.second + self.evaluations(steps) * evaluation


@dataclass(frozen=True)
class Contrast:
    """An effect: the figures of the arms in `plus` less those in `minus`. frame: "base" or "full"."""

    subject: str
    kind: Kind
    frame: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]

    @property
    def how(self) -> str:
        place = "the bare base" if self.frame == "base" else "the full recipe"
        said = {"add": f"added to {place}", "leave": f"in {place}", "set": f"set in {place}"}
        return said.get(self.kind, f"together, beyond each alone, in {place}")

    @property
    def name(self) -> str:
        return f"{self.subject} {self.how}"


@dataclass(frozen=True)
class Study:
    """The plan: which arms, seeds and effects; what decides; what was refused and why. `study.json` is all of it."""

    asked: Asked
    figure: str
    better: Mapping[str, str]
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]
    contrasts: tuple[Contrast, ...]
    refused: Mapping[str, tuple[str, ...]]
    evaluation: float | None
    max_seconds: float | None
    fine_tuned: bool
    runs_dir: str

    @property
    def main(self) -> list[Contrast]:
        return [contrast for contrast in self.contrasts if contrast.kind != "pair"]

    @property
    def runs(self) -> int:
        return len(self.arms) * len(self.seeds)

    @property
    def seconds(self) -> float | None:
        """Of all runs one after another; None where a step could not be timed."""
        found = [arm.seconds(self.max_seconds, self.evaluation or 0.0) for arm in self.arms.values()]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) * len(self.seeds) if len(known) == len(found) else None

    def job(self, arm: str, seed: int) -> list[str]:
        """The overrides of one run, its folder among them."""
        made = self.arms[arm]
        return [*made.overrides, f"seed={seed}", f"hydra.sweep.subdir={config.quoted(self.place(arm, seed))}"]

    def place(self, arm: str, seed: int) -> str:
        return f"{self.arms[arm].folder}-seed{seed}"


class _Arms:
    """Composes, checks and keeps arms. Two names for one config are one arm."""

    def __init__(self, composing: config.Composer, asked: Asked):
        self.composing, self.asked = composing, asked
        self.base = [word for word in asked.overrides if config.key_of(word) != "seed"]  # each run has its own
        self.recipe = check(composing.resolved(self._recipes_own()))
        self.default_loss = str(composing.resolved([])["loss"]["name"])
        self.made: dict[str, Arm] = {}
        self.recipes: dict[str, Recipe] = {}
        self.refused: dict[str, tuple[str, ...]] = {}
        self._asked: dict[str, str | None] = {}

    def _recipes_own(self) -> list[str]:
        """The words without options of parts that only the study brings in; arms that have those take them.

        Raises ConfigError where such an option is none, so that no arm is lost by a slip of the pen.
        """
        asked = set(self.asked.of or ())

        def part(word: str) -> tuple[str, str] | None:
            group, _, rest = config.key_of(word).partition(".")
            name = rest.partition(".")[0]
            if group not in LISTS or not rest or not {name, f"{group}.{name}"} & asked:
                return None
            return (group, name) if name in self.composing.options(group) else None

        words = list(self.asked.overrides)
        rest = [word for word in words if part(word) is None]
        resolved = self.composing.resolved(rest)
        lists = {group: list(resolved.get(group) or {}) for group in LISTS}
        brought = dict.fromkeys(p for word in words if (p := part(word)) is not None and p[1] not in lists[p[0]])
        for group, name in brought:
            with_it = [word for word in rest if config.key_of(word) != group]
            own = [word for word in words if part(word) == (group, name)]
            check(self.composing.resolved([*with_it, f"{group}=[{','.join([*lists[group], name])}]", *own]))
        return [word for word in words if part(word) not in brought]

    @staticmethod
    def _reals(recipe: Recipe) -> int:
        """Real images that a step takes where the update rule is the plain one."""
        settings = recipe.settings
        return settings.d_steps * settings.batch_size * settings.accumulate

    def arm(self, name: str, parts: Sequence[Subject], loss: str | None, override: str | None = None) -> str | None:
        """The name of the arm with these parts, and this loss where not the recipe's; None where it is refused."""
        if name not in self._asked:
            self._asked[name] = self._arm(name, parts, loss, override)
        return self._asked[name]

    def _arm(self, name: str, parts: Sequence[Subject], loss: str | None, override: str | None) -> str | None:
        try:
            recipe, words = self._compose(parts, loss, override)
        except ConfigError as error:
            self.refused[name] = tuple(error.faults)
            return None
        for known, other in self.recipes.items():
            if _work(other) == _work(recipe):
                return known
        folder = re.sub(r"[^A-Za-z0-9_.,+=-]+", "-", name)[:80]
        while any(arm.folder == folder for arm in self.made.values()):
            folder += "_"
        settings = recipe.settings
        self.made[name] = Arm(name, folder, tuple(words), settings.steps, settings.eval_every, self._reals(recipe))
        self.recipes[name] = recipe
        return name

    def _compose(self, parts: Sequence[Subject], loss: str | None, override: str | None) -> tuple[Recipe, list[str]]:
        lists = {group: [part.name for part in parts if part.group == group] for group in LISTS}
        key = config.key_of(override) if override else ""
        if key in HELD:
            raise ConfigError(f"{override}: {key} is the same in all arms; it cannot be what is compared")
        if override and key == "loss":  # it brings what it needs
            alone = check(self.composing.resolved(self._words({"regularizer": None, "trick": []}, None, override)))
            lists["regularizer"] += [name for name in alone.loss.brings if name not in lists["regularizer"]]
        if override and key in LISTS:
            lists[key] = _listed(override.partition("=")[2])
        words = self._words(lists, loss, override)
        for left_over in self._left_over(words):
            words.append(f"~{left_over}")
        recipe = check(self.composing.resolved(words))
        for group in LISTS:
            there = [part.key for part in (recipe.regularizers if group == "regularizer" else recipe.tricks)]
            if sorted(there) != sorted(lists[group]):
                raise ConfigError(f"{group}: {'+'.join(there) or 'none'} came of {group}=[{','.join(lists[group])}]")
        if unlike := [key for key in JUDGING if _at(recipe, key) != _at(self.recipe, key)]:
            what = ", ".join(unlike)
            raise ConfigError(f"{override}: changes {what}, by which runs are judged; it cannot be what is compared")
        if share := self._share(recipe):
            words = [word for word in words if config.key_of(word) not in share]
            words += [f"{key}={value}" for key, value in share.items()]
            recipe = check(self.composing.resolved(words))
        preflight(recipe)
        return recipe, words

    def _words(self, lists: Mapping[str, list[str] | None], loss: str | None, override: str | None) -> list[str]:
        """The recipe's overrides with these parts; options of parts that are not there are left out."""
        changed = config.key_of(override) if override else ""
        found = []
        for word in self.base:
            key = config.key_of(word)
            group, _, rest = key.partition(".")
            gone = group in LISTS and lists[group] is not None and rest.partition(".")[0] not in (lists[group] or ())
            other_loss = group == "loss" and (loss is not None or changed == "loss")
            if key not in (*LISTS, changed) and not gone and not other_loss:
                found.append(word)
        for group, names in lists.items():
            if names is not None and group != changed:
                found.append(f"{group}=[{','.join(names)}]")
        found += [f"loss={loss}"] if loss is not None and changed != "loss" else []
        return [*found, override] if override else found

    def _left_over(self, words: list[str]) -> list[str]:
        """Options that a file has for parts that are no longer chosen, as "trick.ema"."""
        resolved = self.composing.resolved(words)
        return [
            f"{group}.{key}"
            for group in LISTS
            for key, entry in (resolved.get(group) or {}).items()
            if not (isinstance(entry, Mapping) and "name" in entry)
        ]

    def _share(self, recipe: Recipe) -> dict[str, int]:
        """What gives an arm as many steps, real images or seconds as the recipe has, and evaluations as often."""
        base, own = self.recipe.settings, recipe.settings
        if self.asked.budget == "seconds":
            return {"steps": UNBOUNDED}
        steps, every = base.steps, base.eval_every
        if self.asked.budget == "images" and (ratio := self._reals(self.recipe) / self._reals(recipe)) != 1:
            steps, every = max(1, round(steps * ratio)), max(1, round(every * ratio)) if every else 0
        return {} if (own.steps, own.eval_every) == (steps, every) else {"steps": steps, "eval_every": every}


def _at(recipe: Recipe, key: str) -> Any:
    group, _, name = key.partition(".")
    return recipe.resolved[group].get(name) if name else recipe.resolved.get(group)


def _work(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.work.items() if key != "seed"}


def plan(composing: config.Composer, asked: Asked) -> Study:
    """Composes and checks every arm. Raises ConfigError where there is nothing to compare; runs and writes nothing."""
    arms = _Arms(composing, asked)
    recipe = arms.recipe
    faults = _unfit(asked, recipe)
    subjects, unknown = _subjects(arms, asked)
    if faults or unknown:
        raise ConfigError(*faults, *unknown)
    there = [Subject(group, part.key) for group in LISTS for part in _parts(recipe, group)]
    parts = [subject for subject in subjects if subject.group in LISTS]
    loss = next((subject for subject in subjects if subject.group == "loss"), None)
    without = arms.default_loss if loss else None
    rest = [part for part in there if part not in parts]
    every = [*there, *(part for part in parts if part not in there)]

    made: list[Contrast] = []
    frames: list[tuple[Kind, str]] = []
    if asked.mode in ("add", "both"):
        frames.append(("add", _needed(arms, "base", rest, without)))
    if asked.mode in ("leave", "both") and (parts or loss or asked.mode == "leave"):
        if asked.mode == "leave":
            frames.append(("leave", _needed(arms, "full", every, None)))
        elif (name := arms.arm("full", every, None)) is not None:
            frames.append(("leave", name))

    def changed(kind: Kind, of: Sequence[Subject]) -> str | None:
        """The arm in which these are added to the bare base, or left out of the full recipe."""
        sign = "+" if kind == "add" else "-"
        name = ("base" if kind == "add" else "full") + "".join(f"{sign}{subject.name}" for subject in of)
        if kind == "add":
            chosen = [part for part in every if part in rest or part in of]
            return arms.arm(name, chosen, None if loss in of else without)
        return arms.arm(name, [part for part in every if part not in of], without if loss in of else None)

    def take(contrast: Contrast) -> None:
        known = [(sorted(each.plus), sorted(each.minus)) for each in made]
        if contrast.plus == contrast.minus:
            arms.refused[contrast.name] = (f"{contrast.subject}: changes nothing here, so there is nothing to compare",)
        elif (sorted(contrast.plus), sorted(contrast.minus)) not in known:
            made.append(contrast)

    asked_about = [subject for subject in subjects if subject.group]
    for kind, reference in frames:
        for subject in asked_about:
            if (arm := changed(kind, [subject])) is not None:
                plus, minus = ((arm,), (reference,)) if kind == "add" else ((reference,), (arm,))
                take(Contrast(subject.label, kind, _frame(kind), plus, minus))
    kind, reference = frames[0]
    for subject in subjects:
        if not subject.group:
            chosen, own_loss = (rest, without) if kind == "add" else (every, None)
            name = f"{'base' if kind == 'add' else 'full'}: {subject.name}"
            if (arm := arms.arm(name, chosen, own_loss, subject.name)) is not None:
                take(Contrast(subject.label, "set", _frame(kind), (arm,), (reference,)))
    for kind, reference in frames if asked.pairs else ():
        for number, first in enumerate(asked_about):
            for second in asked_about[number + 1 :]:
                both, one, other = (changed(kind, of) for of in ([first, second], [first], [second]))
                if both is not None and one is not None and other is not None:
                    label = f"{first.label} and {second.label}"
                    take(Contrast(label, "pair", _frame(kind), (both, reference), (one, other)))
    if not made:
        reasons = [fault for found in arms.refused.values() for fault in found]
        raise ConfigError(
            *(dict.fromkeys(reasons) or ["of: there is nothing to compare; name parts, as in of=ema,topk"])
        )
    used = {arm for contrast in made for arm in (*contrast.plus, *contrast.minus)}
    metrics = [part.create() for part in recipe.metrics]
    settings = recipe.settings
    return Study(
        asked,
        metrics[0].primary,
        {name: end for metric in metrics for name, end in metric.directions.items()},
        tuple(range(settings.seed, settings.seed + asked.seeds)),
        {name: arm for name, arm in arms.made.items() if name in used},
        tuple(made),
        arms.refused,
        None,
        settings.max_seconds,
        settings.init_from is not None,
        settings.runs_dir,
    )


def timed(composing: config.Composer, study: Study, beat: Callable[[int, int], object] = lambda i, n: None) -> Study:
    """The same plan with the seconds of a step of each arm and of an evaluation, measured here on made-up data.

    What cannot be measured stays unknown. beat: told how many arms are done, and of how many.
    """
    from gantrick import bench

    arms, evaluation = dict(study.arms), None
    for number, (name, arm) in enumerate(study.arms.items()):
        beat(number, len(arms))
        try:
            recipe = check(composing.resolved([*arm.overrides, f"seed={study.seeds[0]}"]))
            running = bench.Running(bench.made_up(recipe, init_from=None, freeze=[], max_seconds=None))
            running.advance()
            found = [running.advance()]
            while sum(found) < 0.5 and len(found) < 50:
                found.append(running.advance())
            arms[name] = replace(arm, second=middle.median(found))
            if evaluation is None:
                evaluation = bench.evaluation(recipe, running)
        except Exception:  # an estimate is no reason not to begin: what is wrong is told where it runs
            continue
    return replace(study, arms=arms, evaluation=evaluation)


def _unfit(asked: Asked, recipe: Recipe) -> list[str]:
    settings, faults = recipe.settings, []
    if not recipe.metrics:
        faults.append(
            "metric: an ablation compares figures, and the recipe takes none; choose some, as in metric=[fid]"
        )
    if asked.budget == "seconds" and settings.max_seconds is None:
        faults.append("budget=seconds: needs to know how many; set max_seconds=600")
    if asked.budget != "seconds" and settings.max_seconds is not None:
        faults.append(
            f"max_seconds: ends runs by the clock; leave it out, or ask for budget=seconds, not {asked.budget}"
        )
    if asked.budget == "seconds" and recipe.optimizers.schedule != "constant":
        faults.append(
            f"optimizer.schedule: {recipe.optimizers.schedule} is laid out over steps, and how many of them a run "
            "of given seconds makes is not known; set optimizer.schedule=constant, or ask for another budget"
        )
    return faults


def _frame(kind: Kind) -> str:
    return "base" if kind == "add" else "full"


def _parts(recipe: Recipe, group: str) -> Sequence[Any]:
    return recipe.regularizers if group == "regularizer" else recipe.tricks


def _subjects(arms: _Arms, asked: Asked) -> tuple[list[Subject], list[str]]:
    """What is asked about, and faults: names that are none."""
    recipe, found, faults = arms.recipe, list[Subject](), list[str]()
    loss = recipe.loss.recipe or recipe.loss.name
    there = {part.key: Subject(group, part.key) for group in LISTS for part in _parts(recipe, group)}
    if asked.of is None:
        found = list(there.values())
        if recipe.loss.name != arms.default_loss:
            found.append(Subject("loss", loss))
        if not found:
            faults.append("of: the recipe has no regularizer, trick or loss of its own; name some, as in of=ema,topk")
    known = {group: arms.composing.options(group) for group in (*LISTS, "loss")}
    for word in asked.of or ():
        group, _, name = word.partition(".")
        if "=" in word:
            found.append(Subject("", word))
        elif group in known and name in known[group]:
            found.append(_chosen(group, name, loss))
        elif word in there:
            found.append(there[word])
        elif home := next((group for group in ("trick", "regularizer", "loss") if word in known[group]), None):
            found.append(_chosen(home, word, loss))
        else:
            names = [name for names in known.values() for name in names]
            faults.append(f"of: there is no trick, regularizer or loss {word}; {config.suggest(word, names, 'choose')}")
    return list(dict.fromkeys(found)), faults


def _chosen(group: str, name: str, loss: str) -> Subject:
    """A part; of a loss that is not the recipe's, the override that puts it in place."""
    return Subject("", f"loss={name}") if group == "loss" and name != loss else Subject(group, name)


def _needed(arms: _Arms, name: str, parts: Sequence[Subject], loss: str | None) -> str:
    """The arm that others are compared with. Raises ConfigError where it is refused."""
    made = arms.arm(name, parts, loss)
    if made is None:
        raise ConfigError(*(f"the {'bare base' if name == 'base' else 'full recipe'}: {f}" for f in arms.refused[name]))
    return made


# --- in the study's folder -------------------------------------------------------------------------------------------


def save(study: Study, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = {"format": FORMAT, **asdict(study)}
    write_atomically(folder / STUDY, json.dumps(told, indent=2) + "\n")


def load(folder: Path) -> Study:
    """The study of a folder. Raises ConfigError where there is none, GantrickError where it cannot be read."""
    try:
        told = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        if told.pop("format") != FORMAT:
            raise ValueError("another version's")
        asked: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told["asked"].items()}
        told["asked"] = Asked(**asked)
        told["arms"] = {k: Arm(**{**v, "overrides": tuple(v["overrides"])}) for k, v in told["arms"].items()}
        told["contrasts"] = tuple(
            Contrast(**{**each, "plus": tuple(each["plus"]), "minus": tuple(each["minus"])})
            for each in told["contrasts"]
        )
        return Study(**{**told, "seeds": tuple(told["seeds"])})
    except FileNotFoundError:
        raise ConfigError(f"{folder}: not an ablation, it has no {STUDY}; name a folder under runs/") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GantrickError(f"{folder / STUDY}: cannot be read; restore it, or start the study anew") from error


def to_do(study: Study, folder: Path) -> list[list[str]]:
    """The jobs that have not ended: those never begun, cut off, stopped, or failed for reasons outside the run."""
    open_ = []
    for seed in study.seeds:  # all arms of a seed first: a study that is cut off has whole pairs
        for arm in study.arms:
            if outcome(folder / study.place(arm, seed), study).state in ("missing", "running", "failed"):
                open_.append(study.job(arm, seed))
    return open_


@dataclass(frozen=True)
class Outcome:
    """How a run ended and what it cost. state: missing, running (or cut off), failed, diverged, collapsed, finished.

    best, last: its figures by name. second: seconds a step, the median over its rows; memory: bytes at the most;
    images: real images taken; protocols: by figure, without what its own parts change in drawing; norms: those that
    G and D have where `auto` chose, and why, as the plan says.
    """

    state: str = "missing"
    reason: str | None = None
    step: int = 0
    best: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    drawn: Mapping[str, Any] = field(default_factory=dict)
    second: float | None = None
    memory: int | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    images: int = 0
    evaluations: int = 0
    norms: Mapping[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> bool:
        return self.state in ("failed", "diverged", "collapsed")

    @property
    def ended(self) -> bool:
        return self.lost or self.state == "finished"

    def figure(self, name: str, which: str) -> float | None:
        """None where the run was lost; nan where the figure alone is missing."""
        if self.state in ("failed", "diverged") or (self.state == "collapsed" and which == "last"):
            return None
        if self.state == "collapsed" and not self.best:
            return None
        return (self.best if which == "best" else self.last).get(name, math.nan)


def outcome(folder: Path, study: Study) -> Outcome:
    """What a run folder tells. Raises GantrickError where its rows cannot be read."""
    run = RunFolder(folder)
    state, status = run.state(), _json(folder / "status.json")
    if state is None:
        return Outcome()
    rows, report, facts = run.rows(), _json(folder / "evaluation.json"), _json(folder / "environment.json")
    best, last = (_finite((report.get(which) or {}).get("figures")) for which in ("best", "last"))
    reason = status.get("reason")
    if state == "failed" and status.get("non_finite"):
        state = "diverged"
    elif state == "finished":
        start = next((row[study.figure] for row in rows if row.get(study.figure) is not None), None)
        acts = status.get("acts") or []
        end, lower = last.get(study.figure), study.better[study.figure] == "lower"
        if acts and acts[-1].get("act") == "stop":
            state, reason = "collapsed", acts[-1].get("reason")
        elif end is None:
            state, reason = "collapsed", f"{study.figure} has no value at the end"
        elif not study.fine_tuned and start is not None and (end >= start if lower else end <= start):
            state, reason = "collapsed", f"{study.figure} is {end:.4g} at the end, and was {start:.4g} before training"
        if (report.get("best") or {}).get("step", 0) == 0 or study.figure not in best:
            best = {} if state == "collapsed" else best
    elif state in ("running", "preempted"):
        state = "running"
    protocols = (report.get("last") or {}).get("protocol") or {}
    drawing = ("generator", *DRAWING)
    same = {
        name: json.dumps({k: v for k, v in protocol.items() if k not in (*drawing, "fingerprint")}, sort_keys=True)
        for name, protocol in protocols.items()
    }
    drawn = {key: value for protocol in protocols.values() for key, value in protocol.items() if key in drawing}
    timed_rows = [(row["step"], row["seconds"]) for row in rows if row.get("seconds") is not None]
    seconds = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(timed_rows) if b[0] > a[0]]
    return Outcome(
        state,
        reason,
        int(status.get("step") or 0),
        best,
        last,
        same,
        drawn,
        middle.median(seconds) if seconds else None,
        status.get("peak_memory"),
        facts.get("parameters") or {},
        int(rows[-1].get("images") or 0) if rows else 0,
        sum(study.figure in row for row in rows),
        _norms(folder / "plan.txt"),
    )


def _norms(path: Path) -> dict[str, str]:
    try:
        plan = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    return dict(re.findall(r"^  ([GD]) norm: (\S+ \(auto: .*\))$", plan, re.MULTILINE))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _finite(figures: Any) -> dict[str, float]:
    if not isinstance(figures, Mapping):
        return {}
    return {k: float(v) for k, v in figures.items() if isinstance(v, (int, float)) and math.isfinite(v)}
