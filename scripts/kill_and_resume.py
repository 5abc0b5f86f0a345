"""Kills runs at random moments, resumes them, and counts the bits in which they differ from runs left alone.

    python scripts/kill_and_resume.py --runs 200

Every loss, regularizer and trick of the registry takes part: the configs are filled with as many as go together, and
each loss that then has not been there has a run of its own. A run is a
process of its own and is killed with SIGKILL once to three times: at a moment of its whole life by chance, or while it
writes, around one of the fsyncs and renames of its checkpoints and files. In the end networks, optimizers, component
buffers, random streams, the place in the data and every row but the clock's fields are compared bit for bit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gantrick import checkpoint, gan, registry
from gantrick.recipe import Recipe, check
from gantrick.tracking.console import Console
from gantrick.tracking.folder import RunFolder
from gantrick.trainer import run
from gantrick.types import ConfigError

CLOCK = {"seconds", "images_per_second"}
ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.5, 0.9]}
BRING_LABELS = (
    "projection",
    "label_concat",
    "conditional_batch_norm",
)  # into a player that another component needs to be told them


def recipe(loss: str, parts: list[tuple[str, str]], model: str) -> Recipe:
    chosen: dict[str, dict[str, Any]] = {"regularizer": {}, "trick": {}}
    for group, name in parts:
        chosen[group][name] = {"name": name, **registry.load(group, name).exercise}
    size = 32 if model == "sngan_resnet" else 16 if model == "autoencoder" else 8
    return check(
        {
            "model": {"name": model, "g_width": 4, "d_width": 4, "z_size": 6},
            "loss": {"name": loss},
            "dataset": {"name": "digits", "size": size},
            "metric": {"fid": {"name": "fid", "extractor": "digits_cnn", "samples": 50}} if size == 8 else {},
            "optimizer": {"generator": ADAM, "discriminator": ADAM, "schedule": "linear"},
            "wandb": {"mode": "disabled"},
            **chosen,
            **{"steps": 12, "batch_size": 6, "d_steps": 2, "accumulate": 2, "log_every": 1, "sample_every": 4},
            **{"eval_every": 3, "checkpoint_every": 1, "keep_every": 5, "device": "cpu", "seed": 7},
        }
    )


def configs() -> Iterator[tuple[str, Recipe]]:
    """Configs in which every component stands, each filled with as many as the compatibility rules let be together."""
    left = [(group, name) for group in ("regularizer", "trick") for name in registry.names(group)]
    losses = ["wgan", "hinge", "non_saturating", "lsgan", "minimax"]
    number = 0
    while left:
        loss, model = losses[number % len(losses)], "dcgan" if number % 2 == 0 else "sngan_resnet"
        parts: list[tuple[str, str]] = []
        for part in left:
            for partner in ([], *([("trick", name)] for name in BRING_LABELS)):
                more = [p for p in (part, *partner) if p not in parts]
                try:
                    gan.preflight(recipe(loss, [*parts, *more], model))
                except ConfigError:
                    continue
                parts += more
                break
        if parts:
            yield f"{loss}, {model}: {', '.join(name for _, name in parts)}", recipe(loss, parts, model)
        left = [part for part in left if part not in parts]
        number += 1
        if number > 50:
            raise SystemExit(f"no config takes {left}")
    for loss in registry.names("loss"):
        if loss not in losses[:number]:
            yield loss, alone(loss)


def alone(loss: str) -> Recipe:
    """The loss with the first model and the first further part that it gets on with."""
    faults: tuple[str, ...] = ()
    for model, partner in itertools.product(("dcgan", "autoencoder"), (None, *BRING_LABELS)):
        made = recipe(loss, [("trick", name) for name in ("ema", partner) if name], model)
        try:
            gan.preflight(made)
        except ConfigError as error:
            faults = faults or tuple(error.faults)
            continue
        return made
    raise SystemExit(f"no config takes {loss}: {'; '.join(faults)}")


def die_in_call(number: int, after: bool) -> None:
    """This process ends in its `number`-th call of fsync or rename, before or after it is done."""
    calls = 0

    def deadly(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            found = real(*arguments) if after or calls != number else None
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call

    os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)


def start(made: Recipe, folder: Path, resume: bool, deadly: tuple[int, bool] | None = None) -> int:
    """The run in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if deadly is not None:
            die_in_call(*deadly)
        code = run(made, folder, console=Console(quiet=True), resume=resume)
    except BaseException as error:
        print(f"{folder.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def bits(a: Any, b: Any) -> int:
    """In how many bits two states differ; what is no tensor and differs counts as one."""
    if isinstance(a, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return 8 * a.nbytes
        first, second = (t.contiguous().flatten().view(torch.uint8) for t in (a, b))
        different = first ^ second
        return int(sum(((different >> i) & 1).sum() for i in range(8)))
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return 1
        return sum(bits(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return 1 if len(a) != len(b) else sum(bits(x, y) for x, y in zip(a, b, strict=True))
    return int(repr(a) != repr(b))


def state(folder: Path) -> dict[str, Any]:
    found = checkpoint.load(folder / "checkpoints" / "last.pt")
    timed = {"seconds", "logged", "wandb", "latest"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]
    best = (
        checkpoint.load(folder / "checkpoints" / "best.pt")["gan"] if (folder / "checkpoints/best.pt").exists() else 0
    )
    kept = [path.name for path in checkpoint.numbered(folder / "checkpoints")]
    return {**{k: v for k, v in found.items() if k not in timed}, "rows": rows, "best weights": best, "kept": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(asked.seed)
    root = Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    kills = inside = differing = different_runs = 0
    alone = []
    for number, (title, made) in enumerate(configs()):
        started = time.monotonic()
        os.waitpid(start(made, root / f"alone{number}", False), 0)
        alone.append((made, state(root / f"alone{number}"), time.monotonic() - started))
        print(f"config {number}: {title} ({alone[-1][2]:.1f} s)", flush=True)
    for number in range(asked.runs):
        made, wanted, length = alone[number % len(alone)]
        folder, of_this = root / f"run{number}", chance.randint(1, 3)
        for attempt in range(of_this + 1):
            going_on = (folder / "config.yaml").exists()
            in_write = attempt < of_this and chance.random() < 0.5
            deadly = (chance.randint(1, 60), chance.random() < 0.5) if in_write else None
            child = start(made, folder, going_on, deadly)
            if attempt < of_this and not in_write:
                time.sleep(chance.uniform(0, length))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                kills += 1
                inside += in_write
            ended = RunFolder(folder).state() == "finished"  # a kill may come after the last write, and change nothing
            if ended or not os.WIFSIGNALED(status):
                break
        if not ended:
            raise SystemExit(f"{folder}: ended with {status}")
        found = bits(wanted, state(folder))
        differing += found
        different_runs += found > 0
        if found:
            print(f"{folder}: {found} bits differ", flush=True)
        else:
            shutil.rmtree(folder)
    print(f"{asked.runs} runs, {kills} kills, {inside} of them inside a write, over {len(alone)} configs")
    print(f"runs that differ: {different_runs}; bits that differ: {differing}")
    shutil.rmtree(root) if not differing else print(root)
    raise SystemExit(1 if differing else 0)


if __name__ == "__main__":
    main()
