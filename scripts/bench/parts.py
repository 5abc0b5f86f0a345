#!/usr/bin/env python
"""What each measure for speed is worth: a step with all of them against a step without one, in turn.

The fastest step of each is what a busy machine disturbs least.

SNGAN-ResNet on CIFAR's shapes, one move of D and one of G on 64, float32, on a CPU.

    OMP_NUM_THREADS=2 python scripts/bench/parts.py --rounds 7
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import subprocess
import sys
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from gantrick import bench, compose, machine
from gantrick.layers import resampling
from gantrick.layers.blocks import DiscriminatorBlock, GeneratorBlock
from gantrick.layers.spectral_norm import normalised

WORDS = "dataset=cifar10 model=sngan_resnet loss=hinge trick=[spectral_norm] batch_size=64 log_every=1 device=cpu"
HEAPS = (("kept for the next step", False), ("given back, as glibc does", True))


def memory(release: bool, steps: int) -> tuple[float, float]:
    """Seconds of the fastest step and pages faulted a step, in a process of its own, as glibc's heap has a history."""
    words = [sys.executable, __file__, "--steps", str(steps), "--memory", "released" if release else "kept"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return float(out[-2]), float(out[-1])


def in_this_process(release: bool, steps: int) -> None:
    if release:
        machine.keep_freed_memory = lambda: False
    running = bench.Running(bench.made_up(compose([*WORDS.split(), "d_steps=1"])))
    running.advance(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fastest = min(running.advance() for _ in range(steps))
    print(fastest, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps)


def plain_convolutions() -> Any:
    """Up-sampling and convolution, convolution and pooling, one after the other; shortcuts on the larger side."""
    stack = contextlib.ExitStack()
    conv = nn.Conv2d.forward
    for cls, name, forward in (
        (resampling.NearestUpConv, "forward", lambda self, h: conv(self, resampling.upsample(h, "nearest"))),
        (resampling.PooledConv, "forward", lambda self, h: F.avg_pool2d(conv(self, h), 2)),
        (DiscriminatorBlock, "skip", lambda b, h: F.avg_pool2d(b.shortcut(h), 2) if b.halves else b.shortcut(h)),
        (
            GeneratorBlock,
            "forward",
            lambda b, h, c=None: (
                b.conv2(F.relu(b.norm2(b.conv1(F.relu(b.norm1(h, c))), c))) + b.shortcut(resampling.upsample(h, b.up))
            ),
        ),
    ):
        stack.enter_context(mock.patch.object(cls, name, forward))
    return stack


def slow_adam(running: bench.Running) -> dict[Any, torch.optim.Optimizer]:
    gan = running.trainer.gan
    options = {"lr": 2e-4, "betas": (0.0, 0.9), "foreach": False, "fused": False}
    return {p: torch.optim.Adam(list(gan.parameters[p].values()), **options) for p in gan.optimizers}


def iterate_at_each_forward(running: bench.Running) -> Any:
    """Spectral norm's power iteration as a forward hook, as torch's own does it."""
    d = running.trainer.gan.discriminator

    def iterate(*_: Any) -> None:
        for norm, weight in normalised(d):
            norm.iterate(weight, 1)

    handle = d.register_forward_pre_hook(iterate)
    stack = contextlib.ExitStack()
    stack.callback(handle.remove)
    return stack


class Graphs:
    """torch, as the step sees it, that makes a graph where the step asks for none."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def set_grad_enabled(self, on: bool) -> Any:
        return torch.enable_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="of each process that measures memory")
    parser.add_argument("--memory", choices=("kept", "released"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        return in_this_process(arguments.memory == "released", arguments.steps)
    device = torch.device("cpu")
    running = bench.Running(bench.made_up(compose([*WORDS.split(), "d_steps=1"])))
    contiguous = bench.Running(bench.made_up(compose([*WORDS.split(), "d_steps=1", "channels_last=false"])))
    play, gan = running.trainer.play, running.trainer.gan
    adam = slow_adam(running)
    without = {
        "all of it": contextlib.nullcontext,
        "convolutions apart from resampling": plain_convolutions,
        "Adam parameter by parameter": lambda: mock.patch.object(gan, "optimizers", adam),
        "reals and fakes in two forwards": lambda: mock.patch.object(play.judge, "apart", True),
        "a graph through G in D's turn": lambda: mock.patch("gantrick.step.torch", Graphs()),
        "a power iteration before each forward too": lambda: iterate_at_each_forward(running),
    }

    def timed(name: str, run: bench.Running) -> float:
        with without.get(name, contextlib.nullcontext)():
            return run.advance()

    contestants: dict[str, Any] = {name: (lambda name=name: timed(name, running)) for name in without}
    contestants["channels first"] = lambda: timed("channels first", contiguous)
    for contestant in contestants.values():
        contestant()
    found = bench.alternate(contestants, arguments.rounds)
    base = found["all of it"]
    print(f"{bench.describe(device)}; {arguments.rounds} rounds\n")
    print("| without | fastest, ms | times as long | median, ms | times as long, and range |\n|---|---|---|---|---|")
    for name, values in found.items():
        ratios = [v / b for v, b in zip(values, base, strict=True)]
        fastest, median = 1e3 * min(values), 1e3 * statistics.median(values)
        print(
            f"| {name} | {fastest:.0f} | {min(values) / min(base):.2f} | {median:.0f} | "
            f"{statistics.median(ratios):.2f}, {min(ratios):.2f}–{max(ratios):.2f} |"
        )
    heaps = {f"freed memory {name}": (lambda r=r: memory(r, arguments.steps)) for name, r in HEAPS}  # type: ignore[misc]
    for name, values in bench.alternate(heaps, 3).items():  # type: ignore[arg-type]
        seconds, faults = (min(column) for column in zip(*values, strict=True))  # type: ignore[call-overload]
        print(f"| {name} | {1e3 * seconds:.0f} | {faults:,.0f} pages faulted a step | | |")


if __name__ == "__main__":
    main()
