"""How fast a recipe trains on this machine, and where the time goes: `gantrick bench`.

What is timed are the trainer's own steps, on data made up in the right shape.
"""

from __future__ import annotations

import gc
import math
import shutil
import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from gantrick import machine
from gantrick.feed import to_uint8
from gantrick.gan import PLAYERS, resolve_device
from gantrick.machine import wait
from gantrick.recipe import Part, Recipe, Wandb
from gantrick.sampling import draw
from gantrick.tracking.console import Console
from gantrick.tracking.environment import environment
from gantrick.trainer import Trainer
from gantrick.types import Dataset, DataShape, Player, Samples

SAMPLES = 4096
CYCLE = 64
SETTLED = 1008  # the step that a run stands at: past warm-ups, where every penalty of an interval up to 8 is due


class MadeUp(Dataset):
    """Random samples in the shape of another data set: uint8 images or normal points, and labels where it has any."""

    def __init__(self, like: Dataset, size: int | None = None):
        self.shape, self.flip = like.data, like.flip
        if size is not None:
            self.shape = replace(self.shape, shape=(self.shape.shape[0], size, size))

    @property
    def data(self) -> DataShape:
        return self.shape

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        source = torch.Generator().manual_seed(0)
        shape = (SAMPLES, *self.shape.shape)
        if self.shape.is_image:
            samples = torch.randint(0, 256, shape, generator=source, dtype=torch.uint8)
        else:
            samples = torch.randn(shape, generator=source)
        classes = self.shape.classes
        return Samples(samples, torch.randint(0, classes, (SAMPLES,), generator=source) if classes else None)


@dataclass(frozen=True)
class _MadeUpPart(Part):
    size: int | None = None

    def create(self) -> Dataset:
        return MadeUp(super().create(), self.size)


def made_up(recipe: Recipe, size: int | None = None, **settings: Any) -> Recipe:
    """The recipe on made-up data (of `size` pixels), unjudged, recorded only in its own folder, with these settings."""
    return replace(
        recipe,
        dataset=_MadeUpPart(**vars(recipe.dataset), size=size),
        metrics=(),
        wandb=Wandb(mode="disabled"),
        settings=replace(recipe.settings, **settings),
    )


class Running:
    """A run that takes its steps when it is told to: drawn, moved, observed and logged as the trainer does."""

    def __init__(self, recipe: Recipe):
        folder = mkdtemp(prefix="gantrick-bench-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.trainer = Trainer(recipe, Path(folder) / "run", console=Console(quiet=True))
        self.trainer.folder.open(recipe.resolved, "", {})
        self.trainer._build()
        self.trainer.step = self.trainer.play.step = SETTLED

    @property
    def rule(self) -> str | None:
        """The component whose update rule the step is, where it is not the default."""
        speaking = self.trainer.gan.stages["update_rule"]
        return speaking[0].label if speaking else None

    @property
    def intervals(self) -> list[int]:
        """Of the penalties that count."""
        stages = self.trainer.gan.stages
        return [c.interval for player in PLAYERS for c in stages[f"{player[0]}_penalty"] if c.weight]

    @property
    def cycle(self) -> int:
        """After so many steps lazy penalties are due as before; at most `CYCLE`, which is many enough for a mean."""
        return min(math.lcm(*self.intervals), CYCLE)

    def each_kind(self, call: Callable[[], float]) -> float:
        """The mean of a call over a cycle's steps; of those at which the same is due it is made at one."""
        play, kinds = self.trainer.play, Counter[tuple[bool, ...]]()
        at: dict[tuple[bool, ...], int] = {}
        for step in range(self.cycle):
            due = tuple(step % interval == 0 for interval in self.intervals)
            kinds[due] += 1
            at.setdefault(due, step)
        total = 0.0
        for due, count in kinds.items():
            play.step = at[due]
            total += count * call()
        return total / self.cycle

    def advance(self, count: int = 1) -> float:
        """Seconds a step, of `count` steps."""
        trainer = self.trainer
        wait(trainer.device)
        started = time.perf_counter()
        for _ in range(count):
            trainer.play.round(trainer.step)
            trainer.step += 1
            if trainer.step % trainer.recipe.settings.log_every == 0:
                trainer._log(trainer.meter.read())
        wait(trainer.device)
        return (time.perf_counter() - started) / count


def seconds(call: Callable[[], Any], device: torch.device, count: int = 1) -> float:
    """Seconds a call, of `count` calls."""
    wait(device)
    started = time.perf_counter()
    for _ in range(count):
        call()
    wait(device)
    return (time.perf_counter() - started) / count


def describe(device: torch.device) -> str:
    """The machine in a line."""
    name = environment(device)["device_name"]
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{name}{threads}, torch {torch.__version__}"


def alternate(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each measures, in turn, `rounds` times, each second round backwards: what disturbs one disturbs all."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(contestants[name]())
    return found


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in found.items()}


# --- the report ------------------------------------------------------------------------------------------------------

EFFORT = 2.0  # seconds that a figure is measured for; three times at least unless that takes five times as long


@dataclass(frozen=True)
class Row:
    """One way of computing: seconds of a turn of D and of G and of a step, real images a second, bytes at the most.

    Where a component's update rule makes the step, turns are not what it is made of: None.
    """

    name: str
    d: float | None
    g: float | None
    step: float
    images: float
    memory: int


def typical(call: Callable[[], Any], device: torch.device, warm: bool = False) -> float:
    """The median of the seconds a call takes, once it has been warmed up."""
    effort = EFFORT
    if not warm:
        call()
    found: list[float] = []
    while not found or sum(found) < effort or (len(found) < 3 and sum(found) < 5 * effort):
        found.append(seconds(call, device))
    return statistics.median(found)


def variants(device: torch.device) -> dict[str, dict[str, Any]]:
    """The settings worth comparing on a device, by name."""
    found: dict[str, dict[str, Any]] = {"float32": {"precision": "float32"}}
    if device.type == "cuda":
        with torch.cuda.device(device):
            half = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        found |= {
            half: {"precision": half},
            f"{half}, compile": {"precision": half, "compile": True},
            f"{half}, CUDA graphs": {"precision": half, "cuda_graphs": True},
        }
    else:
        found["bf16"] = {"precision": "bf16"}
    return found


def peak_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of this device at its best: the faster of a large matrix product and a 3x3 convolution."""
    dtype = machine.compute_type(precision, device) or torch.float32
    n, batch = (8192, 256) if device.type == "cuda" else (2048, 16)
    a = torch.randn(n, n, device=device, dtype=dtype)
    images = torch.randn(batch, 256, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    product = 2 * n**3 / typical(lambda: a @ a, device)
    convolution = 2 * batch * 32 * 32 * 256**2 * 9 / typical(lambda: F.conv2d(images, kernel, padding=1), device)
    return max(product, convolution)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """torch's own counts, summed. Its FlopCounterMode follows modules too, which fails where gradients are nested."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


class _Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that are alive, those that were there before and those made since; and the most there were.

    What an operation takes inside itself and gives back (a convolution's workspace) is not seen.
    """

    def __init__(self, before: Any):
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, weakref.ref[Any]] = {}
        self.alive = self.most = 0
        self._see(before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._pass_over((args, kwargs))
        out = func(*args, **(kwargs or {}))
        self._see(out)
        return out

    def _see(self, tensors: Any) -> None:
        for storage in self._new(tensors):
            self._count(storage, storage.nbytes())

    def _pass_over(self, tensors: Any) -> None:
        """Those of others, as the data that are resident."""
        for storage in self._new(tensors):
            self._count(storage, 0)

    def _new(self, tensors: Any) -> Iterator[torch.UntypedStorage]:
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor) and id(storage := tensor.untyped_storage()) not in self._known:
                yield storage

    def _count(self, storage: torch.UntypedStorage, size: int) -> None:
        def gone(_: Any, key: int = id(storage)) -> None:
            self.alive -= size
            del self._known[key]

        self._known[id(storage)] = weakref.ref(storage, gone)
        self.alive += size
        self.most = max(self.most, self.alive)


def flops(running: Running) -> dict[Player, float]:
    """Floating-point operations of a turn's products and convolutions, forward and backward, counted by torch."""
    play = running.trainer.play

    def counted(player: Player) -> int:
        with _Operations() as counter:  # type: ignore[no-untyped-call]
            for _ in range(play.accumulate):
                play.evaluate(player, *play.draw(player))
        return int(counter.total)

    return {player: running.each_kind(lambda player=player: counted(player)) for player in PLAYERS}  # type: ignore[misc]


def operations(running: Running) -> float:
    """Those of a step by the run's own update rule, the mean of a cycle that it takes."""
    with _Operations() as counter:  # type: ignore[no-untyped-call]
        running.advance(running.cycle)
    return float(counter.total / running.cycle)


def memory(running: Running) -> int:
    """Bytes of tensors at the most in a cycle that the run takes: its state (weights, optimizers, the buffers of
    components) and what a step makes beside it. The same on any machine.
    """
    gc.collect()
    with _Memory(running.trainer.gan.state_dict()) as counter:  # type: ignore[no-untyped-call]
        running.advance(running.cycle)
    return int(counter.most)


def measure(recipe: Recipe, name: str, **settings: Any) -> tuple[Row, Running]:
    """A row of the report, and the run it was taken from."""
    device = resolve_device(recipe.settings.device)
    gc.collect()
    machine.reset_peak_memory(device)
    running = Running(made_up(recipe, **settings))
    trainer, cycle = running.trainer, running.cycle
    turns = {}
    for player in () if running.rule else PLAYERS:
        turns[player] = running.each_kind(
            lambda player=player: typical(lambda: trainer.play.turn(player), device)  # type: ignore[misc]
        )
    images = trainer.images
    running.advance(cycle)
    images = trainer.images - images
    step = typical(lambda: running.advance(cycle), device, warm=True) / cycle
    d, g = (turns.get(player) for player in PLAYERS)
    return Row(name, d, g, step, images / cycle / step, machine.peak_memory(device)), running


def shares(recipe: Recipe, running: Running, row: Row) -> dict[str, float]:
    """Seconds of a step by what they go to. Evaluation is spread over the steps between two."""
    trainer, s = running.trainer, running.trainer.recipe.settings
    play, device = trainer.play, trainer.device
    judging = {"evaluation": evaluation(recipe, running) / s.eval_every if s.eval_every else 0.0}
    if row.d is None or row.g is None:
        return {f"the step, by {running.rule}": row.step} | judging
    moves = {"discriminator": s.d_steps * s.accumulate, "generator": s.g_steps * s.accumulate}
    data = {player: typical(lambda player=player: play.draw(player), device) for player in PLAYERS}  # type: ignore[misc]
    penalties = {}
    for player in PLAYERS:
        drawn = play.draw(player)

        def judged(player: Player = player, drawn: Any = drawn) -> float:
            return running.each_kind(lambda: typical(lambda: play.evaluate(player, *drawn), device))

        penalties[player] = 0.0
        if any(component.weight for component in play.stages[f"{player[0]}_penalty"]):
            whole = judged()
            play._penalties = lambda *_: {}  # type: ignore[method-assign]
            penalties[player] = max(0.0, whole - judged())
            del play._penalties
    turns = {"discriminator": s.d_steps * row.d, "generator": s.g_steps * row.g}
    found = {"data": sum(moves[p] * data[p] for p in PLAYERS)}
    found |= {p: max(0.0, turns[p] - moves[p] * (data[p] + penalties[p])) for p in PLAYERS}
    found["penalties"] = sum(moves[p] * penalties[p] for p in PLAYERS)
    found["logging, the rest"] = max(0.0, row.step - sum(turns.values()))
    return found | judging


def evaluation(recipe: Recipe, running: Running) -> float:
    """Seconds of one evaluation: drawing and features of its samples, taken on a few of them.

    Inception's weights are not fetched for this: random ones take as long. Metrics without an extractor count as none.
    """
    from gantrick.metric import features

    trainer, total = running.trainer, 0.0
    few = 256 if trainer.device.type == "cuda" else 16
    for part in recipe.metrics:
        metric = part.create()
        name, count = getattr(metric, "extractor", None), getattr(metric, "samples", 0)
        count = min(count, recipe.settings.eval_samples or count)
        drawn = to_uint8(next(draw(trainer.gan, few, 0, few)))
        each = typical(lambda: next(draw(trainer.gan, few, 0, few)), trainer.device) / few
        if isinstance(name, str):
            network = features.extractor("random_inception" if name == "inception" else name, device=trainer.device)
            each += typical(lambda network=network, drawn=drawn: network(drawn), trainer.device) / few  # type: ignore[misc]
        total += count * each
    return total


def report(recipe: Recipe) -> Iterator[str]:
    """What `gantrick bench` prints, line by line as it is found."""
    recipe = replace(recipe, settings=replace(recipe.settings, log_every=1))
    device, s = resolve_device(recipe.settings.device), recipe.settings
    data = recipe.dataset.create().data
    tricks = [part.key for part in (*recipe.regularizers, *recipe.tricks)]
    yield f"device   {describe(device)}"
    yield f"recipe   {recipe.title}{' with ' + ', '.join(tricks) if tricks else ''}, {recipe.model.name}"
    sizes = s.batch_size * s.accumulate, (s.generator_batch_size or s.batch_size) * s.accumulate
    yield f"step     {s.d_steps} × D on {sizes[0]}, {s.g_steps} × G on {sizes[1]}"
    yield f"data     made up, {'×'.join(map(str, data.shape))}"
    yield ""
    yield "| | ms a turn of D | of G | ms a step | images/s | GFLOP/s | of the peak | memory |"
    yield "|---|---|---|---|---|---|---|---|"
    counted: dict[Player, float] | None = None
    work = 0.0
    kept: tuple[Row, Running] | None = None
    for name, settings in variants(device).items():
        row, running = measure(recipe, name, **settings)
        if counted is None:
            counted, work = flops(running), operations(running)
        rate, peak = work / row.step, peak_rate(device, settings["precision"])
        yield (
            f"| {name} | {_ms(row.d)} | {_ms(row.g)} | {_ms(row.step)} | {row.images:.4g} | "
            f"{rate / 1e9:.0f} | {rate / peak:.0%} of {peak / 1e9:.0f} | {row.memory / 2**30:.2f} GiB |"
        )
        if kept is None or row.step < kept[0].step:
            kept = row, running
        del running
    assert kept is not None and counted is not None
    yield ""
    turns = f"a turn of D {counted['discriminator'] / 1e9:.4g}, of G {counted['generator'] / 1e9:.4g}"
    by = f" by {kept[1].rule}; {turns} by itself" if kept[1].rule else f": {turns}"
    yield f"A step's products and convolutions are {work / 1e9:.4g} GFLOP{by}."
    held = "allocated on the GPU" if device.type == "cuda" else "resident in this process"
    yield f"Peak: the faster of a matrix product and a 3×3 convolution of this precision. Memory: the most {held}."
    yield ""
    yield f"| where a step's time goes ({kept[0].name}) | ms | share |"
    yield "|---|---|---|"
    parts = shares(recipe, kept[1], kept[0])
    for name, value in parts.items():
        yield f"| {name} | {_ms(value)} | {value / sum(parts.values()):.1%} |"


def _ms(seconds: float | None) -> str:
    """Milliseconds: "0.072", "63.9", "4940"; "–"."""
    if seconds is None:
        return "–"
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"
