"""A checked config: the settings of a run and the parts it is made of. Plain data in, plain data out; no Hydra here.

`check` finds every fault of a resolved config at once, before anything is built, loaded or written.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from gantrick import __version__, registry
from gantrick.types import ConfigError, Count, Fraction, GantrickError, Positive, Reading, Whole

# Where and how a run is recorded.
VOLATILE = frozenset({"runs_dir", "name", "tags", "wandb", "device", "devices", "jobs_per_gpu"})
SINGLE = ("model", "loss", "dataset")
OWN_KEYS = ("optimizer", "wandb", "imports", "published", "extractor")


@dataclass(frozen=True)
class Settings:
    """The top-level keys. A step is a round of the update rule: by default d_steps D turns, then g_steps G turns."""

    steps: Whole = 100_000
    max_seconds: Positive | None = None  # of training, after which a run ends before its last step
    batch_size: Count = 64
    generator_batch_size: Count | None = None  # of G's turn; null: batch_size
    d_steps: Count = 1
    g_steps: Count = 1
    accumulate: Count = 1  # batches whose gradients are averaged into one move
    seed: Whole = 0
    device: str = "auto"
    devices: Count = 1  # processes that share each batch, a GPU each where there are GPUs
    jobs_per_gpu: Count = 1  # of a sweep that are run beside each other
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    compile: bool = False  # the networks' forwards by torch.compile, where they are differentiated once
    cuda_graphs: bool = False  # compiled in mode "reduce-overhead"
    channels_last: bool | Literal["auto"] = "auto"  # memory format of images; auto: on CPU and CUDA
    deterministic: bool = False
    log_every: Count = 100
    sample_every: Whole = 1000  # 0: never
    eval_every: Whole = 5000
    eval_samples: Count | None = None  # generated samples of every metric; null: as each metric says
    checkpoint_every: Whole = 5000
    keep_every: Whole = 0  # steps between checkpoints that stay; 0: none
    keep_limit: Count | None = 5  # how many of them; null: all
    init_from: str | None = None  # a run or a checkpoint whose weights this run begins with,
    init_take: list[str] = field(default_factory=lambda: ["*"])  # those of these names
    freeze: list[str] = field(default_factory=list)  # names of the weights that stay as they begin
    runs_dir: str = "runs"
    name: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wandb:
    """mode auto: online where a key is configured, else offline."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "gantrick"
    entity: str | None = None


@dataclass(frozen=True)
class OptimizerChoice:
    """One of torch's optimizers by name (case is ignored) and its own options."""

    name: str
    options: Mapping[str, Any]

    @property
    def cls(self) -> type[torch.optim.Optimizer]:
        return optimizers()[self.name.lower()]


@dataclass(frozen=True)
class Optimizers:
    """One for each player. From step `decay_from` on `schedule` takes both rates to `final` times their first.

    "linear" and "cosine" are there at the last step; "halving" halves them every `half_every` steps, down to that.
    """

    generator: OptimizerChoice
    discriminator: OptimizerChoice
    schedule: Literal["constant", "linear", "cosine", "halving"] = "constant"
    decay_from: Whole = 0
    final: Fraction = 0.0
    half_every: Count = 100_000

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at `step` of `steps`."""
        if self.schedule == "constant" or step <= self.decay_from:
            return 1.0
        if self.schedule == "halving":
            return max(self.final, 0.5 ** ((step - self.decay_from) // self.half_every))
        t = min(1.0, (step - self.decay_from) / max(1, steps - self.decay_from))
        if self.schedule == "cosine":
            import math

            t = (1 - math.cos(math.pi * t)) / 2
        return 1.0 - (1.0 - self.final) * t


@dataclass(frozen=True)
class Part:
    """One chosen entry: `trick.ema` is key "ema" of group "trick"; `name` is the class it stands for."""

    group: str
    key: str
    name: str
    options: Mapping[str, Any]
    recipe: str | None = None  # of a loss: the recipe it came as,
    brings: tuple[str, ...] = ()  # and the regularizers that belong to it
    reading: Reading | None = None  # of a data set

    @property
    def label(self) -> str:
        return self.group if self.group in SINGLE else f"{self.group}.{self.key}"

    def create(self) -> Any:
        made = registry.create(self.group, self.name, self.options, self.label)
        if self.reading is not None:
            made.reading = self.reading
        return made


@dataclass(frozen=True)
class Recipe:
    """Everything a run is made from, checked. `resolved` is the plain config that `config.yaml` records."""

    settings: Settings
    model: Part
    loss: Part
    dataset: Part
    regularizers: tuple[Part, ...]
    tricks: tuple[Part, ...]
    metrics: tuple[Part, ...]
    optimizers: Optimizers
    wandb: Wandb
    resolved: Mapping[str, Any]

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.model, self.dataset, self.loss, *self.regularizers, *self.tricks, *self.metrics)

    @property
    def missing(self) -> tuple[str, ...]:
        """The regularizers of the loss's recipe that are not there: then it is not the published recipe."""
        return tuple(key for key in self.loss.brings if key not in {p.key for p in self.regularizers})

    @property
    def title(self) -> str:
        """The recipe in a word or two: "wgan_ct", "wgan_ct without ct", "hinge"."""
        name = self.loss.recipe or self.loss.name
        return f"{name} without {' and '.join(self.missing)}" if self.missing else name

    @property
    def tags(self) -> tuple[str, ...]:
        """What a run is filtered by: recipe or loss, regularizers, tricks, the user's own."""
        words = [self.title, self.loss.name, *(p.key for p in self.regularizers)]
        words += [*(p.key for p in self.tricks), self.model.name, self.dataset.name, *self.settings.tags]
        return tuple(dict.fromkeys(words))

    @property
    def hash(self) -> str:
        """What makes two runs the same job: the resolved config but for where and how it is recorded."""
        return hashlib.sha256(json.dumps(self.work, sort_keys=True, default=str).encode()).hexdigest()[:12]

    @property
    def work(self) -> dict[str, Any]:
        """The resolved config but for where and how a run is recorded, and how its data are read."""
        work = {k: v for k, v in self.resolved.items() if k not in VOLATILE}
        work["dataset"] = {k: v for k, v in work["dataset"].items() if k not in ("resident", "workers")}
        return work


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """torch's optimizers that take one gradient a step, by lower-case name."""
    found = {}
    for name, cls in vars(torch.optim).items():
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer:
            if name not in ("LBFGS", "SparseAdam"):
                found[name.lower()] = cls
    return found


def _optimizer(config: Any, player: str) -> tuple[OptimizerChoice | None, list[str]]:
    label = f"optimizer.{player}"
    if not isinstance(config, Mapping) or not isinstance(config.get("name"), str):
        return None, [f"{label}: has no name; choose optimizer=adam, or give {label}.name"]
    options: dict[str, Any] = {str(k): tuple(v) if isinstance(v, list) else v for k, v in config.items() if k != "name"}
    known = optimizers()
    name = config["name"].lower()
    if name not in known:
        return None, [registry.unknown(f"{label}.name", f"torch.optim has no {config['name']}", name, known)]
    parameters = [p for p in inspect.signature(known[name]).parameters if p not in ("params", "self")]
    faults = [
        registry.unknown(f"{label}.{k}", f"{name} has no such option", k, parameters)
        for k in options
        if k not in parameters
    ]
    lr = options.get("lr")
    if lr is not None and (isinstance(lr, bool) or not isinstance(lr, (int, float)) or lr < 0):
        faults.append(f"{label}.lr: must be a number at least 0, not {lr!r}")
    if "betas" in options:
        betas = options["betas"]
        if (
            not isinstance(betas, tuple)
            or len(betas) != 2
            or not all(isinstance(b, (int, float)) and 0 <= b < 1 for b in betas)
        ):
            faults.append(f"{label}.betas: must be two numbers at least 0 and below 1, not {betas!r}")
        else:
            options["betas"] = (float(betas[0]), float(betas[1]))  # torch refuses the whole number 0
    if not faults:
        try:
            known[name]([torch.zeros(1, requires_grad=True)], **options)
        except (TypeError, ValueError, RuntimeError) as error:
            faults.append(f"{label}: torch refuses these options: {error}; correct them")
    return (None if faults else OptimizerChoice(name, options)), faults


def _part(group: str, key: str, config: Any) -> tuple[Part | None, list[str]]:
    label = group if group in SINGLE else f"{group}.{key}"
    if not isinstance(config, Mapping):
        return None, [f"{label}: must be a mapping with a name, not {config!r}; choose {group}=<name>"]
    if not isinstance(config.get("name"), str):
        advice = f"it was set but not chosen: add {group}={key}" if group not in SINGLE else f"choose {group}=<name>"
        return None, [f"{label}: has settings but no name; {advice}"]
    name = config["name"]
    own = ("name", "recipe", "brings") if group == "loss" else ("name",)
    options = {k: v for k, v in config.items() if k not in own}
    reading, faults_of_reading = None, list[str]()
    if group == "dataset":
        keys = {k: options.pop(k) for k in inspect.signature(Reading).parameters if k in options}
        values, faults_of_reading = registry.check_call(Reading, keys, label)
        reading = None if faults_of_reading else Reading(**values)
    try:
        cls = registry.load(group, name)
    except GantrickError as error:
        return None, [str(error), *faults_of_reading]
    _, faults = registry.check_call(cls, options, label)
    if not faults:
        try:
            cls(**registry.check_call(cls, options, label)[0])
        except ConfigError as error:
            faults = [f"{label}: {fault}" if not fault.startswith(label) else fault for fault in error.faults]
    if group == "loss":
        recipe, brings = config.get("recipe"), config.get("brings") or []
        if not (recipe is None or isinstance(recipe, str)):
            faults.append(f"loss.recipe: must be a word or null, not {recipe!r}; it is the name of a recipe's file")
        if not isinstance(brings, (list, tuple)) or not all(isinstance(word, str) for word in brings):
            faults.append(f"loss.brings: must be a list of regularizers, not {brings!r}")
        if not faults:
            return Part(group, key, name, options, recipe, tuple(brings)), faults
    return Part(group, key, name, options, reading=reading), [*faults, *faults_of_reading]


def check(config: Mapping[str, Any]) -> Recipe:
    """A recipe from a resolved config. Raises ConfigError with every fault of values and names, one sentence each."""
    faults: list[str] = []
    imports = config.get("imports") or []
    if not isinstance(imports, (list, tuple)) or not all(isinstance(file, str) for file in imports):
        faults.append(f"imports: must be a list of Python files, as in imports=[my_tricks.py], not {imports!r}")
        imports = []
    for file in imports:
        try:
            registry.import_file(file)
        except ConfigError as error:
            faults += error.faults
    files = [str(Path(os.path.expanduser(file)).absolute()) for file in imports]  # a run folder is opened from anywhere
    single: dict[str, Part] = {}
    for group in SINGLE:
        part, found = _part(group, group, config.get(group))
        faults += found
        if part is not None:
            single[group] = part
    several: dict[str, list[Part]] = {group: [] for group in registry.LISTS}
    for group in registry.LISTS:
        entries = config.get(group)
        if entries is None:
            entries = {}
        if not isinstance(entries, Mapping):
            faults.append(f"{group}: must be a list of names ({group}=[] for none), not {entries!r}")
            continue
        for key, entry in entries.items():
            part, found = _part(group, str(key), entry)
            faults += found
            if part is not None:
                several[group].append(part)
    reserved = {*SINGLE, *registry.LISTS, *OWN_KEYS}
    values, found = registry.check_call(Settings, {k: v for k, v in config.items() if k not in reserved}, "")
    faults += [fault.removeprefix(".") for fault in found]
    tracking = config.get("wandb") or {}
    if not isinstance(tracking, Mapping):
        faults.append(f"wandb: must be a mapping with mode, project and entity, not {tracking!r}; set wandb.mode=…")
        tracking = {}
    wandb, found = registry.check_call(Wandb, tracking, "wandb")
    faults += found
    optimizer = config.get("optimizer")
    players: dict[str, OptimizerChoice] = {}
    schedule: dict[str, Any] = {}
    if not isinstance(optimizer, Mapping):
        faults.append("optimizer: must be a mapping with generator and discriminator; choose optimizer=adam")
    else:
        for player in ("generator", "discriminator"):
            choice, found = _optimizer(optimizer.get(player), player)
            faults += found
            if choice is not None:
                players[player] = choice
        given = {k: optimizer[k] for k in ("schedule", "decay_from", "final", "half_every") if k in optimizer}
        checked, found = registry.check_call(
            Optimizers, {**given, "generator": None, "discriminator": None}, "optimizer"
        )
        faults += [fault for fault in found if not fault.startswith(("optimizer.generator", "optimizer.discriminator"))]
        schedule = {k: checked[k] for k in given if k in checked}
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return Recipe(
        settings=Settings(**values),
        model=single["model"],
        loss=single["loss"],
        dataset=single["dataset"],
        regularizers=tuple(several["regularizer"]),
        tricks=tuple(several["trick"]),
        metrics=tuple(several["metric"]),
        optimizers=Optimizers(players["generator"], players["discriminator"], **schedule),
        wandb=Wandb(**wandb),
        resolved={**config, "imports": files} if files else config,
    )


def recorded(folder: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a run folder, with changes ("steps", "wandb.mode") if any.

    Raises GantrickError where there is none, or where this version of gantrick does not understand it.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise GantrickError(f"{folder}: not a run folder, it has no config.yaml; name a folder under runs/")
    try:
        resolved = dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise GantrickError(f"{file}: not readable as YAML; restore it, or name another run") from error
    for key, value in (changes or {}).items():
        group, _, name = key.rpartition(".")
        if group:
            there = resolved.get(group)
            resolved[group] = {**(there if isinstance(there, Mapping) else {}), name: value}
        else:
            resolved[key] = value
    try:
        return check(resolved)
    except ConfigError as error:
        writer = _writer(folder)
        if writer in (None, __version__):
            raise
        raise ConfigError(
            *(f"{fault} ({file} was written by gantrick {writer}, this is {__version__})" for fault in error.faults)
        ) from error


def _writer(folder: Path) -> str | None:
    """The version of gantrick that wrote a run folder."""
    try:
        version = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["versions"]["gantrick"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if version is None else str(version)
