"""The loop of a run: steps, evaluations, checkpoints, logging; and how it ends."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gantrick import checkpoint, machine, parallel, transfer
from gantrick import gan as gan_module
from gantrick.evaluation import Judging
from gantrick.evaluation import take as take_figures
from gantrick.feed import Feed, Reals, stream, to_uint8
from gantrick.gan import GAN, PLAYERS, Assembly
from gantrick.layers.normalization import take
from gantrick.meter import Meter
from gantrick.peers import Peers
from gantrick.recipe import Recipe
from gantrick.sampling import apart, draw
from gantrick.step import Play
from gantrick.stopping import Stopping
from gantrick.tracking.console import Console, duration
from gantrick.tracking.environment import environment
from gantrick.tracking.folder import RunFolder, State
from gantrick.tracking.grid import save_grid
from gantrick.tracking.wandb_log import WandbLog
from gantrick.types import Batch, ConfigError, GantrickError, Latents, Player, Record, Verdict

GRID = 64  # samples in a grid
POINTS = 2500  # points in a scatter picture


HEARTBEAT = 15.0  # seconds between signs of life in status.json while there is nothing else to write


class Diverged(GantrickError):
    """A number of the run is no longer finite: the one called `term`."""

    def __init__(self, term: str, step: int):
        self.term = term
        super().__init__(
            f"step {step}: {term} is not finite, so training cannot go on; an earlier checkpoint is kept; "
            "lower optimizer.lr, or bound D with regularizer=[gp] or trick=[spectral_norm]"
        )


@dataclass
class Best:
    """The best value of the first metric so far, and where it was reached."""

    name: str | None = None
    lower: bool = True
    step: int = 0
    value: float = math.nan
    figures: dict[str, Any] = field(default_factory=dict)

    def improves(self, value: float, over: float) -> bool:
        if not math.isfinite(value):
            return False
        return math.isnan(over) or (value < over if self.lower else value > over)


class Trainer:
    """One run in one folder."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        sweep: str | None = None,
        console: Console | None = None,
        resume: bool = False,
    ):
        self.recipe, self.sweep = recipe, sweep
        parallel.start()
        self.console = console or Console(quiet=not parallel.writes())
        self.assembly: Assembly = gan_module.preflight(recipe, resume)
        self.saved: dict[str, Any] | None = None  # the state that a resumed run goes on from
        self.source: transfer.Source | None = None  # of the weights that a new run begins with
        self.resumed = resume
        self._seen = _stamp(folder)  # of the state that this process knows of
        if resume:
            self.saved = checkpoint.latest(folder / "checkpoints", self.console.warn)
            if self.saved is not None:
                made, steps = self.saved["step"] - self.saved.get("origin", 0), recipe.settings.steps
                if made > steps:
                    raise ConfigError(
                        f"resume={folder}: the run is at step {made:,} already; give a steps= above that, not {steps:,}"
                    )
                if RunFolder(folder).state() == "finished":
                    if made == steps:
                        raise ConfigError(
                            f"resume={folder}: the run is at step {made:,}, its last; give a larger steps="
                        )
                    if self._is_up(self.saved["seconds"]):
                        raise ConfigError(
                            f"resume={folder}: the run has trained for {self.saved['seconds']:,.0f} s, its last; give "
                            "a larger max_seconds="
                        )
        elif (folder / "metrics.jsonl").exists():
            raise ConfigError(
                f"{folder}: already holds a run; go on with it by resume={folder}, or take another folder"
            )
        elif recipe.settings.init_from is not None:
            self.source = transfer.read(recipe.settings.init_from, recipe.settings.init_take)
        self.device = gan_module.resolve_device(recipe.settings.device)
        self.dtype = machine.compute_type(recipe.settings.precision, self.device)
        if self.device.type == "cpu":
            machine.keep_freed_memory()
        self.feeds: list[Feed] = []
        with parallel.first():  # it fetches what the others then find
            for metric in self.assembly.metrics.values():
                metric.prepare()
            self.reals = Reals(self.assembly.dataset)
            self.samples = {name: s.of(self.reals()) for name, (_, s) in self.assembly.streams.items()}
            if self.assembly.stages["calibrate"]:
                self.reals("test")
        parallel.barrier()  # all have looked at the folder before it changes
        self.folder = RunFolder(folder, writes=parallel.writes())
        self.step, self.seconds, self.images = 0, 0.0, 0
        self.over = False  # by max_seconds
        self.acts: list[dict[str, Any]] = []  # what watching components had done: step, act, reason …
        self.origin, self.lr_scale = 0, 1.0  # the step of the last new start; what acts left of the learning rates
        self.peak = math.nan  # the best of the first metric since then
        self._waiting: list[dict[str, Any]] = []  # rows that could not be written yet
        self._troubles: dict[str, str] = {}  # what could not be written, and why
        self._beaten = 0.0
        self.meter, self.cache = Meter(), dict[Any, Any]()
        self.stopping = Stopping()
        self.wandb: WandbLog | None = None
        first = next(iter(self.assembly.metrics.values()), None)
        self.best = Best() if first is None else Best(first.primary, first.lower_is_better)
        self.peers = Peers(folder, self.best.name) if self.best.name and self.assembly.stages.needs("peers") else None
        self.last: dict[str, Any] = {}
        self._latest: dict[str, float] = {}
        self._logged = (0, 0.0)  # images and seconds at the last log

    # --- a run ---------------------------------------------------------------------------------------------------

    def run(self, command: str | None = None) -> int:
        """Trains to the last step. Returns the exit code; the folder tells how it ended whatever happens."""
        with self.folder.claimed():
            if parallel.writes() and _stamp(self.folder.path) != self._seen:
                raise GantrickError(
                    f"{self.folder.path}: another process has trained this run since this one looked at it; if it is "
                    f"to go on from there: gantrick train resume={self.folder.path}"
                )
            code = self._run(command)
        self.stopping.hand_back(self.console)
        return code

    def _run(self, command: str | None) -> int:
        machine.reset_peak_memory(self.device)
        parameters = gan_module.count_parameters(self.assembly)
        more = {"processes": parallel.world(), "parameters": parameters, "command": command or ""}
        plan = gan_module.plan(self.recipe, self.resumed)
        self.folder.open(self.recipe.resolved, plan, {**environment(self.device), **more})
        code = 1
        try:
            with self.stopping.listening(), self._deterministic():
                if self.saved is not None:
                    self._recall(self.saved)
                elif self.resumed:
                    self.folder.cut(-1)
                    self.console.event("resume: no checkpoint had been written yet; starting at step 0")
                self._build()
                if self.saved is not None:
                    self._restore(self.saved)
                self._compare()
                self._start_wandb()
                self._tell()
                self.console.start(self.end, self.step, self.best.name)
                code = self._train()
        except OSError as error:
            reason = (
                f"{error.filename or self.folder.path}: {error.strerror or error}; training stopped at step "
                f"{self.step:,}; mend that, then go on with: gantrick train resume={self.folder.path}"
            )
            parallel.report(reason)
            self._failed(reason, traceback.format_exc())
            raise GantrickError(reason) from error
        except parallel.Lost as error:
            reason = parallel.cause(
                f"step {self.step}: another process of the run has ended ({error}); go on with: "
                f"gantrick train resume={self.folder.path}"
            )
            self._failed(reason)
            raise GantrickError(reason) from error
        except GantrickError as error:
            parallel.report(str(error))
            self._failed(str(error), **({"non_finite": error.term} if isinstance(error, Diverged) else {}))
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            parallel.report(reason)
            self._failed(reason, traceback.format_exc())
            raise
        finally:
            self.console.stop()
            for feed in self.feeds:
                feed.close()
            if self.wandb is not None:
                self.wandb.finish(code)
        self.console.closing(self._closing())
        with suppress(parallel.Lost):
            parallel.barrier()  # torchrun ends all when one has ended with a code
        return code

    @property
    def end(self) -> int:
        """The step at which the run ends."""
        return self.origin + self.recipe.settings.steps

    @property
    def seed(self) -> int:
        """The seed of training: the run's, or after a new start one of its own. Figures and grids keep the run's."""
        starts = sum(act["act"] == "reseed" for act in self.acts)
        return stream(self.recipe.settings.seed, f"start {starts}") if starts else self.recipe.settings.seed

    def _build(self) -> None:
        settings, seed = self.recipe.settings, self.seed
        flip, shift = self.assembly.dataset.flip, self.assembly.dataset.shift
        first = Feed(self.reals(), self.device, stream(seed, "initialise"), flip, shift=shift)
        torch.manual_seed(stream(seed, "weights"))
        self.gan = GAN(self.assembly, self.device, self.dtype, self.source, first.next)
        self.gan.reals = self.reals
        first.close()
        torch.manual_seed(stream(seed, "training"))
        self.latent_stream = torch.Generator(self.device).manual_seed(stream(seed, "latents"))
        train = self.reals()
        share = (parallel.rank(), parallel.world())
        self.feed = Feed(train, self.device, stream(seed, "data"), flip, share, shift)
        for old in self.feeds:  # of before a new start
            old.close()
        self.feeds = [self.feed]
        self.extra: dict[str, tuple[int, Feed]] = {}
        for name, (label, asked) in self.assembly.streams.items():
            own = stream(seed, f"data {label} {name}")
            samples = self.feed.samples if asked.rows is None else self.samples[name]
            self.extra[name] = (asked.size, Feed(samples, self.device, own, flip, share, shift))
            self.feeds.append(self.extra[name][1])
        self.real_in_g = self.assembly.stages.needs("real_in_g")
        self.play = Play(
            self.gan,
            self._draw,
            self._observe,
            d_steps=settings.d_steps,
            g_steps=settings.g_steps,
            accumulate=settings.accumulate,
        )
        self.gan.stages.all("schedule", self.step - self.origin)
        if settings.compile or settings.cuda_graphs:
            self._compile()

    def _compile(self) -> None:
        """Compiles the networks and tries both turns, which move nothing; where that fails the run goes on without."""
        self.gan.compile(cuda_graphs=self.recipe.settings.cuda_graphs)
        try:
            self._time_a_step()
        except Exception as error:
            self.gan.compile(False)
            take(self.gan.generator), take(self.gan.discriminator)
            what = str(error).strip().partition("\n")[0]
            self.console.warn(f"compile: torch.compile fails here, so this run goes on without ({what[:200]})")

    def _draw(self, player: Player) -> tuple[Batch | None, Latents]:
        settings = self.recipe.settings
        count = settings.batch_size
        if player == "generator":
            count = settings.generator_batch_size or count
        latents = _own(self.gan.latents(count, self.latent_stream))
        if player == "generator" and not self.real_in_g:
            return None, latents
        self.images += count if player == "discriminator" else 0
        extra = {name: feed.next(size) for name, (size, feed) in self.extra.items()}
        return replace(self.feed.next(count), extra=extra), latents

    def _observe(self, record: Record, norm: Tensor) -> None:
        values = {**record.terms, **record.diagnostics, f"grad_norm/{record.player[0]}": norm}
        scale = self.gan.loss_scales.get(record.player)
        if scale is not None:
            values[f"loss_scale/{record.player[0]}"] = scale.scale
        self.meter.add(values, self.step, None if scale is None else scale.counted)

    def _train(self) -> int:
        if self.saved is None:
            self._evaluate()
            self._grid()
            if not self._save("last"):
                why = "; ".join(self._troubles.values())
                raise GantrickError(
                    f"{self.folder.path}: the first checkpoint cannot be written ({why}); make room, or set runs_dir"
                )
        while self.step < self.end and not self.over:
            try:
                code = self._advance()
            except Diverged as error:
                verdict = self._verdict({"non_finite": error.term})
                if verdict is None or verdict.act == "stop":
                    raise
                self._act(verdict)
                continue
            if code is not None:
                return code
        self._finish(f"max_seconds={self.recipe.settings.max_seconds:g} ended it" if self.over else None)
        return 0

    def _is_up(self, seconds: float) -> bool:
        """Whether max_seconds have been trained."""
        limit = self.recipe.settings.max_seconds
        return limit is not None and seconds >= limit

    def _advance(self) -> int | None:
        """One step and what is due after it. Gives the exit code where the run ends before its last step."""
        settings = self.recipe.settings
        self._set_learning_rates()
        started = time.monotonic()
        self.play.round(self.step - self.origin)
        self.step += 1
        # Steps pass between asking the other processes, of which the first decides, as that waits for a device.
        asking = parallel.world() == 1 or self.device.type == "cpu" or self.step % 10 == 0
        if settings.max_seconds is not None and asking:
            self.over = parallel.exchange(self._is_up(self.seconds + time.monotonic() - started))[0]
        final = self.step == self.end or self.over
        logging = final or self.step % settings.log_every == 0
        values = self.meter.read() if logging else {}  # waits for the device
        self.seconds += time.monotonic() - started
        self.console.step(self.step, {})
        self.beat()
        if logging:
            self._log(values)
        if final or _due(self.step, settings.sample_every):
            self._grid()
        if final or _due(self.step, settings.eval_every):
            self._evaluate()
        # Before the checkpoint, which so holds what was watched; killed in between, a run watches and acts again.
        if logging and not final and (verdict := self._verdict(self._latest)) is not None:
            return self._act(verdict)
        if _due(self.step, settings.keep_every):
            self._save("stays")  # first: a run that is killed in between makes this step, and it, again
        if final or _due(self.step, settings.checkpoint_every):
            self._save("last")
        if asking and not final and (told := parallel.agree(self.stopping.by)) is not None:
            self.stopping.by = told
            return self._preempted()
        return None

    def _set_learning_rates(self) -> None:
        optimizers = self.recipe.optimizers
        if optimizers.schedule != "constant" or self.lr_scale != 1.0:
            factor = optimizers.factor(self.step - self.origin, self.recipe.settings.steps)
            self.gan.set_learning_rates(factor * self.lr_scale)

    def _finish(self, reason: str | None = None) -> None:
        """The run is over and all of it is on disk, or that is an error."""
        if self._write_rows() and "checkpoints" not in self._troubles:
            self._status("finished", reason)
        if self._troubles:
            why = "; ".join(f"{what}: {trouble}" for what, trouble in self._troubles.items())
            raise GantrickError(
                f"{self.folder.path}: the run came to step {self.step:,}, but it could not be saved ({why}); make "
                f"room, then go on from the last checkpoint with: gantrick train resume={self.folder.path}"
            )
        self._summary("finished", reason)

    # --- what is written on the way ------------------------------------------------------------------------------

    def _row(self, values: dict[str, Any]) -> None:
        row = {"step": self.step, "images": self.images, "seconds": round(self.seconds, 3), **values}
        self._waiting.append(row)
        self._write_rows()
        if self.wandb is not None:
            self.wandb.log(row)

    def _write_rows(self) -> bool:
        """Rows that cannot be written wait for the next time; no checkpoint is written before them."""

        def write() -> None:
            while self._waiting:
                self.folder.row(self._waiting[0])
                self._waiting.pop(0)

        return self._try("metrics.jsonl", write)

    def _try(self, what: str, write: Callable[[], object]) -> bool:
        """Writes, or says once why not: a disk that is full for a while does not end a run. False where it failed.

        Raises GantrickError where the run folder itself is gone.
        """
        try:
            write()
        except OSError as error:
            why = str(error.strerror or error)
            if not self.folder.path.is_dir():
                raise GantrickError(
                    f"{self.folder.path}: the run folder is gone; training stopped at step {self.step:,}; put it back, "
                    f"then go on from its last checkpoint with: gantrick train resume={self.folder.path}"
                ) from error
            if what not in self._troubles:
                self.console.warn(
                    f"{self.folder.path}: {what} could not be written at step {self.step:,} ({why}); training goes on, "
                    "and it is tried again"
                )
            self._troubles[what] = why
            return False
        if self._troubles.pop(what, None) is not None:
            self.console.event(f"{what} could be written again at step {self.step:,}")
        return True

    def _status(self, state: State, reason: str | None = None, **more: Any) -> None:
        self._beaten = time.monotonic()
        more |= {"acts": self.acts} if self.acts else {}
        more |= {"peak_memory": machine.peak_memory(self.device)}
        self._try("status.json", lambda: self.folder.status(state, self.step, reason, **more))

    def beat(self) -> None:
        """A sign of life in status.json, now and then."""
        if time.monotonic() - self._beaten > HEARTBEAT:
            self._status("running")

    def _log(self, values: dict[str, float]) -> None:
        for player, optimizer in self.gan.optimizers.items():
            values[f"lr/{player[0]}"] = optimizer.param_groups[0]["lr"]
        images, seconds = self._logged
        values["images_per_second"] = (self.images - images) / max(self.seconds - seconds, 1e-9)
        self._logged = (self.images, self.seconds)
        self._row(values)
        self._latest |= values
        self._status("running")
        self.console.step(self.step, values)
        self._stop_if_bad()

    # --- watching ------------------------------------------------------------------------------------------------

    def _verdict(self, values: Mapping[str, Any]) -> Verdict | None:
        """What the first watching component that is not content with the run asks for."""
        if not (watching := self.assembly.stages["watch"]):
            return None
        row: dict[str, Any] = {"step": self.step, **values}
        value, worse = row.get(self.best.name or ""), None
        if value is not None and math.isfinite(self.peak):
            worse = (value, self.peak) if self.best.lower else (self.peak, value)
        if worse is not None and worse[1] > 0:
            row["worse"] = worse[0] / worse[1]
        if "non_finite" not in values:
            row |= self._compared()
        found: Verdict | None = None
        for component in watching:
            verdict: Verdict | None = component.watch(row)  # type: ignore[operator]
            if verdict is not None:
                done = sum(act["by"] == component.label for act in self.acts)
                act, reason = verdict.act, f"{component.label}: {verdict.reason}"
                if act != "stop" and verdict.times is not None and done >= verdict.times:
                    act, reason = "stop", f"{reason}, after {done} times of {verdict.act}"
                found = replace(verdict, act=act, reason=reason, by=component.label)
                break
        return parallel.exchange(found)[0]  # the writer decides, as clocks differ

    def _compared(self) -> dict[str, Any]:
        """For who compares this run with its sweep's others: what they had found at the last evaluation's step.

        Once after each evaluation, at the first log that follows: a resumed run asks at the same steps.
        """
        name, every = self.best.name, self.recipe.settings.log_every
        if self.peers is None or name is None or not parallel.writes() or name not in self.last.get("protocol", {}):
            return {}
        step = self.last["step"]
        if step <= (self.step - 1) // every * every or not math.isfinite(self.peak):
            return {}
        curves = self.peers.until(step, str(self.last["protocol"][name].get("fingerprint")))
        return {"peers": curves, "peers/step": step, "best": self.peak, "lower_is_better": self.best.lower}

    def _act(self, verdict: Verdict) -> int | None:
        """Stops, rolls back or begins again, and says so everywhere. Gives the exit code where the run ends."""
        told: dict[str, Any] = {"step": self.step, "act": verdict.act, "reason": verdict.reason, "by": verdict.by}
        state: dict[str, Any] = {}
        if verdict.act == "roll_back":
            state = self._to_roll_back_to()
            self.lr_scale *= verdict.lr_factor
            told |= {"to_step": state["step"], "lr_scale": self.lr_scale}
        self.acts.append(told)
        if verdict.act == "roll_back":
            watching = self.assembly.stages["watch"]
            kept = [{n: t.clone() for n, t in component.state_dict().items()} for component in watching]
            self._load(state["gan"])
            for component, own in zip(watching, kept, strict=True):
                component.load_state_dict(own)  # it watches the run, whose clock goes on
        elif verdict.act == "reseed":
            settings = self.recipe.settings
            self.assembly = gan_module.preflight(self.recipe, resumed=self.source is not None)
            if self.source is None and settings.init_from is not None:  # a resumed run had no need of it until now
                self.source = transfer.read(settings.init_from, settings.init_take)
            self.origin, self.lr_scale, self.peak = self.step, 1.0, math.nan
            told["seed"] = self.seed
            self._build()
        self.console.event(f"step {self.step}: {verdict.act.replace('_', ' ')}, {verdict.reason}")
        self._row({f"act/{name}": value for name, value in told.items() if name != "step"})
        if verdict.act == "stop":
            self._stop_if_bad()
            self._save("last")
            self._finish(f"stopped at step {self.step} by {verdict.reason}")
            return 0
        self.meter, self._latest = Meter(), {}
        self._set_learning_rates()
        self._status("running")
        self.console.start(self.end, self.step, self.best.name)
        if verdict.act == "reseed" or self.step == self.end or self.over:
            self._evaluate()
            self._grid()
        self._save("last")
        return None

    def _to_roll_back_to(self) -> dict[str, Any]:
        """The state of the best checkpoint, or of the furthest where there is no best that can be read."""
        folder = self._checkpoints
        if (folder / "best.pt").exists():
            try:
                return checkpoint.load(folder / "best.pt")
            except GantrickError as error:
                self.console.warn(f"roll back: {error}")
        state = checkpoint.latest(folder, self.console.warn)
        if state is None:
            raise GantrickError(f"{folder}: holds no checkpoint to roll back to; start the run again")
        return state

    def _evaluate(self) -> None:
        """Takes every metric's figures. A metric that fails is told and left out; training goes on."""
        self._stop_if_bad(weights=True)  # averaged weights may still be finite, and must not become the best
        settings = self.recipe.settings
        judging = Judging(
            self.gan,
            self.reals,
            settings.seed,
            self.step,
            self.folder.path / "samples" if parallel.writes() else None,
            limit=settings.eval_samples,
            cache=self.cache,
            beat=lambda done, count: self.beat(),
            tell=self.console.warn,
        )
        taken = take_figures(self.assembly.metrics, judging)
        for picture in taken.pictures:
            if self.wandb is not None:
                self.wandb.picture(picture.stem.rpartition("-")[0] or picture.stem, picture, self.step)
        figures, protocols = taken.figures, taken.protocols
        if not figures:
            if taken.details:
                self._row(taken.details)
            return
        self._row({**figures, **taken.details})
        self.console.step(self.step, figures)
        self._latest |= figures
        self.last = {"step": self.step, "figures": figures, "protocol": protocols}
        value = figures.get(self.best.name or "", math.nan)
        if self.best.improves(value, over=self.peak):
            self.peak = value
        if self.best.improves(value, over=self.best.value):
            before = replace(self.best)
            self.best.step, self.best.value, self.best.figures = self.step, value, self.last
            if not parallel.exchange(self._save("best"))[0]:
                self.best = before  # what evaluation.json calls best is what best.pt holds
        report = {"last": self.last, "best": self.best.figures or self.last}
        self._try("evaluation.json", lambda: self.folder.evaluation(report))
        self._summary("running")
        self.console.event(f"step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))

    def _grid(self) -> None:
        """One grid of fixed latents; a picture that cannot be drawn is told and left out."""
        image = self.assembly.spec.data.is_image
        if not parallel.writes() or (not image and self.assembly.spec.data.shape != (2,)):
            return  # no picture of such points
        try:
            path = self.folder.picture(f"{self.step:07d}.png")
            seed = stream(self.recipe.settings.seed, "grid")
            labels, count, columns = None, GRID if image else POINTS, None
            if image and self.gan.conditional:  # a column for each class
                columns = min(int(self.assembly.spec.data.classes or 1), 10)
                labels, count = range(columns), 8 * columns
            with parallel.alone():
                images = torch.cat(list(draw(self.gan, count, seed, labels=labels)))
            reach = None if image else 1.2 * float(self.feed.images[:].abs().max())  # the frame is that of the reals
            save_grid(to_uint8(images).cpu(), path, columns, limits=None if reach is None else (-reach, reach))
        except Exception as error:
            self.console.warn(f"samples: no picture at step {self.step}: {type(error).__name__}: {error}")
            return
        if self.wandb is not None:
            self.wandb.picture("samples", path, self.step)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "gan": self.gan.state_dict(),
            "random": checkpoint.random_states(self.device),
            "latents": self.latent_stream.get_state(),
            "feed": self.feed.state_dict(),
            "extra": {name: feed.state_dict() for name, (_, feed) in self.extra.items()},
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "best": {"step": self.best.step, "value": self.best.value, "figures": self.best.figures},
            "wandb": None if self.wandb is None else self.wandb.id,
            "last": self.last,
            "latest": self._latest,
            "logged": list(self._logged),
            "meter": self.meter.state_dict(),
            "acts": self.acts,
            "origin": self.origin,
            "lr_scale": self.lr_scale,
            "peak": self.peak,
            "processes": parallel.world(),
            "data": {"shape": list(self.assembly.spec.data.shape), "classes": self.assembly.spec.data.classes},
        }

    @property
    def _checkpoints(self) -> Path:
        return self.folder.path / "checkpoints"

    def _save(self, kind: Literal["last", "best", "stays"]) -> bool:
        """A checkpoint never replaces a good one with numbers that are not finite, nor says more than the rows do."""
        self._stop_if_bad(weights=True)
        self._compare()
        state = self.state_dict()  # on every process, whatever comes of the rows: its sums are gathered

        def write() -> None:
            if not parallel.writes():
                return
            if kind == "last":
                checkpoint.save_last(self._checkpoints, state)
            elif kind == "best":
                checkpoint.save(self._checkpoints / "best.pt", state)
            else:
                checkpoint.save_to_stay(self._checkpoints, state, self.recipe.settings.keep_limit)

        return self._write_rows() and self._try("checkpoints", write)

    def _compare(self) -> None:
        """The processes of a run hold the same weights, statistics and random states, bit for bit."""
        if parallel.world() == 1:
            return
        names = {"generator": self.gan.generator, "discriminator": self.gan.discriminator, "parts": self.gan.components}
        tensors = {f"{k}.{n}": t for k, part in names.items() for n, t in part.state_dict().items()}
        tensors |= {f"random numbers ({k})": t for k, t in checkpoint.random_states(self.device).items()}
        if (name := parallel.drifted({**tensors, "latents": self.latent_stream.get_state()})) is not None:
            raise GantrickError(
                f"step {self.step}: {name} is no longer the same on all {parallel.world()} processes, so they train "
                "different networks; an earlier checkpoint is kept; a component draws or keeps something of its own "
                "share of the batch without gantrick.parallel, or the devices are of different kinds"
            )

    def _stop_if_bad(self, weights: bool = False) -> None:
        if (bad := self.meter.first_bad()) is not None:
            raise Diverged(*bad)
        for player, network in self.gan.networks.items() if weights else ():
            for name, parameter in network.named_parameters():
                if not bool(torch.isfinite(parameter).all()):
                    raise Diverged(f"{player}.{name}", self.step)

    def _recall(self, state: dict[str, Any]) -> None:
        """What decides how networks are built."""
        self.acts, self.origin = state.get("acts", []), state.get("origin", 0)
        self.lr_scale, self.peak = state.get("lr_scale", 1.0), state.get("peak", math.nan)
        self.step = state["step"]

    def _load(self, state: dict[str, Any]) -> None:
        with self._fitting():
            self.gan.load_state_dict(state)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """What a checkpoint lacks, or has in another form, is told. Raises GantrickError."""
        try:
            yield
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise GantrickError(
                f"{self.folder.path}: its checkpoint does not fit its config ({_first_line(error)}); go on with the "
                f"version of gantrick that environment.json names, or start a new run with init_from={self.folder.path}"
            ) from error

    def _restore(self, state: dict[str, Any]) -> None:
        """Everything as it was when the checkpoint was written; rows of later steps are dropped."""
        self._load(state["gan"])
        with self._fitting():
            self.latent_stream.set_state(state["latents"])
            self.feed.load_state_dict(state["feed"])
            for name, (_, feed) in self.extra.items():
                feed.load_state_dict(state["extra"][name])
            self.meter.load_state_dict(state["meter"], self.device)
            self.images, self.seconds = state["images"], state["seconds"]
            self.over = self._is_up(self.seconds)
            self.last, self._latest, self._logged = state["last"], state["latest"], tuple(state["logged"])
            self.best.step, self.best.value = state["best"]["step"], state["best"]["value"]
            self.best.figures = state["best"]["figures"]
            random = state["random"]
        self.folder.cut(self.step)
        before, now = state.get("processes", 1), parallel.world()
        if before != now:
            self.console.warn(
                f"resume: the checkpoint is of a run of {before} process{'es' * (before > 1)} and {now} "
                f"{'go' if now > 1 else 'goes'} on with it: the same run, but sums are taken in another order, so it "
                "agrees up to rounding"
            )
        for left_over in (*self.folder.path.glob("checkpoints/.*"), *self.folder.path.glob("samples/.*")):
            if parallel.writes():
                left_over.unlink(missing_ok=True)  # of a process that was killed while it wrote
        self._status("running")
        checkpoint.restore_random_states(random, self.device)

    def _preempted(self) -> int:
        name = self.stopping.name
        how = f"stopped by {name} at step {self.step}"
        if not self._save("last"):
            how += (
                f", which could not be saved ({self._troubles.get('checkpoints') or self._troubles['metrics.jsonl']})"
            )
        self._status("preempted", f"stopped by {name}")
        self._summary("preempted", f"stopped by {name}")
        self.console.event(f"{how}; go on with: gantrick train resume={self.folder.path}")
        return 128 + int(self.stopping.by or 0)

    def _failed(self, reason: str, trace: str | None = None, **more: Any) -> None:
        with suppress(GantrickError):  # the folder is gone, which has been said
            self._status("failed", reason, **({"traceback": trace} if trace else {}), **more)
        self._summary("failed", reason)

    @contextmanager
    def _deterministic(self) -> Iterator[None]:
        """torch's deterministic algorithms inside, where they are asked for."""
        if not self.recipe.settings.deterministic:
            yield
            return
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)

    # --- what a run tells ----------------------------------------------------------------------------------------

    def _tell(self) -> None:
        settings, sizes = self.recipe.settings, gan_module.count_parameters(self.assembly)
        per_step = self._time_a_step()
        estimate = min(settings.steps * per_step, settings.max_seconds or math.inf)
        tricks = [part.key for part in (*self.recipe.regularizers, *self.recipe.tricks)]
        for sentence in gan_module.warnings(self.assembly):
            self.console.warn(sentence)
        if self.peers is not None and not self.peers.of_a_sweep:
            self.console.warn("this run is no job of a sweep, so there are no others that it could be compared with")
        begins = {} if self.source is None else {"begins with": self.source.told(self.gan.networks)}
        precision = "float32" if self.dtype is None else str(self.dtype).removeprefix("torch.")
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        several = f"{parallel.world()} × " if parallel.world() > 1 else ""
        self.console.header(
            {
                "recipe": f"{self.recipe.title}" + (f" with {', '.join(tricks)}" if tricks else ""),
                "data": f"{self.recipe.dataset.name}, {len(self.reals()):,} samples of "
                + "×".join(str(n) for n in self.assembly.spec.data.shape),
                "model": f"{self.recipe.model.name}, G {sizes['generator']:,}, D {sizes['discriminator']:,} parameters",
                **begins,
                "device": f"{several}{name}{threads}, {precision}",
                "steps": f"{settings.steps:,} of {per_step * 1e3:.0f} ms: about {duration(estimate)} and evaluations",
                "folder": str(self.folder.path),
            }
        )

    def _time_a_step(self) -> float:
        """Seconds of one round, measured on evaluations that move nothing and on numbers of their own."""
        settings, times = self.recipe.settings, {}
        with apart(self.device, 0):
            for player in PLAYERS:
                count = settings.batch_size
                if player == "generator":
                    count = settings.generator_batch_size or count
                latents = _own(self.gan.latents(count, torch.Generator(self.device).manual_seed(0)))
                extra = {name: feed.peek(size) for name, (size, feed) in self.extra.items()}
                real = (
                    replace(self.feed.peek(count), extra=extra) if player == "discriminator" or self.real_in_g else None
                )
                if parallel.world() > 1:
                    with parallel.Strays(len(latents)) as strays:
                        self.play.evaluate(player, real, latents)
                    for name in sorted(strays.found):
                        self.console.warn(
                            f"a component draws with torch.{name}, so every process draws the same numbers for its own "
                            "samples; use gantrick.parallel.rand, rand_like or randn_like there, or set devices=1"
                        )
                samples = []
                for _ in range(3):
                    machine.wait(self.device)
                    started = time.perf_counter()
                    self.play.evaluate(player, real, latents)
                    machine.wait(self.device)
                    samples.append(time.perf_counter() - started)
                times[player] = min(samples)
        turns = settings.d_steps * times["discriminator"] + settings.g_steps * times["generator"]
        return turns * settings.accumulate * 1.1  # the optimizer and what surrounds it

    def _start_wandb(self) -> None:
        if not parallel.writes():
            return
        recipe, choice = self.recipe, self.recipe.wandb
        tricks = [part.key for part in recipe.tricks]
        title = " ".join([recipe.title, *tricks, recipe.dataset.name, f"seed{recipe.settings.seed}"])
        self.wandb = WandbLog(
            choice.mode,
            choice.project,
            choice.entity,
            folder=self.folder.path,
            runs_dir=Path(recipe.settings.runs_dir),
            name=recipe.settings.name or title,
            group=self.sweep,
            job_type="train",
            tags=recipe.tags,
            config=recipe.resolved,
            run_id=None if self.saved is None else self.saved.get("wandb"),
            warn=self.console.warn,
        )
        self.wandb.start()
        for metric in self.assembly.metrics.values():
            self.wandb.figure_metric(metric.primary, metric.lower_is_better)

    def _summary(self, status: State, reason: str | None = None) -> None:
        """What a table of runs at W&B shows of this one: its figures, whose protocols they have, how it stands."""
        if self.wandb is None:
            return
        stopped = any(act["act"] == "stop" for act in self.acts)
        values: dict[str, Any] = {"status": status, "reason": reason or "", "stopped_early": stopped}
        for which, found in (("last", self.last), ("best", self.best.figures or self.last)):
            if found:
                values |= {f"{which}/{name}": value for name, value in found["figures"].items()}
                values[f"{which}/step"] = found["step"]
                protocols = found["protocol"].items()
                values |= {f"protocol/{name}": protocol.get("fingerprint", "") for name, protocol in protocols}
        self.wandb.summary(values)

    def _closing(self) -> list[str]:
        lines = []
        if self.last:
            for name, value in self.last["figures"].items():
                text = f"{name} {value:.4g} at the end"
                if name == self.best.name:
                    text += f", best {self.best.value:.4g} at step {self.best.step:,}"
                lines.append(text)
        lines.append(f"run folder: {self.folder.path}")
        if self.step < self.end and not self.over:
            lines.append(f"next: gantrick train resume={self.folder.path}")
        else:
            lines.append(f"samples: {self.folder.path}/samples")
            lines.append(f"next: gantrick sample {self.folder.path} --n 64 --grid samples.png")
        return lines


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[min(1, len(lines) - 1)] if lines else 'no more is known'}"


def _stamp(folder: Path) -> int | None:
    """When a folder's last checkpoint was written."""
    with suppress(OSError):
        return (folder / "checkpoints" / "last.pt").stat().st_mtime_ns
    return None


def _own(latents: Latents) -> Latents:
    """This process's share of the latents of a batch."""
    return Latents(parallel.rows(latents.z), None if latents.labels is None else parallel.rows(latents.labels))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def run(
    recipe: Recipe,
    folder: Path,
    *,
    command: str | None = None,
    sweep: str | None = None,
    console: Console | None = None,
    resume: bool = False,
) -> int:
    """Trains a recipe in a folder and returns the exit code. Raises GantrickError with one sentence.

    resume: goes on from the folder's last checkpoint and ends in the same bits as a run that was left alone.
    """
    return Trainer(recipe, folder, sweep=sweep, console=console, resume=resume).run(command)
