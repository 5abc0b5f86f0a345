"""What could be tried against a finding, as words of a command that composes: nothing refused, nothing already on."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gantrick import config, gan
from gantrick.analysis.doctor import Finding, Run
from gantrick.recipe import VOLATILE, Recipe, check
from gantrick.types import GantrickError

MOST = 3  # suggestions for a finding
UNTOLD = VOLATILE | {"published"}  # keys that say nothing of what a run does


@dataclass(frozen=True)
class Change:
    """One thing to try: a part to add (`trick`, `regularizer`), a loss to take, a key to set or take `factor` times.

    more: the value is one to go up to, and no remedy where there is as much of it already.
    """

    key: str
    value: Any
    why: str
    factor: float | None = None
    more: bool = False


RATES = "optimizer.lr"  # of both players


def _lower_rates(why: str) -> Change:
    return Change(RATES, None, why, 0.5)


SPECTRAL = Change("trick", "spectral_norm", "bounds D's slope (arXiv 1802.05957)")
GRADIENT_PENALTY = Change(
    "loss", "wgan_gp", "a critic that may be sure of itself, with a bound on its slope (1704.00028)"
)
CONSISTENCY = Change("loss", "wgan_ct", "dropout in D and consistency under it, made for few images (1803.01541)")
R1 = Change("regularizer", "r1", "flattens D at the reals, where the game then converges (1801.04406)")
NOISE = Change("trick", "instance_noise", "keeps reals and fakes from being told apart wholly (1610.04490)")
AVERAGE = Change("trick", "ema", "the average of G's weights does not swing with them")
GUARD = Change("trick", "guard", "rolls back to the best checkpoint with lower rates")
DECAY = Change("optimizer.schedule", "linear", "steps that shrink to nothing end the circling")
AUGMENT = Change("trick", "diffaugment", "D sees every image in many forms (2006.10738)")
REMEDIES: Mapping[str, Sequence[Change]] = {
    "non_finite": (
        Change("precision", "float32", "sums of 16 bits overflow first"),
        _lower_rates("the step is too large"),
        SPECTRAL,
        GUARD,
        Change("regularizer", "gp", "bounds D's slope where it is looked at (1704.00028)"),
    ),
    "mode_collapse": (  # by what they did and cost in docs/results/ablation_ring.md; the two losses were not there
        Change("trick", "minibatch_discrimination", "D sees how near each sample is to the others (1606.03498)"),
        R1,
        Change("trick", "pacgan", "D judges several samples at once (1712.04086)"),
        GRADIENT_PENALTY,
        CONSISTENCY,
        Change("trick", "unrolled", "G looks ahead at D's answer, at several times the cost (1611.02163)"),
        Change("trick", "minibatch_stddev", "lets D see that the samples of a batch are alike (1710.10196)"),
    ),
    "d_too_certain": (
        SPECTRAL,
        R1,
        NOISE,
        Change("trick", "label_smoothing", "D gains nothing by being surer (1606.03498)"),
        GRADIENT_PENALTY,
    ),
    "vanishing_gradient": (
        Change("loss", "non_saturating", "its gradient is largest where D is sure (1406.2661)"),
        SPECTRAL,
        GRADIENT_PENALTY,
        NOISE,
    ),
    "memorising": (
        AUGMENT,
        CONSISTENCY,
        R1,
        Change("trick", "instance_noise", "blurs what a single image looks like to D (1610.04490)"),
    ),
    "d_overfit": (
        AUGMENT,
        CONSISTENCY,
        Change("model.d_dropout", 0.5, "a D that forgets half of what it sees knows less by heart", more=True),
        NOISE,
        R1,
    ),
    "divergence": (
        Change("regularizer", "gp", "bounds D's slope where it is looked at (1704.00028)"),
        SPECTRAL,
        R1,
        _lower_rates("smaller steps"),
    ),
    "oscillation": (
        R1,
        AVERAGE,
        DECAY,
        Change("trick", "lookahead", "goes back a part of the way every few steps, which damps cycles (2006.14567)"),
        Change("trick", "optimistic_adam", "takes the last gradient into account, which damps cycles (1711.00141)"),
        _lower_rates("smaller steps"),
    ),
    "spectral_growth": (
        SPECTRAL,
        Change("regularizer", "spectral_penalty", "a price on the norms (1705.10941)"),
        GUARD,
        R1,
    ),
    "past_best": (GUARD, AVERAGE, DECAY, _lower_rates("smaller steps")),
    "steep": (
        SPECTRAL,
        R1,
        Change("regularizer", "gp", "bounds D's slope where it is looked at (1704.00028)"),
        Change("regularizer.gp.weight", None, "the penalty is too weak to hold D's slope", 10.0),
        Change("d_steps", 5, "more turns in which the penalty acts on D (1704.00028)", more=True),
    ),
}


@dataclass(frozen=True)
class Suggestion:
    """Overrides to try, why, and the whole command."""

    overrides: tuple[str, ...]
    why: str
    command: str


class Pharmacy:
    """Suggestions for a run's findings, each composed and checked with the run's own config. To be used in a `with`.

    trouble: why there can be none, where there cannot.
    """

    def __init__(self, run: Run):
        self.run, self.trouble = run, ""
        self._stack, self._known = ExitStack(), dict[Change, Suggestion | None]()

    def __enter__(self) -> Pharmacy:
        try:
            self._open()
        except Exception as error:  # a damaged config may break anything; it is told, and findings do not need it
            self.trouble = " ".join(str(error).split()) or type(error).__name__
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        run = self.run
        if not run.config:
            raise GantrickError("its config.yaml cannot be read")
        own = check(run.config)
        self._work, self._warned = _work(own), _warnings(own)  # refused, where this machine lacks the data
        recorded = _recorded(run)
        flags, words = recorded if recorded else ([], [])
        self.flags = flags
        composer = config.composer_of(config.parse(flags))
        self._composer = self._stack.enter_context(composer)
        if not recorded or not self._same(words):
            words = self._rebuilt()
            if not self._same(words):
                raise GantrickError("no overrides were found that make its config.yaml again")
        self.words = words

    @property
    def command(self) -> str:
        """What would train the same run again."""
        return _command(self.flags, self.words)

    def suggest(self, finding: Finding) -> list[Suggestion]:
        """The first few remedies that this run can take."""
        if finding.name == "undertrained":
            key = "steps"
            given: float = int(self.run.setting("steps") or self.run.step)
            seconds = self.run.setting("max_seconds")
            if isinstance(seconds, (int, float)) and self.run.step < given:
                key, given = "max_seconds", seconds  # it is the clock that ended it
            words = (f"resume={self.run.path}", f"{key}={_text(2 * given)}")
            why = "it had not stopped getting better"
            return [Suggestion(words, why, f"gantrick train {shlex.join(words)}")]
        if self.trouble:
            return []
        found: list[Suggestion] = []
        for change in REMEDIES.get(finding.name, ()):
            if len(found) == MOST:
                break
            if change not in self._known:
                self._known[change] = self._tried(change)
            if (made := self._known[change]) is not None:
                found.append(made)
        return found

    # --- whether a change composes ---

    def _tried(self, change: Change) -> Suggestion | None:
        words = self._changed(change)
        if words is None:
            return None
        try:
            resolved = self._composer.resolved(words)
            recipe = check(resolved)
            if not _has(resolved, change) or _work(recipe) == self._work:
                return None
            if _warnings(recipe) - self._warned:
                return None
        except GantrickError:  # refused together with what the run has
            return None
        new = tuple(word for word in words if word not in self.words)
        return Suggestion(new, change.why, _command(self.flags, words))

    def _changed(self, change: Change) -> list[str] | None:
        """The run's words with the change in them; None where it is on already, or there is no such thing."""
        key, value, setting = change.key, change.value, self.run.setting(*change.key.split("."))
        if key in ("trick", "regularizer"):
            names = self.run.names(key)
            if value in names or value not in self._composer.options(key):
                return None
            return _replaced(self.words, key, _text([*names, value]))
        if key == "loss":
            part = self.run.setting("loss") or {}
            if value in (part.get("recipe"), part.get("name")) or value not in self._composer.options(key):
                return None
            words = [word for word in self.words if not _key(word).startswith("loss.")]
            if set(self.run.names("regularizer")) <= set(part.get("brings") or ()):  # the new recipe brings its own
                words = [
                    word for word in words if _key(word) != "regularizer" and not _key(word).startswith("regularizer.")
                ]
            return _replaced(words, "loss", _text(value))
        if change.factor is not None:
            if not isinstance(setting, (int, float)) or isinstance(setting, bool) or not setting:
                return None
            value = float(f"{setting * change.factor:.3g}")
        if setting is None or setting == value or (key == "precision" and setting == "auto"):
            return None
        if change.more and isinstance(setting, (int, float)) and setting >= value:
            return None
        words = _replaced(self.words, key, _text(value))
        return self._with_rates(words, change.factor or 1.0) if key == RATES else words

    def _with_rates(self, words: list[str], factor: float) -> list[str]:
        """The words with each player's own rate, where it has one, so that both are `factor` times what they were."""
        there = self._composer.resolved(words)["optimizer"]
        for player in ("generator", "discriminator"):
            rate = self.run.setting("optimizer", player, "lr")
            if isinstance(rate, (int, float)) and not math.isclose(there[player]["lr"], factor * rate, rel_tol=0.01):
                words = _replaced(words, f"optimizer.{player}.lr", _text(float(f"{factor * rate:.3g}")))
        return words

    # --- the run's own words ---

    def _same(self, words: Sequence[str]) -> bool:
        try:
            return bool(_work(check(self._composer.resolved(words))) == self._work)
        except GantrickError:
            return False

    def _rebuilt(self) -> list[str]:
        """Overrides that make the run's config from gantrick's own: choices of groups, then every key that differs."""
        own = self.run.config
        part = own.get("loss") or {}
        words = [f"{group}={_text(own[group]['name'])}" for group in ("dataset", "model")]
        words.append(f"loss={_text(part.get('recipe') or part['name'])}")
        words += [f"{group}={_text(self.run.names(group))}" for group in ("regularizer", "trick", "metric")]
        there = self._composer.resolved(words)
        there, wanted = ({k: v for k, v in c.items() if k not in UNTOLD} for c in (there, own))
        return [*words, *_differences(there, wanted)]


def _warnings(recipe: Recipe) -> set[str]:
    """What the run would be warned of. Raises ConfigError where it would be refused, on whichever device."""
    anywhere = replace(recipe.settings, device="cpu", devices=1, cuda_graphs=False)
    return set(gan.warnings(gan.preflight(replace(recipe, settings=anywhere), resumed=True)))


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Overrides that make `there` into `wanted`."""
    for key, value in wanted.items():
        name = f"{path}{key}"
        if key not in there:
            yield f"+{name}={_text(value)}"
        elif isinstance(value, Mapping) and isinstance(there[key], Mapping) and (value or not there[key]):
            yield from _differences(there[key], value, f"{name}.")
        elif value != there[key]:
            yield f"{name}={_text(value)}"
    for key in there:
        if key not in wanted:
            yield f"~{path}{key}"


def _recorded(run: Run) -> tuple[list[str], list[str]] | None:
    """(flags, overrides) of the command that the run was started by, where that is known and was of this run alone."""
    command = run.environment.get("command")
    if not isinstance(command, str):
        return None
    try:
        words = shlex.split(command)
        if "train" not in words:
            return None
        words = words[words.index("train") + 1 :]
        arguments = config.parse(words)
    except (ValueError, GantrickError, SystemExit):
        return None
    overrides = list(arguments.overrides)
    if arguments.multirun or any(_key(word) == "resume" for word in overrides):
        return None
    flags = config.flags_first(words)[: -len(overrides) or None]
    if arguments.config_dir and not Path(arguments.config_dir).expanduser().is_absolute():
        return None  # of the folder in which it was started
    return flags, [word for word in overrides if not _key(word).startswith("hydra")]


def _work(recipe: Recipe) -> Any:
    """What a run does, as plain data."""
    work = {key: value for key, value in recipe.work.items() if key not in UNTOLD}
    return json.loads(json.dumps(work, sort_keys=True, default=str))


def _has(resolved: Mapping[str, Any], change: Change) -> bool:
    """Whether a composed config took the change up: an experiment may have decided otherwise."""
    if change.key in ("trick", "regularizer"):
        return change.value in (resolved.get(change.key) or {})
    if change.key == "loss":
        return change.value in (resolved["loss"].get("recipe"), resolved["loss"].get("name"))
    return True


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _replaced(words: Sequence[str], key: str, text: str) -> list[str]:
    """The words with a key set; where it is set already, in its place."""
    if any(_key(word) == key for word in words):
        return [f"{key}={text}" if _key(word) == key else word for word in words]
    return [*words, f"{key}={text}"]


def _command(flags: Sequence[str], words: Sequence[str]) -> str:
    return f"gantrick train {shlex.join([*flags, *words])}".rstrip()


PLAIN = re.compile(r"[A-Za-z_/.][\w/.-]*")
TAKEN = {"null", "true", "false", "nan", "inf", "none"}  # words that Hydra reads as something else


def _text(value: Any) -> str:
    """A value as Hydra's overrides are written."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_text(str(k))}:{_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in TAKEN:
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
