"""How fast a recipe trains on this machine: the trainer's own steps on data made up in the right shape."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from gantrick.machine import wait
from gantrick.recipe import Part, Recipe, Wandb
from gantrick.tracking.console import Console
from gantrick.tracking.environment import environment
from gantrick.trainer import Trainer
from gantrick.types import Dataset, DataShape, Samples

SAMPLES = 4096


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
        self._folder = TemporaryDirectory(prefix="gantrick-bench-")
        self.trainer = Trainer(recipe, Path(self._folder.name) / "run", console=Console(quiet=True))
        self.trainer.folder.open(recipe.resolved, "", {})
        self.trainer._build()

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
