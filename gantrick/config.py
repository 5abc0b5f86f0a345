"""Overrides -> a plain, resolved config: composing with Hydra, and saying in one sentence what is wrong with them.

Hydra's own errors come one at a time, after a folder has been made, and without a hint for lists and keys. So every
config is composed and checked here first: `Composer` for one list of overrides, `jobs` for those of a sweep.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

if TYPE_CHECKING:
    from gantrick.recipe import Recipe

CONFIG_NAME = "config"
VERSION_BASE = "1.3"
VALUED = ("-c", "--cfg", "-p", "--package", "-cn", "--config-name", "-cd", "--config-dir", "--experimental-rerun")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
SEARCH_VARIABLE = "GANTRICK_CONFIG_PATH"
# What brings Hydra's plugins: `hydra/launcher=ray` needs `pip install "gantrick[ray]"`.
EXTRAS = {
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/sweeper/optuna": "sweep",
}
HYDRA_ERRORS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)

_extra_dirs: ContextVar[tuple[str, ...]] = ContextVar("gantrick_extra_config_dirs", default=())


def config_dir() -> Path:
    """gantrick's own configs/: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / f"{CONFIG_NAME}.yaml").is_file():
            return folder
    raise FileNotFoundError(f"gantrick's configs/ are not beside {package}; install gantrick anew")


def search_dirs() -> list[str]:
    """The folders of GANTRICK_CONFIG_PATH, absolute."""
    named = os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep)
    return [str(Path(os.path.expanduser(folder)).resolve()) for folder in named if folder]


# What a config may refer to. Named functions, as launchers send them to other processes.


def _id() -> str:
    """`${gantrick.id:}`: eight random letters, the same all over one config."""
    return uuid.uuid4().hex[:8]


def _search_path() -> list[str]:
    """`${gantrick.searchpath:}`: the folders that are searched after gantrick's own."""
    return [*_extra_dirs.get(), *search_dirs()]


def _times(a: float, b: float) -> float:
    """`${gantrick.times:a,b}`: the product, 0.0003 and not 0.00030000000000000003."""
    return float(f"{a * b:.12g}")


def _drawn(seed: int, name: str, how: str, *values: Any) -> Any:
    """`${gantrick.drawn:${seed},lr,log,1e-5,1e-2}`: drawn at random, the same whenever seed and name are.

    uniform: evenly from low to high. log: so in the logarithm. of: one of the values.
    """
    u = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") / 2**64
    if how == "of" and values:
        return values[int(u * len(values))]
    if how in ("log", "uniform") and len(values) == 2:
        low, high = map(float, values)
        if how == "uniform":
            return float(f"{low + u * (high - low):.6g}")
        if 0 < low <= high:
            return float(f"{low * (high / low) ** u:.6g}")
    refuse(f"gantrick.drawn:{name}: is drawn `log` or `uniform` from low to high, or `of` some values; mend the file")


OmegaConf.register_new_resolver("gantrick.drawn", _drawn, replace=True)
OmegaConf.register_new_resolver("gantrick.id", _id, use_cache=True, replace=True)
OmegaConf.register_new_resolver("gantrick.searchpath", _search_path, replace=True)
OmegaConf.register_new_resolver("gantrick.times", _times, replace=True)


def refuse(*faults: str, cause: BaseException | None = None) -> NoReturn:
    """Raises ConfigError. Its module imports torch, which completion and --help do without until something is wrong."""
    from gantrick.types import ConfigError

    raise ConfigError(*faults) from cause


def flags_first(words: Iterable[str]) -> list[str]:
    """The same command line with its flags, and their values, in front: Hydra's parser wants them there."""
    flags: list[str] = []
    overrides: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            overrides.append(_from_home(word))
            continue
        if word.startswith("--config-path="):
            word, _, value = word.partition("=")
            left.insert(0, value)
        flags.append(word)
        if word in ("-cp", "--config-path") and left:
            flags.append(str(Path(os.path.expanduser(left.pop(0))).resolve()))  # Hydra's start is the package's folder
        elif word in VALUED and left:
            flags.append(left.pop(0))
        elif word in ("-i", "--info"):
            flags.append(left.pop(0) if left and left[0] in INFO else "all")
    return [*flags, *overrides]


def _from_home(word: str) -> str:
    """`key=~/x` with the home folder's path: shells leave it as it is there, and Hydra's grammar cannot read it."""
    key, sign, value = word.partition("=")
    if not sign or not value.startswith("~") or any(character in value for character in "'\",[]{}$"):
        return word
    return f"{key}={quoted(os.path.expanduser(value))}"


def parse(words: Iterable[str]) -> argparse.Namespace:
    """The command line as Hydra reads it. Raises ConfigError where it does not."""
    with tolerant_argparse():
        parser = get_args_parser()

    def error(message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0]
        flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
        refuse(f"{message}; {suggest(unknown, flags, 'the flags are')}" if unknown.startswith("-") else message)

    parser.error = error  # type: ignore[method-assign]
    arguments: argparse.Namespace = parser.parse_args(flags_first(words))
    return arguments


@contextmanager
def checked_before() -> Iterator[None]:
    """Inside, Hydra's sweeper does not compose every job once more before the first: `Composer.jobs` has been there."""
    before = Sweeper.validate_batch_is_legal  # of the base: Hydra loads its own sweeper's module a second time
    Sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Sweeper.validate_batch_is_legal = before  # type: ignore[method-assign]


@contextmanager
def given_jobs(jobs: Sequence[Sequence[str]]) -> Iterator[None]:
    """Inside, Hydra's sweeper hands its launcher these jobs, a list of overrides each, and not a product of values."""
    sweeper = Plugins.instance().class_name_to_class[f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"]
    before = sweeper.__dict__["split_arguments"]
    listed = staticmethod(lambda overrides, size: [[list(job) for job in jobs]])
    sweeper.split_arguments = listed  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sweeper.split_arguments = before  # type: ignore[attr-defined]


@contextmanager
def tolerant_argparse() -> Iterator[None]:
    """From Python 3.14 on argparse formats every help text at once, which Hydra 1.3 has an object for and no string."""
    check = getattr(argparse.ArgumentParser, "_check_help", None)
    if check is None:
        yield
        return
    argparse.ArgumentParser._check_help = lambda self, action: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        argparse.ArgumentParser._check_help = check  # type: ignore[attr-defined]


def compose(overrides: Iterable[str] = (), config_dirs: Iterable[str | Path] = ()) -> Recipe:
    """The checked recipe of these overrides, as `gantrick train` would run it. Raises ConfigError with every fault.

    `config_dirs` are folders of YAML added to gantrick's own, as `--config-dir` adds one.
    """
    from gantrick.recipe import check

    if isinstance(overrides, str):
        refuse(f"compose: takes a list of overrides, not {overrides!r}; put it in brackets")
    with composer(config_dirs) as composing:
        return check(composing.resolved(list(overrides)))


def composer_of(arguments: argparse.Namespace) -> AbstractContextManager[Composer]:
    """The composer that a parsed command line asks for."""
    dirs = [arguments.config_dir] if arguments.config_dir else []
    return composer(dirs, arguments.config_name or CONFIG_NAME, arguments.config_path)


@contextmanager
def composer(
    config_dirs: Iterable[str | Path] = (), config_name: str = CONFIG_NAME, config_path: str | None = None
) -> Iterator[Composer]:
    """Hydra, set up for composing. Raises ConfigError where a folder of configs is not there."""
    extra = tuple(str(Path(os.path.expanduser(folder)).resolve()) for folder in config_dirs)
    main = Path(os.path.expanduser(config_path)).resolve() if config_path else config_dir()
    wanted = [("--config-path", str(main)), *(("--config-dir", folder) for folder in extra)]
    wanted += [(SEARCH_VARIABLE, folder) for folder in search_dirs()]
    gone = [(source, folder) for source, folder in wanted if not os.path.isdir(folder)]
    if gone:
        refuse(*(f"{source}: there is no folder {folder}; name one that is there" for source, folder in gone))
    # A program of Hydra that calls us has a state of its own, which is put aside.
    state, told = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().hydra = None
    token = _extra_dirs.set(extra)
    try:
        with initialize_config_dir(str(main), job_name="train", version_base=VERSION_BASE):
            yield Composer(config_name.removesuffix(".yaml"), [main, *map(Path, _search_path())])
    finally:
        _extra_dirs.reset(token)
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = state, told


@dataclass(frozen=True)
class Jobs:
    """What is to run: the config of the whole, the overrides to hand to Hydra, and those of each job by its number.

    searches: a sweeper chooses values as it goes; `each` has one job, of first values, that stands for all.
    """

    config: DictConfig
    overrides: list[str]
    each: list[list[str]]
    searches: bool = False


class Composer:
    """Composes configs, and finds out what is wrong with overrides that do not."""

    def __init__(self, config_name: str, folders: Sequence[Path]):
        self.config_name, self.folders = config_name, folders
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        self._hydra = hydra
        self._last: tuple[tuple[Any, ...], DictConfig] | None = None
        self.groups = sorted({file.parent.name for folder in folders for file in folder.glob("*/*.yaml")})
        self.lists, self.optional = self._kinds()

    def config(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """The composed config, the node `hydra` included. Raises ConfigError with every fault that could be found."""
        self._refuse_overrides(overrides, mode)
        asked = (mode, *overrides)
        try:
            if self._last is None or self._last[0] != asked:
                self._last = (asked, self._compose(overrides, mode))
            return self._last[1]
        except HYDRA_ERRORS as error:
            refuse(*(self._faults_of_keys(overrides, mode) or [sentence(error)]), cause=error)

    def resolved(self, overrides: Sequence[str], number: int = 0) -> dict[str, Any]:
        """The config as plain data, with nothing left to fill in; `number` is that of the job. Raises ConfigError."""
        config = self.config(overrides)
        with read_write(config.hydra), open_dict(config.hydra):  # what Hydra fills in when a job starts, and then locks
            config.hydra.job.num, config.hydra.job.id = number, str(number)
            config.hydra.runtime.output_dir = str(Path(config.runs_dir).resolve()) if "runs_dir" in config else ""
        HydraConfig.instance().set_config(config)
        return resolve(config)

    def draws(self, overrides: Sequence[str]) -> bool:
        """Whether values of this config are drawn by its seed."""
        return "${gantrick.drawn:" in str(OmegaConf.to_container(self.config(overrides), resolve=False))

    def _compose(self, overrides: Sequence[str], mode: RunMode) -> DictConfig:
        config = self._hydra.compose_config(
            config_name=self.config_name, overrides=list(overrides), run_mode=mode, with_log_configuration=False
        )
        assert isinstance(config, DictConfig)
        return config

    def jobs(self, overrides: Sequence[str], multirun: bool) -> Jobs:
        """What Hydra will run with these overrides, each job composed as Hydra will compose it. Raises ConfigError.

        A sweeper that chooses its own values cannot be enumerated: one job, of first values, stands for all of its.
        """
        given = [*overrides, "hydra.mode=MULTIRUN"] if multirun else list(overrides)
        spread = self._spread(given)
        config = self.config(spread, RunMode.MULTIRUN)  # the mode may stand in a file, so it is not known before
        if config.hydra.mode != RunMode.MULTIRUN:
            return Jobs(self.config(given), given, [given])
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        parsed = self._parse([*params, *config.hydra.overrides.task])
        for override in parsed:
            if override.is_discrete_sweep() and not list(override.sweep_string_iterator()):
                refuse(f"{override.input_line}: stands for no value at all; gantrick list shows the names")
        searches = not str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")
        for override in parsed if searches else ():
            if override.is_sweep_override() and override.key_or_group in ("metric", "dataset", "extractor"):
                refuse(f"{override.input_line}: a search goes by one figure of one data set; start one search for each")
        try:
            if searches:
                tasks = [[_first(override) for override in parsed]]
            else:
                tasks = BasicSweeper.split_arguments(parsed, None)[0]
        except HydraException as error:
            refuse(f"{sentence(error)}; give the values one by one", cause=error)
        return Jobs(config, spread, [[*config.hydra.overrides.hydra, *task] for task in tasks], searches)

    def _parse(self, overrides: Sequence[str]) -> list[Override]:
        return OverridesParser.create(self._hydra.config_loader).parse_overrides(list(overrides))

    def _spread(self, overrides: Sequence[str]) -> list[str]:
        """The same overrides, where a key that only some jobs of a sweep have is a sweep of its one value.

        Hydra sets a plain override in the config of the whole as well, where a swept choice has not been made yet:
        `-m trick=[ema],[ema,cascading] trick.ema.decay=0.9` would find no ema there.
        """
        self._refuse_overrides(overrides, RunMode.MULTIRUN)
        parsed = self._parse(overrides)
        if not any(o.is_sweep_override() and self.is_group(o.key_or_group) for o in parsed):
            return list(overrides)
        base = self._chosen(overrides, parsed, RunMode.MULTIRUN)
        late = [not o.is_sweep_override() and self._fault_of_key(base, o) is not None for o in parsed]
        return [
            f"{o.get_key_element()}=choice({o.get_value_element_as_str()})" if is_late else text
            for text, o, is_late in zip(overrides, parsed, late, strict=True)
        ]

    # --- what can be wrong ---

    def options(self, group: str) -> list[str]:
        """The names to choose from in a group: "loss", "hydra/launcher"."""
        if group.startswith("hydra/"):
            found: list[str] = self._hydra.config_loader.get_group_options(group, ObjectType.CONFIG)
            return found
        return sorted({file.stem for folder in self.folders for file in folder.glob(f"{group}/*.yaml")})

    def _kinds(self) -> tuple[set[str], set[str]]:
        """The groups that take a list, and those that may be null, as gantrick's own defaults say."""
        defaults = yaml.safe_load((config_dir() / f"{CONFIG_NAME}.yaml").read_text(encoding="utf-8"))["defaults"]
        entries = [(group, choice) for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()]
        return {g for g, c in entries if isinstance(c, list)}, {g for g, c in entries if c is None}

    def is_group(self, key: str) -> bool:
        if key.startswith("hydra/"):
            return bool(self.options(key))
        return bool(key) and any((folder / key).is_dir() for folder in self.folders)

    def _refuse_overrides(self, overrides: Sequence[str], mode: RunMode) -> None:
        """Refuses what is seen from the overrides alone: how they are written, and the choices of groups."""
        faults: list[str] = []
        seen: dict[str, list[str]] = {}
        elsewhere = any(text.startswith("hydra.searchpath=") for text in overrides)  # names that are not seen from here
        for text in overrides:
            try:
                [override] = self._parse([text])
            except OverrideParseException as error:
                faults.append(self._unreadable(text, error))
                continue
            if not override.key_or_group:
                faults.append(f"{text}: has no key before its =; write key=value")
            elif override.is_sweep_override() and mode == RunMode.RUN:
                faults.append(f"{text}: is several values; add -m to run each, or write {_as_list(text)} for a list")
            elif self.is_group(override.key_or_group) and override.package is None and not override.is_delete():
                seen.setdefault(override.key_or_group, []).append(text)
                for value in _values(override) if not elsewhere else []:
                    faults += self._faults_of_choice(override.key_or_group, value, text)
        for group, texts in seen.items():
            if len(texts) > 1:
                remedy = f"write {group}=[…,…] once" if group in self.lists else "leave one out, or sweep over both: -m"
                faults.append(f"{' '.join(texts)}: {group} is chosen {len(texts)} times; {remedy}")
        if faults:
            refuse(*dict.fromkeys(faults))

    def _unreadable(self, text: str, error: OverrideParseException) -> str:
        if text and "=" not in text:
            homes = [group for group in self.groups if text in self.options(group)]
            if homes:
                return f"{text}: is not key=value; did you mean {homes[0]}={text}?"
            return f"{text}: is not key=value; write what it is to be after ="
        if error.__cause__ is not None:
            reason = " ".join(str(error.__cause__).split())
            return f"{text}: cannot be read: {reason}; a word with brackets needs quotes"
        return f"{text or repr(text)}: cannot be read; check its brackets, and put quotes around the whole: 'key=[a,b]'"

    def _faults_of_choice(self, group: str, value: Any, text: str) -> list[str]:
        if value is None:
            if group in self.lists:
                return [f"{text}: {group} takes a list of names; write {group}=[] for none"]
            if group in self.optional or group.startswith("hydra/"):
                return []
            return [f"{text}: a run cannot do without; {_among(self.options(group), 'choose')}"]
        if isinstance(value, dict):
            return [f"{text}: {group} takes names; set a key of the choice instead, as in {group}.key=value"]
        if isinstance(value, list) and group not in self.lists:
            names = ",".join(str(name) for name in value)
            return [f"{text}: {group} takes one name, not a list; to run each: -m {group}={names}"]
        faults = []
        for name in value if isinstance(value, list) else [value]:
            word = str(name).removesuffix(".yaml")
            if word.startswith("${") or word in self.options(group) or "/" in word:
                continue
            if (needs := _needs_extra(f"{group}/{word}")) is not None:
                faults.append(f"{text}: {needs}")
                continue
            read = "" if isinstance(name, str) else f" (read as {_kind(name)})"
            advice = suggest(word, self.options(group), "choose")
            faults.append(f"{text}: there is no {group} called {word}{read}; {advice}")
        if isinstance(value, list) and len({str(n) for n in value}) < len(value):
            faults.append(f"{text}: names one {group} twice; leave one of them out")
        return faults

    def _faults_of_keys(self, overrides: Sequence[str], mode: RunMode) -> list[str]:
        """What is seen once the groups are chosen: keys that are not there, each with the nearest one that is."""
        parsed = self._parse(overrides)
        try:
            base = self._chosen(overrides, parsed, mode)
        except HYDRA_ERRORS:
            return []  # the fault is in a file
        return [fault for override in parsed if (fault := self._fault_of_key(base, override)) is not None]

    def _chosen(self, overrides: Sequence[str], parsed: Sequence[Override], mode: RunMode) -> DictConfig:
        """The config with the groups chosen and nothing else set."""
        choices = [self.is_group(override.key_or_group) or override.is_hydra_override() for override in parsed]
        return self._compose([text for text, chosen in zip(overrides, choices, strict=True) if chosen], mode)

    def _fault_of_key(self, base: DictConfig, override: Override) -> str | None:
        key, parts = override.key_or_group, override.key_or_group.split(".")
        node: Any = base
        if self.is_group(key) or override.is_hydra_override():
            return None
        if override.is_add() or override.is_force_add() or override.is_delete() or "[" in key:
            if override.is_add() and OmegaConf.select(base, key) is not None:
                return f"{override.input_line}: {key} is there already; leave the + out to change it"
            return None
        for depth, part in enumerate(parts):
            if isinstance(node, DictConfig) and part in list(node):  # `in node` is false of a ??? without a value
                node = node._get_node(part)
                continue
            parent = ".".join(parts[:depth])
            if depth == 1 and parent in self.lists and part in self.options(parent):
                taken = ",".join([*map(str, base[parent]), part])
                return f"{key}: {part} is not chosen; add it: {parent}=[{taken}]"
            if not isinstance(node, DictConfig):
                return f"{key}: {parent} has no keys of its own; it is {OmegaConf.select(base, parent)!r}"
            if depth == 1 and parent in self.lists:
                names = {*map(str, node), *self.options(parent)}
                return f"{key}: there is no {parent} called {part}; {suggest(part, names, 'choose')}"
            known = [str(k) for k in node if k != "hydra"]
            elsewhere = [] if depth else sorted(_leaves(base, part), key=lambda k: (k.count("."), k))
            if elsewhere:
                return f"{key}: there is no such key; did you mean {elsewhere[0]}?"
            if not depth:
                known += self.groups
            return f"{key}: there is no key {part}; {suggest(part, known, 'there is', prefix=parent)}"
        return None


def resolve(config: DictConfig) -> dict[str, Any]:
    """A composed config as plain data without the node `hydra`. Raises ConfigError where a value is missing."""
    plain: dict[str, Any] = {}
    faults = []
    for key in config:
        if key == "hydra":
            continue
        try:
            value = config[key]
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
            plain[str(key)] = value
        except MissingMandatoryValue as error:
            name = str(getattr(error, "full_key", None) or key)
            faults.append(f"{name}: has no value yet (???); give it one: {name}=…")
        except OmegaConfBaseException as error:
            faults.append(sentence(error))
    if faults:
        refuse(*faults)
    return plain


def stamp() -> str:
    """The name of a folder for many runs: the time, and an id that no other has."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{_id()}"


def quoted(text: object) -> str:
    """A value that Hydra's parser reads as this text, whatever is in it."""
    return QuotedString(str(text), Quote.single).with_quotes()


def key_of(word: str) -> str:
    """What an override is about: `trick` of "+trick=[ema]" and "trick@_here_=ema"."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def job_name(overrides: Iterable[str]) -> str:
    """What tells one job of a sweep from another: its overrides without Hydra's."""
    return " ".join(text for text in overrides if not text.startswith(("hydra.", "hydra/")))


def suggest(word: str, known: Iterable[str], otherwise: str, prefix: str = "") -> str:
    """ "did you mean hinge?", or all the names there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, 1, 0.6)
    if near:
        return f"did you mean {prefix + '.' if prefix else ''}{near[0]}?"
    return _among(names, otherwise)


def sentence(error: BaseException) -> str:
    """An error of Hydra, OmegaConf or YAML as one sentence, its cause included."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: is not YAML: {error.problem}; mend the file"
    missing = getattr(error, "missing_cfg_file", None)
    if missing and "primary config" in str(error):
        return f"--config-name {missing}: there is no such config where configs are looked for; name one that is there"
    if missing and (needs := _needs_extra(str(missing).removesuffix(".yaml"))) is not None:
        return f"{missing}: {needs}"
    if missing:
        return f"{missing}: a config names it, and there is no such file; gantrick list shows the names"
    key = getattr(error, "full_key", None)
    text = str(getattr(error, "msg", None) or error).split("\n    full_key:")[0].split("\nfull_key:")[0]
    parts = [" ".join(text.split())]
    if error.__cause__ is not None and isinstance(error.__cause__, HYDRA_ERRORS):
        cause = sentence(error.__cause__)
        if cause not in parts[0]:
            parts.append(cause)
    line = ": ".join(part for part in parts if part) or type(error).__name__
    return f"{key}: {line}" if key and not line.startswith(str(key)) else line


def _among(names: Sequence[str], word: str) -> str:
    if not names:
        return "there are none yet"
    return f"{word} {', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else f"{word} {names[0]}"


def _needs_extra(name: str) -> str | None:
    extra = EXTRAS.get(name)
    return None if extra is None else f'is not installed here; pip install "gantrick[{extra}]"'


def _as_list(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{key}=[{value}]"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, (int, float)) else type(value).__name__


def _values(override: Override) -> list[Any]:
    """The values of a choice of group: one, or those of a sweep."""
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        return []
    return [Override._convert_value(value) for value in override.sweep_iterator()]


def _first(override: Override) -> str:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return f"{key}={override.get_value_element_as_str()}"
    value = override.value()
    if isinstance(value, IntervalSweep):
        return f"{key}={value.start}"
    return f"{key}={next(override.sweep_string_iterator())}"


def _leaves(config: DictConfig, name: str, path: str = "") -> Iterator[str]:
    """Every dotted key below the top that ends in `name`."""
    for key in config:
        child = config._get_node(key)
        full = f"{path}{key!s}"
        if full == "hydra":
            continue
        if path and key == name:
            yield full
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _leaves(child, name, f"{full}.")
