#!/usr/bin/env python
"""One training step of SNGAN and WGAN-GP, ours against torch-mimicry's, on the same networks and work.

ResNets of the papers on CIFAR's shapes (G 256, D 128 channels), batches of 64, five moves of D and one of G. Ours is
timed through the trainer's own step, logged at every step; mimicry through its networks' own train_step with its log,
in a process of its own, so that it has the memory allocator as its users have it.
With mimicry's weights both give the same outputs, which is checked first. All take turns: medians, and the step
made of the fastest turns of each, which a busy machine disturbs least.

    pip install --no-deps --target /somewhere torch-mimicry
    OMP_NUM_THREADS=2 PYTHONPATH=/somewhere python scripts/bench/train_step.py --rounds 5

On a machine that others use: OMP_NUM_THREADS=1 … --clock cpu --d-steps 1, whose last column is whole steps of five.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mimicry
import torch
from torch import nn

from gantrick import bench, compose
from gantrick.feed import Feed
from gantrick.gan import resolve_device
from gantrick.types import DataShape

BATCH, D_STEPS = 64, 5
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
GAMES = {"sngan": ("SNGAN", ["loss=hinge", "trick=[spectral_norm]"]), "wgan_gp": ("WGANGP", ["loss=wgan_gp"])}


def recipe(game: str, size: int, device: str, **options: Any) -> Any:
    words = ["dataset=cifar10", "model=sngan_resnet", *GAMES[game][1], f"batch_size={BATCH}"]
    words += ["optimizer=adam", "optimizer.lr=2e-4", "optimizer.betas=[0.0,0.9]", f"device={device}", "log_every=1"]
    words += [f"model.pool={'sum' if game == 'sngan' else 'mean'}"]
    made = compose([*words, *(f"{key}={value}" for key, value in options.items())])
    return bench.made_up(made, size=size)


class Turns:
    """Seconds of turns by player. The sum of the fastest is the step that nothing disturbed, on a busy machine too."""

    def __init__(self, clock: str) -> None:
        self.clock = CLOCKS[clock]
        self.found: dict[str, list[float]] = {"d": [], "g": []}

    def time(self, player: str, turn: Callable[[], Any]) -> None:
        started = self.clock()
        turn()
        self.found[player].append(self.clock() - started)

    @property
    def fastest(self) -> float:
        return D_STEPS * min(self.found["d"]) + min(self.found["g"])


class Theirs:
    """mimicry's networks, moved by their own train_step on batches from the same kind of feed."""

    def __init__(self, game: str, size: int, feed: Any, device: torch.device, d_steps: int, clock: str = "wall"):
        nets = mimicry.load(game)
        self.g: Any = getattr(nets, f"{GAMES[game][0]}Generator{size}")().to(device)
        self.d: Any = getattr(nets, f"{GAMES[game][0]}Discriminator{size}")().to(device)
        self.optimizers = [torch.optim.Adam(n.parameters(), 2e-4, betas=(0.0, 0.9)) for n in (self.d, self.g)]
        self.feed, self.device, self.d_steps, self.turns = feed, device, d_steps, Turns(clock)

    def turn(self, player: str, log: Any) -> None:
        if player == "d":
            self.batch = (self.feed.next(BATCH).images.contiguous(), torch.zeros(BATCH))
            self.d.train_step(self.batch, self.g, self.optimizers[0], log, device=self.device)
        else:
            self.g.train_step(self.batch, self.d, self.optimizers[1], log, device=self.device)

    def move(self) -> None:
        log = mimicry.MetricLog()
        for player in "d" * self.d_steps + "g":
            self.turns.time(player, lambda player=player: self.turn(player, log))  # type: ignore[misc]


def their_process(
    pipe: Any, game: str, size: int, name: str, threads: int, steps: int, d_steps: int, clock: str
) -> None:
    """mimicry in a process of its own, with the system's memory as it finds it: a step a message."""
    torch.set_num_threads(threads)
    device = torch.device(name)
    data = bench.MadeUp(Images(DataShape((3, size, size), 10)))
    theirs = Theirs(game, size, Feed(data.load(), device, 0), device, d_steps, clock)
    with contextlib.suppress(EOFError):  # whoever asked is gone
        while pipe.recv():
            pipe.send((bench.seconds(theirs.move, device, steps), theirs.turns.fastest))


@dataclass
class Images:
    data: DataShape
    flip: bool = False


class TheirProcess:
    def __init__(self, *arguments: Any):
        context = torch.multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=their_process, args=(end, *arguments), daemon=True)
        self.process.start()
        self.fastest = 0.0

    def move(self) -> float:
        self.pipe.send(True)
        found, self.fastest = self.pipe.recv()
        return float(found)


def check(theirs: Theirs, running: bench.Running) -> float:
    """The largest relative difference of outputs where ours has mimicry's weights. Restores ours."""
    gan = running.trainer.gan
    state = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in gan.networks.items()}
    mimicry.copy_generator(gan.generator.body, theirs.g)
    images = 300 * torch.randn(4, *running.trainer.assembly.spec.data.shape, device=theirs.device)
    z = torch.randn(4, 128, device=theirs.device)
    worst = []
    with torch.no_grad():
        for _ in range(10 if hasattr(children_last(theirs.d), "weight_orig") else 0):
            theirs.d(images[:1])  # a power iteration; before it a weight is divided by next to nothing
        blocks = int(gan.generator.body.blocks)
        expected = theirs.g.eval()(z), theirs.d.eval()(images)
        mimicry.copy_discriminator(gan.discriminator.body, theirs.d)
        mimicry.copy_layer(gan.discriminator.head, children_last(theirs.d))
        for network in gan.networks.values():
            network.eval()
        with mimicry.InPlaceRelu(gan.discriminator.body):
            found = gan.generator.body(z, [None] * blocks), gan.discriminator(images).scores
    for ours, other in zip(found, expected, strict=True):
        worst.append(float((ours - other).abs().max() / other.abs().max()))
    for name, net in gan.networks.items():
        net.load_state_dict(state[name])
        net.train()
    theirs.g.train()
    theirs.d.train()
    return max(worst)


def children_last(network: nn.Module) -> Any:
    return mimicry.children(network, "l")[-1]


def contest(game: str, size: int, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    for up in ("bilinear", "nearest"):
        for precision in ("float32", "bf16"):
            rows[f"ours, {up}, {precision}"] = {"model.up": up, "precision": precision}
            if device.type == "cuda" or arguments.compile:
                rows[f"ours, {up}, {precision}, compile"] = {**rows[f"ours, {up}, {precision}"], "compile": "true"}
            if device.type == "cuda":
                rows[f"ours, {up}, {precision}, CUDA graphs"] = {
                    **rows[f"ours, {up}, {precision}"],
                    "cuda_graphs": "true",
                }
    if arguments.only:
        rows = {name: row for name, row in rows.items() if arguments.only in name}
    running = {
        name: bench.Running(recipe(game, size, str(device), d_steps=arguments.d_steps, **options))
        for name, options in rows.items()
    }
    first = next(iter(running.values())).trainer
    bilinear = next((run for name, run in running.items() if "bilinear, float32" in name), None)
    difference = check(Theirs(game, size, first.feed, device, 1), bilinear) if bilinear else None
    theirs = TheirProcess(
        game, size, str(device), torch.get_num_threads(), arguments.steps, arguments.d_steps, arguments.clock
    )
    turns: dict[str, Any] = {"mimicry, float32": theirs}
    if device.type == "cpu":  # on a GPU it would have to be waited for after each
        for name, run in running.items():
            turns[name] = times = Turns(arguments.clock)
            play, turn = run.trainer.play, run.trainer.play.turn
            play.turn = lambda player, times=times, turn=turn: times.time(player[0], lambda: turn(player))  # type: ignore[method-assign,misc]

    contestants: dict[str, Callable[[], float]] = {"mimicry, float32": theirs.move}
    contestants |= {name: (lambda run=run: run.advance(arguments.steps)) for name, run in running.items()}
    for move in contestants.values():  # what is compiled, allocated and chosen once
        move()
    found = bench.alternate(contestants, arguments.rounds)
    base = found["mimicry, float32"]
    table = []
    for name, values in found.items():
        ratios = [b / v for b, v in zip(base, values, strict=True)]  # of one round: what disturbs it disturbs both
        table.append(
            {
                "row": name,
                "ms": 1e3 * statistics.median(values),
                "ratio": statistics.median(ratios),
                "best_ms": 1e3 * (turns[name].fastest if device.type == "cpu" else min(values)),
                "best_ratio": theirs.fastest / turns[name].fastest if device.type == "cpu" else min(base) / min(values),
                "low": min(ratios),
                "high": max(ratios),
                "images_per_second": BATCH * arguments.d_steps / statistics.median(values),
            }
        )
    return {"game": game, "size": size, "difference": difference, "rows": table}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1, help="steps (5 D, 1 G) of each in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, nargs="*", help="pixels: 32, 48, 64 or 128 (default: 32, on a GPU 32 128)")
    parser.add_argument("--game", choices=sorted(GAMES), nargs="*", default=["sngan", "wgan_gp"])
    parser.add_argument("--only", help="only rows whose name has this in it")
    parser.add_argument("--compile", action="store_true", help="compiled rows on a CPU too")
    parser.add_argument("--d-steps", type=int, default=D_STEPS, help="D's turns of a timed step; fewer take less long")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="of turns; cpu for one thread of a busy machine"
    )
    parser.add_argument("--json", type=Path, help="where to write what was found")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    print(bench.describe(device))
    rates = {precision: bench.peak_rate(device, precision) / 1e9 for precision in ("float32", "bf16")}
    print("the device's best: " + ", ".join(f"{rate:.0f} GFLOP/s in {precision}" for precision, rate in rates.items()))
    report: dict[str, Any] = {"device": bench.describe(device), "peak_gflops": rates, "contests": []}
    for size in arguments.size or ([32, 128] if device.type == "cuda" else [32]):
        for game in arguments.game:
            found = contest(game, size, arguments, device)
            report["contests"].append(found)
            same = "not compared" if found["difference"] is None else f"{found['difference']:.1e}"
            print(f"\n{game}, {size} pixels, {arguments.rounds} rounds of {arguments.steps}; outputs with mimicry's")
            print(
                f"weights differ by {same} of the largest\n\n"
                "| row | ms a step | images/s | ratio | range | fastest, ms | ratio |"
            )
            print("|---|---|---|---|---|---|---|")
            for row in found["rows"]:
                print(
                    f"| {row['row']} | {row['ms']:.0f} | {row['images_per_second']:.1f} | {row['ratio']:.2f} | "
                    f"{row['low']:.2f}–{row['high']:.2f} | {row['best_ms']:.0f} | {row['best_ratio']:.2f} |",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
