"""Weights & Biases: a copy of the run's record. Nothing that goes wrong with it reaches the run."""

from __future__ import annotations

import netrc
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MODES = ("online", "offline", "disabled")
WORDS = 128  # characters that W&B takes for a name or a group; of a tag and a kind of job 64
PATIENCE = 30.0  # seconds for a server to answer before the run goes on offline
UPLOAD = 300.0  # seconds that the end of a run waits for its last uploads
FAILURES = (Exception, SystemExit)  # the library leaves by SystemExit when its own process has gone wrong


class WandbLog:
    """One run at W&B. No call raises: the first failure is told through `warn`, and after it nothing is sent.

    mode: auto is what WANDB_MODE or `wandb offline` says, else online where a key is configured, else offline. An
    online run that cannot be started becomes an offline one of the same id. Nobody is ever asked for a key.
    """

    def __init__(
        self,
        mode: str,
        project: str,
        entity: str | None,
        *,
        folder: Path,
        runs_dir: Path,
        name: str | None,
        group: str | None,
        job_type: str | None,
        tags: Sequence[str],
        config: Mapping[str, Any],
        run_id: str | None,
        warn: Callable[[str], None],
    ):
        self.mode, self.active = mode, False
        # A sweep of W&B's own has chosen the id before this process began.
        self.id: str | None = run_id or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        self._folder, self._runs_dir, self._warn = Path(folder), Path(runs_dir), warn
        self._run: Any = None
        self._options: dict[str, Any] = {
            "project": clean_project(project),
            "entity": entity,
            "name": name and name[:WORDS],
            "group": group and group[:WORDS],
            "job_type": job_type and job_type[:64],
            "tags": list(dict.fromkeys(tag[:64] for tag in tags if tag)),
            "config": {**filters(config), "folder": str(folder), "gantrick": config},
        }

    def start(self) -> None:
        """Begins the run. The library is imported here, so that a run without it does not wait for it."""
        if self.mode == "auto" and os.environ.get("WANDB_MODE") == "disabled":
            self.mode = "disabled"
        if self.mode != "disabled":
            self.active = True
            self._try(self._start)
        if self._run is None:
            if self.mode != "disabled":
                _tear_down()
            self.active, self.mode, self.id = False, "disabled", None

    def log(self, row: Mapping[str, Any]) -> None:
        """One row. Its `step` is a value like the others, as W&B drops rows whose own step is not the newest."""
        values = {key: value for key, value in row.items() if value is not None}
        self._try(lambda: self._run.log(values))

    def picture(self, key: str, path: Path, step: int) -> None:
        """One picture from its file."""

        def send() -> None:
            import wandb

            self._run.log({key: wandb.Image(str(path), caption=f"step {step}"), "step": step})

        self._try(send)

    def figure_metric(self, name: str, lower_is_better: bool) -> None:
        """Has the run's table show the best value of a figure, and the last."""
        best = "min" if lower_is_better else "max"
        self._try(lambda: self._run.define_metric(name, step_metric="step", summary=f"{best},last"))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda: self._run.summary.update(dict(values)))

    def finish(self, exit_code: int) -> None:
        """Ends the run, whatever came before. An online run waits for its uploads, for some minutes at the most."""
        self._try(lambda: self._run.finish(exit_code=exit_code))
        if self._run is not None and not self.active:
            _tear_down(exit_code)
        self._run, self.active = None, False

    def _try(self, act: Callable[[], object]) -> None:
        if not self.active:
            return
        try:
            act()
        except FAILURES as error:
            self.active = False
            self._warn(f"W&B: {sentence(error)}; nothing more is sent to it, the run folder has everything")

    def _start(self) -> None:
        import wandb

        self._runs_dir.mkdir(parents=True, exist_ok=True)  # W&B takes a temporary folder where this one is missing
        # Silent from the first call on: it asks for a key only where it may speak.
        known = wandb.setup(settings=wandb.Settings(silent=True)).settings
        asked = self.mode == "online"
        if self.mode == "auto":
            told = {"dryrun": "offline"}.get(known.mode, known.mode)
            self.mode = told if told in MODES else "online"
            asked = os.environ.get("WANDB_MODE") == "online"
        if self.mode == "disabled":
            return
        if self.mode == "online" and not has_key(known):
            self.mode = "offline"
            if asked:
                self._warn("W&B: online was asked for without a key; the run is kept offline, use `wandb login`")
        if self.mode == "online":
            try:
                self._run = self._init("online")
            except FAILURES as error:
                self.mode = "offline"
                self._warn(f"W&B: {sentence(error)}; the run is kept offline, and `wandb sync` uploads it later")
                _tear_down()
        if self._run is None:
            self._run = self._init("offline")
        self.id = self._run.id
        self._run.define_metric("*", step_metric="step")

    def _init(self, mode: Any) -> Any:
        import wandb

        settings = wandb.Settings(silent=True, console="off", init_timeout=PATIENCE)
        if hasattr(settings, "finish_timeout"):  # older versions wait for ever
            settings.finish_timeout, settings.finish_timeout_raises = UPLOAD, True
        if self._options["group"] is not None and hasattr(settings, "x_save_requirements"):
            settings.x_save_requirements = False  # slow, and the same for every job; environment.json has versions
        return wandb.init(
            **self._options,
            mode=mode,
            id=self.id,
            resume="allow" if mode == "online" else None,
            dir=str(self._runs_dir.absolute()),
            reinit="finish_previous",
            settings=settings,
        )


def filters(config: Mapping[str, Any]) -> dict[str, Any]:
    """What runs are grouped and filtered by, one word each, named as on the command line: `loss: wgan_ct`.

    The whole config stands under `gantrick`, where nothing can be in its way: a sweep of W&B's own locks the keys that
    it sets (`loss`, `optimizer.lr`), and means by them what these words mean.
    """
    found: dict[str, Any] = {}
    for group in ("model", "loss", "dataset", "optimizer"):
        part = config.get(group)
        if isinstance(part, Mapping):
            found[group] = part.get("recipe") or part.get("name")
    for group in ("regularizer", "trick", "metric"):
        found[group] = "+".join(map(str, config.get(group) or {})) or "none"
    found |= {key: config[key] for key in ("seed", "steps", "batch_size", "d_steps") if key in config}
    return found


def clean_project(name: str) -> str:
    r"""A project's name without the characters that W&B refuses: / \ # ? % :"""
    return re.sub(r"[/\\#?%:]+", "-", name)[:WORDS].strip("-") or "gantrick"


def has_key(settings: Any) -> bool:
    """Whether a key is configured for the server in W&B's settings: in the environment, its settings files or netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or settings.api_key:
        return True
    host = urlsplit(settings.base_url).netloc
    hosts = {host, "api.wandb.ai"} if host == "api.forge.coreweave.com" else {host}  # two names of the public server
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]:
        try:
            entries = netrc.netrc(path.expanduser())
        except (OSError, RuntimeError, netrc.NetrcParseError):  # RuntimeError: nobody's home is known
            continue
        if any(entry is not None and entry[2] for entry in map(entries.authenticators, hosts)):
            return True
    return False


def _tear_down(exit_code: int | None = None) -> None:
    """Ends the library's own process: what a failure left of it would stand in the way of the next run."""
    with suppress(*FAILURES):
        import wandb

        wandb.teardown(exit_code)


def sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
