"""The Hydra entry point: config -> run. Everything is checked before Hydra makes a folder or starts a job."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import RunMode
from omegaconf import DictConfig

from gantrick import config

log = logging.getLogger(__name__)
_raised: list[Exception] = []  # by the one run of this process; Hydra would print it in its own way


def task(composed: DictConfig) -> None:
    """One run: a job of a sweep, or the only one. A job that fails says so in its own folder, and the others go on."""
    from gantrick.tracking.folder import RunFolder
    from gantrick.types import GantrickError

    node = HydraConfig.get()
    folder = Path(node.runtime.output_dir)
    sweep = Path(node.sweep.dir).name if node.mode == RunMode.MULTIRUN else None
    try:
        from gantrick import recipe, trainer

        code = trainer.run(recipe.check(config.resolve(composed)), folder, command=_command(node), sweep=sweep)
    except Exception as error:
        if sweep is None:
            _raised.append(error)
            _remove_empty(folder)
            return
        reason = str(error) if isinstance(error, GantrickError) else f"{type(error).__name__}: {error}"
        debug = os.environ.get("GANTRICK_DEBUG") == "1"
        log.error("job %s: %s", node.job.num, " ".join(reason.split()), exc_info=debug)
        if not (folder / "status.json").exists():  # it failed before it began
            RunFolder(folder).status("failed", 0, reason)
        return
    if code:
        raise SystemExit(code)


_hydra = hydra.main(
    version_base=config.VERSION_BASE, config_path=str(config.config_dir()), config_name=config.CONFIG_NAME
)
entry = _hydra(task)  # under another name than the task, which launchers look up by its name


def main(words: Sequence[str]) -> list[str]:
    """`gantrick train` with these words after it. Gives back why jobs of a sweep failed, one sentence each.

    Raises ConfigError with every fault of every job before anything has been started or written.
    """
    arguments = config.parse(words)
    if any(word.startswith("resume=") for word in arguments.overrides):
        resume(arguments.overrides, arguments.multirun)
        return []
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
            overrides = jobs.overrides
            if jobs.config.hydra.mode == RunMode.MULTIRUN:
                sweep = Path(jobs.config.hydra.sweep.dir)  # pinned, as its name holds the time and an id
                overrides.append(f"hydra.sweep.dir={QuotedString(str(sweep), Quote.single).with_quotes()}")
    _raised.clear()
    with _command_line("gantrick train", [*flags, *overrides]):
        try:
            with config.tolerant_argparse():
                entry()
        except config.HYDRA_ERRORS as error:
            config.refuse(config.sentence(error), cause=error)
    if _raised:
        raise _raised.pop()
    return failures(sweep) if sweep else []


# What may differ between a run and its continuation: how long, where and how closely it is watched.
CHANGEABLE = (
    "steps", "device", "log_every", "sample_every", "eval_every", "eval_samples", "checkpoint_every", "wandb.mode",
    "dataset.resident", "dataset.workers",
)  # fmt: skip


def resume(overrides: Sequence[str], multirun: bool) -> None:
    """Goes on with a run: `resume=RUN`, with more `steps=` if wanted. Raises ConfigError before anything is touched."""
    import yaml

    from gantrick import recipe, trainer
    from gantrick.types import ConfigError

    if multirun:
        raise ConfigError("resume: goes on with one run, not with a sweep; leave -m out")
    given = dict(word.partition("=")[::2] for word in overrides)
    folder = Path(given.pop("resume")).expanduser()
    file = folder / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"resume={folder}: not a run folder, it has no config.yaml; name a folder under runs/")
    refused = [key for key in given if key not in CHANGEABLE]
    if refused:
        raise ConfigError(
            *(
                f"{key}: cannot change when a run is resumed; start a new run, or set {', '.join(CHANGEABLE)}"
                for key in refused
            )
        )
    resolved: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for key, text in given.items():
        value = yaml.safe_load(text)
        group, _, name = key.rpartition(".")
        if group:
            resolved[group] = {**resolved.get(group, {}), name: value}
        else:
            resolved[name] = value
    code = trainer.run(
        recipe.check(resolved), folder, command=shlex.join(["gantrick", "train", *overrides]), resume=True
    )
    if code:
        raise SystemExit(code)


def complete(words: Sequence[str]) -> None:
    """Hydra's shell completion: `words` are `-sc install=bash`, or `-sc query=bash` with COMP_LINE in the environ."""
    with _command_line("gantrick", words), config.tolerant_argparse():
        entry()


def check_jobs(composing: config.Composer, jobs: Sequence[Sequence[str]]) -> None:
    """Composes and checks the job behind each list of overrides. Raises ConfigError with all faults and whose they are.

    Of jobs that pass, those that differ only in their seed are checked once, and each seed once.
    """
    from gantrick import gan, recipe
    from gantrick.types import ConfigError

    faults: dict[str, list[int]] = {}
    passed: set[tuple[str, ...]] = set()
    for number, job in enumerate(jobs):
        seeds = tuple(text for text in job if text.startswith("seed="))
        rest = tuple(text for text in job if not text.startswith("seed="))
        if seeds in passed and rest in passed:
            continue
        try:
            gan.preflight(recipe.check(composing.resolved(job, number)))
            passed |= {seeds, rest}
        except ConfigError as error:
            for fault in error.faults:
                faults.setdefault(fault, []).append(number)
    if faults:
        raise ConfigError(*(_of_jobs(numbers, jobs) + fault for fault, numbers in faults.items()))


def failures(sweep: Path) -> list[str]:
    """Why jobs of a sweep did not finish, as their folders tell; a process that was killed has left `running`."""
    found = []
    for file in sorted(sweep.glob("**/status.json"), key=lambda f: (len(f.parent.name), f.parent.name)):
        status: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if status["state"] != "finished":
            reason = status["reason"] or f"ended while {status['state']}"
            found.append(f"job {file.parent.relative_to(sweep)}: {reason} (see {file.parent})")
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
