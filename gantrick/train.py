"""The Hydra entry point: config -> run. Everything is checked before Hydra makes a folder or starts a job."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from gantrick import config
from gantrick.peers import SWEEP
from gantrick.tracking.console import Console

if TYPE_CHECKING:
    from gantrick.recipe import Recipe

log = logging.getLogger(__name__)
DEALT = ("JoblibLauncher", "LocalLauncher")  # side by side on one machine; Slurm and Ray deal out GPUs themselves
_raised: list[Exception] = []  # by the one run of this process; Hydra would print it in its own way


def task(composed: DictConfig) -> float | None:
    """One run: a job of a sweep, or the only one. A job that fails says so in its own folder, and the others go on.

    Gives the best value of a job's first figure, by which a sweeper that searches goes; None where there is none.
    """
    from gantrick.tracking.folder import RunFolder
    from gantrick.types import GantrickError

    node = HydraConfig.get()
    folder = Path(node.runtime.output_dir)
    sweep = Path(node.sweep.dir).name if node.mode == RunMode.MULTIRUN else None
    try:
        from gantrick import launch, recipe

        made, begun = recipe.check(config.resolve(composed)), False
        if sweep is not None or int(os.environ.get("SLURM_RESTART_COUNT", "0")):
            begun = (folder / "config.yaml").is_file()  # by a process that was stopped, or by Slurm before a requeue
            if begun and _finished(made, folder):
                return _best(made, folder)
        with _gpus(node, made):
            code = launch.run(made, folder, command=_command(node), sweep=sweep, resume=begun)
    except Exception as error:
        if sweep is None:
            _raised.append(error)
            _remove_empty(folder)
            return None
        reason = str(error) if isinstance(error, GantrickError) else f"{type(error).__name__}: {error}"
        debug = os.environ.get("GANTRICK_DEBUG") == "1"
        log.error("job %s: %s", node.job.num, " ".join(reason.split()), exc_info=debug)
        if RunFolder(folder).state() is None:  # it failed before it began
            RunFolder(folder).status("failed", 0, reason)
        return None
    if code and (sweep is None or _launcher(node) == "BasicLauncher"):
        raise SystemExit(code)
    # In a process of its own a job was stopped alone, and its folder says so; a launcher would take the exit for a bug.
    return None if code or sweep is None else _best(made, folder)


def _launcher(node: Any) -> str:
    """The class that launches the jobs."""
    return str(node.launcher.get("_target_")).rpartition(".")[2]


def _gpus(node: Any, made: Recipe) -> AbstractContextManager[object]:
    """Inside, a job that others run beside on this machine has GPUs of its own, where nobody else sees to that."""
    from gantrick import gpus

    settings = made.settings
    if node.mode != RunMode.MULTIRUN or _launcher(node) not in DEALT or settings.device not in ("auto", "cuda"):
        return nullcontext()
    return gpus.dealt(node.job.num, settings.devices, settings.jobs_per_gpu, Console().event)


def _best(made: Recipe, folder: Path) -> float | None:
    """The best value of a run's first figure, as its folder tells."""
    if not made.metrics:
        return None
    try:
        report = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        value = report["best"]["figures"][made.metrics[0].create().primary]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _finished(made: Recipe, folder: Path) -> bool:
    """Whether the job that a folder has is this one, and has all the steps that are asked for.

    Raises ConfigError where it is another.
    """
    from gantrick import recipe
    from gantrick.tracking.folder import RunFolder
    from gantrick.types import ConfigError

    there = recipe.recorded(folder)
    unlike = [k for k, v in made.work.items() if k not in CHANGEABLE and there.work.get(k, v) != v]
    if unlike:
        raise ConfigError(
            f"{folder}: holds a job of another config, {', '.join(unlike)} differ; undo that, or start a new sweep"
        )
    if made.settings.max_seconds != there.settings.max_seconds:
        return False
    return RunFolder(folder).state() == "finished" and made.settings.steps <= there.settings.steps


class Forget(Callback):
    """Hydra keeps what every job of a sweep gave back until the last has ended: without the configs, it is little."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None


_hydra = hydra.main(
    version_base=config.VERSION_BASE, config_path=str(config.config_dir()), config_name=config.CONFIG_NAME
)
entry = _hydra(task)  # under another name than the task, which launchers look up by its name


def main(words: Sequence[str]) -> list[str]:
    """`gantrick train` with these words after it. Gives back why jobs of a sweep failed, one sentence each.

    Raises ConfigError with every fault of every job before anything has been started or written.
    """
    arguments = config.parse(words)
    with _several():
        return _main(words, arguments)


def _main(words: Sequence[str], arguments: Any) -> list[str]:
    pinned: Path | None = None
    if any(word.startswith("resume=") for word in arguments.overrides):
        folder, changes = _to_resume(arguments.overrides, arguments.multirun)
        if not (folder / SWEEP).is_file():
            resume(folder, changes, words)
            return []
        pinned, words = folder, _words_of(folder, changes)
        arguments = config.parse(words)
    asked, overrides = config.flags_first(words), list(arguments.overrides)
    flags = asked[: len(asked) - len(overrides)]
    sweep: Path | None = None
    with config.composer_of(arguments) as composing:
        shows = arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
        if shows:
            composing.config([] if arguments.hydra_help or arguments.shell_completion else overrides)
        elif not arguments.experimental_rerun:
            jobs = composing.jobs(overrides, arguments.multirun)
            check_jobs(composing, jobs.each)
            overrides = jobs.overrides + _direction(composing, jobs, pinned is not None)
            if jobs.config.hydra.mode == RunMode.MULTIRUN:
                sweep = pinned or Path(jobs.config.hydra.sweep.dir)  # pinned, as its name holds the time and an id
                if pinned is None:
                    from gantrick.tracking.folder import write_atomically

                    sweep.mkdir(parents=True, exist_ok=True)
                    write_atomically(sweep / SWEEP, json.dumps({"words": [*flags, *jobs.overrides]}, indent=2) + "\n")
                overrides.append(f"hydra.sweep.dir={config.quoted(sweep)}")
            if "torch.distributed" in sys.modules:
                overrides += _one_folder(jobs.config)
    _raised.clear()
    broken: list[str] = []
    with _command_line("gantrick train", [*flags, *overrides]):
        try:
            with config.tolerant_argparse(), config.checked_before():
                entry()
        except (SystemExit, KeyboardInterrupt):
            if sweep is not None:
                Console().event(f"the sweep is stopped; go on with: gantrick train resume={sweep}")
            raise
        except Exception as error:  # in a sweep a launcher's or a sweeper's: those of jobs are in their folders
            begun = sweep is not None and any(sweep.glob("**/status.json"))
            if isinstance(error, config.HYDRA_ERRORS) and not begun:
                config.refuse(config.sentence(error), cause=error)
            if sweep is None:
                raise
            log.info("the sweep broke off", exc_info=os.environ.get("GANTRICK_DEBUG") == "1")
            broken.append(f"the sweep broke off ({type(error).__name__}: {_brief(error)})")
    if _raised:
        raise _raised.pop()
    if sweep is None:
        return []
    found = [*failures(sweep, 0 if jobs.searches else len(jobs.each)), *broken]
    return [*found, f"once the cause is mended, go on with: gantrick train resume={sweep}"] if found else []


def _brief(error: Exception) -> str:
    """What a launcher says, in a line: it may hold another process's whole traceback, whose last line says what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no more is known"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)), lines[0])[:300]


def _direction(composing: config.Composer, jobs: config.Jobs, resumed: bool) -> list[str]:
    """What a search by Optuna is to be told: whether its figure is better low or high. Raises ConfigError."""
    from gantrick import recipe
    from gantrick.types import ConfigError

    if not jobs.searches or not str(jobs.config.hydra.sweeper.get("_target_")).endswith(".OptunaSweeper"):
        return []
    sweeper = jobs.config.hydra.sweeper
    if resumed and sweeper.storage is not None:
        raise ConfigError(
            f"resume: the study is kept in {sweeper.storage}; start it again with -m and hydra.sweeper.study_name, "
            "which adds trials to those that are there, in a sweep of its own"
        )
    if resumed and sweeper.sampler.get("seed") is None:
        raise ConfigError(
            "resume: a search whose hydra.sweeper.sampler.seed is null would ask for other settings than those that "
            "were run; start it anew, with a seed"
        )
    metrics = recipe.check(composing.resolved(jobs.each[0])).metrics
    if not metrics:
        raise ConfigError("metric=[]: a search needs a figure to go by; choose one, as in metric=[fid]")
    metric = metrics[0].create()
    wanted = "minimize" if metric.lower_is_better else "maximize"
    for word in jobs.overrides:
        key, _, value = word.partition("=")
        if key == "hydra.sweeper.direction" and value != wanted:
            raise ConfigError(f"{word}: {metric.primary} asks for {wanted}; leave that out, as the metric sets it")
    return [f"hydra.sweeper.direction={wanted}"]


def run_jobs(flags: Sequence[str], overrides: Sequence[str], jobs: Sequence[Sequence[str]], folder: Path) -> None:
    """Runs jobs, a list of overrides each, by the launcher that `overrides` choose; their folders are in `folder`.

    A job whose folder is there already goes on, or is left alone where it has finished. Raises ConfigError.
    """
    words = [*flags, *overrides, "hydra.mode=MULTIRUN", f"hydra.sweep.dir={config.quoted(folder)}"]
    with _command_line("gantrick train", words), config.given_jobs(jobs):
        try:
            with config.tolerant_argparse(), config.checked_before():
                entry()
        except config.HYDRA_ERRORS as error:
            config.refuse(config.sentence(error), cause=error)


@contextmanager
def _several() -> Iterator[None]:
    """Inside, this process is one of those that torchrun has started, if it has. The first to fail says why."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    from gantrick import launch, parallel

    parallel.start()
    try:
        yield
    except Exception as error:
        reason, code = launch.told(error)
        if not parallel.report(reason, code):
            raise SystemExit(code) from error
        raise


def _one_folder(composed: DictConfig) -> list[str]:
    """The override that has all processes of a run take the folder of the first."""
    from gantrick import parallel
    from gantrick.types import ConfigError

    if parallel.world() == 1:
        return []
    if composed.hydra.mode == RunMode.MULTIRUN:
        raise ConfigError("-m: torchrun starts one run, not a sweep; leave torchrun out and set devices=N")
    folder = parallel.exchange(str(composed.hydra.run.dir))[0]
    return [f"hydra.run.dir={config.quoted(folder)}"]


# What may differ between a run and its continuation: how long, where and how closely it is watched.
CHANGEABLE = (
    "steps", "max_seconds", "device", "devices", "jobs_per_gpu", "compile", "cuda_graphs", "log_every", "sample_every",
    "eval_every", "eval_samples", "checkpoint_every", "keep_every", "keep_limit", "wandb.mode", "dataset.resident",
    "dataset.workers",
)  # fmt: skip


def _to_resume(overrides: Sequence[str], multirun: bool) -> tuple[Path, dict[str, str]]:
    """The folder to go on with, and what is to be changed. Raises ConfigError."""
    from gantrick.types import ConfigError

    if multirun:
        raise ConfigError("resume: a sweep knows its jobs; leave -m out, as in gantrick train resume=SWEEP")
    changes = dict(word.partition("=")[::2] for word in overrides)
    folder = Path(os.path.expanduser(changes.pop("resume")))
    refused = [key for key in changes if key not in CHANGEABLE]
    if refused:
        raise ConfigError(
            *(
                f"{key}: cannot change when a run is resumed; start a new run, or set {', '.join(CHANGEABLE)}"
                for key in refused
            )
        )
    return folder, changes


def _words_of(sweep: Path, changes: Mapping[str, str]) -> list[str]:
    """The words that a sweep was started with, and the changes. Raises ConfigError where they cannot be read."""
    from gantrick.types import ConfigError

    try:
        words = json.loads((sweep / SWEEP).read_text(encoding="utf-8"))["words"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{sweep / SWEEP}: cannot be read; restore it, or resume the jobs one by one") from error
    return [w for w in words if w.partition("=")[0] not in changes] + [f"{k}={v}" for k, v in changes.items()]


def resume(folder: Path, changes: Mapping[str, str], words: Sequence[str]) -> None:
    """Goes on with a run. Raises ConfigError before anything is touched."""
    import yaml

    from gantrick import launch, recipe
    from gantrick.types import ConfigError, GantrickError

    values: dict[str, Any] = {}
    for key, text in changes.items():
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{key}: {text!r} is not a value; give one as in {key}=…") from error
    try:
        made = recipe.recorded(folder, values)
    except GantrickError as error:
        config.refuse(f"resume={error}", cause=error)
    sweep = folder.parent.name if (folder.parent / SWEEP).is_file() else None
    code = launch.run(made, folder, command=shlex.join(["gantrick", "train", *words]), sweep=sweep, resume=True)
    if code:
        raise SystemExit(code)


def complete(words: Sequence[str]) -> None:
    """Hydra's shell completion: `words` are `-sc install=bash`, or `-sc query=bash` with COMP_LINE in the environ."""
    with _command_line("gantrick", words), config.tolerant_argparse():
        entry()


def check_jobs(composing: config.Composer, jobs: Sequence[Sequence[str]]) -> None:
    """Composes and checks the job behind each list of overrides. Raises ConfigError with all faults and whose they are.

    Of jobs that pass, those that differ only in their seed, a whole number, are checked once; unless other values are
    drawn by it.
    """
    from gantrick import gan, recipe
    from gantrick.types import ConfigError

    faults: dict[str, list[int]] = {}
    passed: set[tuple[str, ...]] = set()
    for number, job in enumerate(jobs):
        rest = tuple(text for text in job if not re.fullmatch(r"seed=\d+", text))
        if rest in passed:
            continue
        try:
            gan.preflight(recipe.check(composing.resolved(job, number)))
            if not composing.draws(job):
                passed.add(rest)
        except ConfigError as error:
            for fault in error.faults:
                faults.setdefault(fault, []).append(number)
    if faults:
        raise ConfigError(*(_of_jobs(numbers, jobs) + fault for fault, numbers in faults.items()))


def failures(sweep: Path, jobs: int = 0) -> list[str]:
    """Why jobs of a sweep did not finish, as their folders tell; a process that was killed has left `running`.

    jobs: how many there should be at least.
    """
    found, begun = [], 0
    for file in sorted(sweep.glob("**/status.json"), key=lambda f: (len(f.parent.name), f.parent.name)):
        try:
            status: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            state, reason = status["state"], status["reason"]
        except (OSError, ValueError, KeyError, TypeError):
            state, reason = "unknown", f"{file.name} cannot be read"
        begun += 1
        if state != "finished":
            reason = reason or f"ended while {state}"
            found.append(f"job {file.parent.relative_to(sweep)}: {reason} (see {file.parent})")
    if begun < jobs:
        found.append(f"{jobs - begun} of {jobs} jobs were not begun")
    return found


def _remove_empty(folder: Path) -> None:
    """A run that was refused before it wrote anything leaves no folder."""
    for path in (folder, folder.parent):
        try:
            path.rmdir()
        except OSError:  # something is in it
            return


def _of_jobs(numbers: Sequence[int], jobs: Sequence[Sequence[str]]) -> str:
    if len(numbers) == len(jobs):
        return ""
    if len(numbers) == 1:
        return f"job {numbers[0]} ({config.job_name(jobs[numbers[0]])}): "
    return f"jobs {', '.join(map(str, numbers))} (the first: {config.job_name(jobs[numbers[0]])}): "


def _command(node: Any) -> str:
    """What one would type to have this one run again."""
    words = ["gantrick", "train"]
    for source in node.runtime.config_sources:
        if source.provider == "command-line":
            words += ["--config-dir", source.path]
    if node.job.config_name != config.CONFIG_NAME:
        words += ["--config-name", node.job.config_name]
    return shlex.join([*words, *node.overrides.task])


@contextmanager
def _command_line(program: str, words: Sequence[str]) -> Iterator[None]:
    """What Hydra reads: the words after the program's name, and that it is to raise errors instead of printing them."""
    argv, full, tells = sys.argv, os.environ.get("HYDRA_FULL_ERROR"), logging.raiseExceptions
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [program, *words], "1"
    logging.raiseExceptions = False  # --info is logged: `| head` would make a traceback of every further line
    try:
        yield
    finally:
        sys.argv, logging.raiseExceptions = argv, tells
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
