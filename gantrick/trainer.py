"""The loop of a run: steps, evaluations, checkpoints, logging; and how it ends."""

from __future__ import annotations

import json
import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gantrick import checkpoint, parallel
from gantrick import gan as gan_module
from gantrick.feed import Feed, stream, to_uint8
from gantrick.gan import GAN, PLAYERS, Assembly
from gantrick.meter import Meter
from gantrick.recipe import Recipe
from gantrick.sampling import apart, draw, generator_of
from gantrick.step import Play
from gantrick.tracking.console import Console, duration
from gantrick.tracking.environment import environment
from gantrick.tracking.folder import RunFolder
from gantrick.tracking.grid import save_grid
from gantrick.tracking.wandb_log import WandbLog
from gantrick.types import Batch, ConfigError, Dataset, GantrickError, Latents, Player, Record, Samples

GRID = 64  # samples in a grid
POINTS = 2500  # points in a scatter picture


class Diverged(GantrickError):
    """A number of the run is no longer finite."""


@dataclass
class Judging:
    """What a metric may ask for while a run is trained; see `types.Evaluation`."""

    trainer: Trainer
    step: int
    folder: Path | None
    weights: str
    cache: dict[Any, Any]

    @property
    def dataset(self) -> Dataset:
        return self.trainer.assembly.dataset

    @property
    def device(self) -> torch.device:
        return self.trainer.gan.device

    def fakes(
        self, count: int, batch_size: int = 256, features: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[Tensor]:
        limit = self.trainer.recipe.settings.eval_samples
        count = min(count, limit) if limit else count
        seed = stream(self.trainer.recipe.settings.seed, "evaluation")

        def through(images: Tensor) -> Tensor:
            if not bool(torch.isfinite(images).all()):
                raise GantrickError(
                    f"step {self.step}: the generator draws values that are not finite; no figure is taken"
                )
            return to_uint8(images) if features is None else features(to_uint8(images))

        return draw(self.trainer.gan, count, seed, batch_size, through=through)

    def reals(self, split: Literal["train", "test"] = "train") -> Samples:
        return self.trainer.samples(split)


@dataclass
class Best:
    """The best value of the first metric so far, and where it was reached."""

    name: str | None = None
    lower: bool = True
    step: int = 0
    value: float = math.nan
    figures: dict[str, Any] = field(default_factory=dict)

    def improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return math.isnan(self.value) or (value < self.value if self.lower else value > self.value)


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
        self.assembly: Assembly = gan_module.preflight(recipe)
        self.saved: dict[str, Any] | None = None  # the state that a resumed run goes on from
        if resume:
            self.saved = checkpoint.load(folder / "checkpoints" / "last.pt")
            if self.saved["step"] >= recipe.settings.steps and RunFolder(folder).state() == "finished":
                raise ConfigError(
                    f"resume={folder}: the run is at step {self.saved['step']:,}, its last; give a larger steps="
                )
        elif (folder / "metrics.jsonl").exists():
            raise ConfigError(
                f"{folder}: already holds a run; go on with it by resume={folder}, or take another folder"
            )
        self.device = gan_module.resolve_device(recipe.settings.device)
        self.dtype = _autocast(recipe.settings.precision, self.device)
        with parallel.first():  # it fetches what the others then find
            for metric in self.assembly.metrics.values():
                metric.prepare()
            self._samples: dict[str, Samples] = {"train": self.assembly.dataset.load("train")}
        parallel.barrier()  # all have looked at the folder before it changes
        self.folder = RunFolder(folder, writes=parallel.writes())
        self.step, self.seconds, self.images = 0, 0.0, 0
        self.meter, self.cache = Meter(), dict[Any, Any]()
        self.stopped_by: int | None = None
        self.wandb: WandbLog | None = None
        first = next(iter(self.assembly.metrics.values()), None)
        self.best = Best() if first is None else Best(first.primary, first.lower_is_better)
        self.last: dict[str, Any] = {}
        self._latest: dict[str, float] = {}
        self._logged = (0, 0.0)  # images and seconds at the last log

    def samples(self, split: Literal["train", "test"]) -> Samples:
        if split not in self._samples:
            self._samples[split] = self.assembly.dataset.load(split)
        return self._samples[split]

    # --- a run ---------------------------------------------------------------------------------------------------

    def run(self, command: str | None = None) -> int:
        """Trains to the last step. Returns the exit code; the folder tells how it ended whatever happens."""
        settings = self.recipe.settings
        more = {"processes": parallel.world(), "command": command or ""}
        self.folder.open(self.recipe.resolved, gan_module.plan(self.recipe), {**environment(self.device), **more})
        code = 1
        try:
            with self._signals(), self._deterministic():
                self._build()
                if self.saved is not None:
                    self._restore(self.saved)
                self._compare()
                self._start_wandb()
                self._tell()
                self.console.start(settings.steps, self.step, self.best.name)
                code = self._train()
        except parallel.Lost as error:
            reason = parallel.cause(
                f"step {self.step}: another process of the run has ended ({error}); go on with: "
                f"gantrick train resume={self.folder.path}"
            )
            self._failed(reason)
            raise GantrickError(reason) from error
        except GantrickError as error:
            parallel.report(str(error))
            self._failed(str(error))
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            parallel.report(reason)
            self._failed(reason, traceback.format_exc())
            raise
        finally:
            self.console.stop()
            if self.wandb is not None:
                self.wandb.finish(code)
        self.console.closing(self._closing())
        with suppress(parallel.Lost):
            parallel.barrier()  # torchrun ends all when one has ended with a code
        return code

    def _build(self) -> None:
        settings = self.recipe.settings
        torch.manual_seed(stream(settings.seed, "weights"))
        self.gan = GAN(self.assembly, self.device, self.dtype)
        torch.manual_seed(stream(settings.seed, "training"))
        self.latent_stream = torch.Generator(self.device).manual_seed(stream(settings.seed, "latents"))
        train = self.samples("train")
        share = (parallel.rank(), parallel.world())
        self.feed = Feed(train, self.device, stream(settings.seed, "data"), self.assembly.dataset.flip, share)
        self.extra: dict[str, tuple[int, Feed]] = {}
        for component in self.assembly.stages["streams"]:
            for name, size in component.streams().items():  # type: ignore[operator]
                own = stream(settings.seed, f"data {component.label} {name}")
                self.extra[name] = (size, Feed(self.feed.samples, self.device, own, self.assembly.dataset.flip, share))
        self.real_in_g = self.assembly.stages.needs("real_in_g")
        self.play = Play(
            self.gan,
            self._draw,
            self._observe,
            d_steps=settings.d_steps,
            g_steps=settings.g_steps,
            accumulate=settings.accumulate,
        )
        self.gan.stages.all("schedule", self.step)

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
        batch = self.feed.next(count)
        return Batch(batch.images, batch.labels, extra), latents

    def _observe(self, record: Record, norm: Tensor) -> None:
        self.meter.add({**record.terms, **record.diagnostics, f"grad_norm/{record.player[0]}": norm}, self.play.step)

    def _train(self) -> int:
        settings = self.recipe.settings
        if self.saved is None:
            self._evaluate()
            self._grid()
            self._save("last")
        rhythm = 1 if self.device.type == "cpu" else 10  # steps between asking the other processes about signals
        optimizers = self.recipe.optimizers
        while self.step < settings.steps:
            if optimizers.schedule != "constant":
                self.gan.set_learning_rates(optimizers.factor(self.step, settings.steps))
            started = time.monotonic()
            self.play.round(self.step)
            self.step += 1
            final = self.step == settings.steps
            logging = final or self.step % settings.log_every == 0
            values = self.meter.read() if logging else {}  # waits for the device
            self.seconds += time.monotonic() - started
            self.console.step(self.step, {})
            if logging:
                self._log(values)
            if final or _due(self.step, settings.sample_every):
                self._grid()
            if final or _due(self.step, settings.eval_every):
                self._evaluate()
            if final or _due(self.step, settings.checkpoint_every):
                self._save("last")
            if logging and not final and (reason := self._watch()) is not None:
                self._save("last")
                self.folder.status("finished", self.step, reason)
                self.console.event(reason)
                self._summary()
                return 0
            told = None if final or (self.step % rhythm and parallel.world() > 1) else parallel.agree(self.stopped_by)
            if told is not None:
                self.stopped_by = told
                return self._preempted()
        self.folder.status("finished", self.step)
        self._summary()
        return 0

    # --- what is written on the way ------------------------------------------------------------------------------

    def _row(self, values: dict[str, Any]) -> None:
        row = {"step": self.step, "images": self.images, "seconds": round(self.seconds, 3), **values}
        self.folder.row(row)
        if self.wandb is not None:
            self.wandb.log(row)

    def _log(self, values: dict[str, float]) -> None:
        for player, optimizer in self.gan.optimizers.items():
            values[f"lr/{player[0]}"] = optimizer.param_groups[0]["lr"]
        images, seconds = self._logged
        values["images_per_second"] = (self.images - images) / max(self.seconds - seconds, 1e-9)
        self._logged = (self.images, self.seconds)
        self._row(values)
        self._latest |= values
        self.folder.status("running", self.step)
        self.console.step(self.step, values)
        self._stop_if_bad()

    def _watch(self) -> str | None:
        watching = self.assembly.stages["watch"]
        for component in watching:
            verdict = component.watch({"step": self.step, **self._latest})  # type: ignore[operator]
            if verdict is not None:
                reason = f"stopped at step {self.step} by {component.label}: {verdict}"
                return parallel.exchange(reason)[0]
        return parallel.exchange(None)[0] if watching else None  # the writer decides: clocks differ

    def _evaluate(self) -> None:
        """Takes every metric's figures. A metric that fails is told and left out; training goes on."""
        figures: dict[str, float] = {}
        protocols: dict[str, Any] = {}
        _, weights = generator_of(self.gan)
        for key, metric in self.assembly.metrics.items():
            pictures = self.folder.picture("x").parent if parallel.writes() else None
            judging = Judging(self, self.step, pictures, weights, self.cache)
            try:
                with apart(self.device, stream(self.recipe.settings.seed, f"metric {key}")), parallel.together():
                    with parallel.alone():
                        self.gan.stages.all("calibrate", self.gan.generator, self.gan.discriminator, self.feed.images)
                    found = metric.evaluate(judging)
            except parallel.Lost:
                raise
            except Exception as error:
                self.console.warn(f"metric.{key}: no figure at step {self.step}: {type(error).__name__}: {error}")
                continue
            figures |= {name: float(value) for name, value in found.values.items()}
            protocol = json.loads(json.dumps(dict(found.protocol), default=str))  # plain: it goes into a checkpoint
            protocols |= dict.fromkeys(found.values, protocol)
            for picture in found.pictures:
                if self.wandb is not None:
                    self.wandb.picture(picture.stem.rpartition("-")[0] or picture.stem, picture, self.step)
        if not figures:
            return
        self._row(figures)
        self.console.step(self.step, figures)
        self._latest |= figures
        self.last = {"step": self.step, "figures": figures, "protocol": protocols}
        value = figures.get(self.best.name or "", math.nan)
        if self.best.improves(value):
            self.best.step, self.best.value, self.best.figures = self.step, value, self.last
            self._save("best")
        self.folder.evaluation({"last": self.last, "best": self.best.figures or self.last})
        self.console.event(f"step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))

    def _grid(self) -> None:
        """One grid of fixed latents; a picture that cannot be drawn is told and left out."""
        image = self.assembly.spec.data.is_image
        if not parallel.writes() or (not image and self.assembly.spec.data.shape != (2,)):
            return  # no picture of such points
        path = self.folder.picture(f"{self.step:07d}.png")
        try:
            seed = stream(self.recipe.settings.seed, "grid")
            with parallel.alone():
                images = torch.cat(list(draw(self.gan, GRID if image else POINTS, seed)))
            reach = None if image else 1.2 * float(self.feed.images.abs().max())  # the frame is that of the reals
            save_grid(to_uint8(images).cpu(), path, limits=None if reach is None else (-reach, reach))
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
            "recipe": self.recipe.hash,
            "processes": parallel.world(),
            "data": {"shape": list(self.assembly.spec.data.shape), "classes": self.assembly.spec.data.classes},
        }

    def _save(self, name: str) -> None:
        """A checkpoint never replaces a good one with numbers that are not finite."""
        self._stop_if_bad()
        self._compare()
        state = self.state_dict()
        if parallel.writes():
            checkpoint.save(self.folder.path / "checkpoints" / f"{name}.pt", state)

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

    def _stop_if_bad(self) -> None:
        if (bad := self.meter.first_bad()) is not None:
            raise Diverged(
                f"step {bad[1]}: {bad[0]} is not finite, so training cannot go on; an earlier checkpoint is kept; "
                "lower optimizer.lr, or bound D with regularizer=[gp] or trick=[spectral_norm]"
            )

    def _restore(self, state: dict[str, Any]) -> None:
        """Everything as it was when the checkpoint was written; rows of later steps are dropped."""
        self.gan.load_state_dict(state["gan"])
        self.latent_stream.set_state(state["latents"])
        self.feed.load_state_dict(state["feed"])
        for name, (_, feed) in self.extra.items():
            feed.load_state_dict(state["extra"][name])
        self.meter.load_state_dict(state["meter"], self.device)
        self.step, self.images, self.seconds = state["step"], state["images"], state["seconds"]
        self.last, self._latest, self._logged = state["last"], state["latest"], tuple(state["logged"])
        self.best.step, self.best.value = state["best"]["step"], state["best"]["value"]
        self.best.figures = state["best"]["figures"]
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
        self.folder.status("running", self.step)
        checkpoint.restore_random_states(state["random"], self.device)

    def _preempted(self) -> int:
        self._save("last")
        name = signal.Signals(self.stopped_by or signal.SIGTERM).name
        self.folder.status("preempted", self.step, f"stopped by {name}")
        self.console.event(
            f"stopped by {name} at step {self.step}; go on with: gantrick train resume={self.folder.path}"
        )
        return 128 + int(self.stopped_by or 0)

    def _failed(self, reason: str, trace: str | None = None) -> None:
        try:
            self.folder.status("failed", self.step, reason, **({"traceback": trace} if trace else {}))
        except OSError as error:
            self.console.warn(f"{self.folder.path}: status.json could not be written: {error}")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run after the present step, its state saved; a second one ends it at once."""

        noted = 0.0

        def note(number: int, frame: Any) -> None:
            nonlocal noted
            if self.stopped_by is not None:
                if parallel.world() > 1 and time.monotonic() - noted < 5:
                    return  # of one Ctrl-C, by way of the terminal and of torchrun
                raise KeyboardInterrupt
            self.stopped_by, noted = number, time.monotonic()

        before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not the main thread: its owner decides
                before[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                # What started several processes ends the others when one fails; the writer still has to say why.
                signal.signal(number, handler if parallel.world() == 1 else signal.SIG_IGN)

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
        estimate = settings.steps * per_step
        tricks = [part.key for part in (*self.recipe.regularizers, *self.recipe.tricks)]
        for sentence in gan_module.warnings(self.assembly):
            self.console.warn(sentence)
        precision = "float32" if self.dtype is None else str(self.dtype).removeprefix("torch.")
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        several = f"{parallel.world()} × " if parallel.world() > 1 else ""
        self.console.header(
            {
                "recipe": f"{self.recipe.title}" + (f" with {', '.join(tricks)}" if tricks else ""),
                "data": f"{self.recipe.dataset.name}, {len(self.samples('train')):,} samples of "
                + "×".join(str(n) for n in self.assembly.spec.data.shape),
                "model": f"{self.recipe.model.name}, G {sizes['generator']:,}, D {sizes['discriminator']:,} parameters",
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
                    self._wait()
                    started = time.perf_counter()
                    self.play.evaluate(player, real, latents)
                    self._wait()
                    samples.append(time.perf_counter() - started)
                times[player] = min(samples)
        turns = settings.d_steps * times["discriminator"] + settings.g_steps * times["generator"]
        return turns * settings.accumulate * 1.1  # the optimizer and what surrounds it

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

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
            run_id=None if self.saved is None else self.saved["wandb"],
            warn=self.console.warn,
        )
        self.wandb.start()
        for metric in self.assembly.metrics.values():
            self.wandb.figure_metric(metric.primary, metric.lower_is_better)

    def _summary(self) -> None:
        if self.wandb is None or not self.last:
            return
        values = {f"last/{name}": value for name, value in self.last["figures"].items()}
        if self.best.figures:
            values |= {f"best/{name}": value for name, value in self.best.figures["figures"].items()}
            values["best/step"] = self.best.step
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
        if self.step < self.recipe.settings.steps:
            lines.append(f"next: gantrick train resume={self.folder.path}")
        else:
            lines.append(f"samples: {self.folder.path}/samples")
            lines.append(f"next: gantrick sample {self.folder.path} --n 64 --out samples.png")
        return lines


def _own(latents: Latents) -> Latents:
    """This process's share of the latents of a batch."""
    return Latents(parallel.rows(latents.z), None if latents.labels is None else parallel.rows(latents.labels))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that networks compute in; None is float32. auto: bf16 on a GPU that has it, float32 elsewhere."""
    if precision == "auto":
        precision = "float32"
        if device.type == "cuda":
            with torch.cuda.device(device):
                precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return torch.bfloat16 if precision == "bf16" else None


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
