#!/usr/bin/env python
"""What each measure for speed is worth: a step with all of them against a step without one, in turn, medians.

SNGAN-ResNet on CIFAR's shapes, one move of D and one of G on 64, float32, on a CPU.

    OMP_NUM_THREADS=2 python scripts/bench/parts.py --rounds 7
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import resource
import statistics
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from gantrick import bench, compose
from gantrick.layers import resampling
from gantrick.layers.blocks import DiscriminatorBlock, GeneratorBlock
from gantrick.layers.spectral_norm import normalised

WORDS = "dataset=cifar10 model=sngan_resnet loss=hinge trick=[spectral_norm] batch_size=64 log_every=1 device=cpu"


@contextlib.contextmanager
def freed_memory_goes_back() -> Iterator[None]:
    """glibc as it is after some steps on its own: blocks above 32 MiB are mapped, 64 MiB at the end go back."""
    mallopt = ctypes.CDLL(None).mallopt
    for what, value in ((-4, 65536), (-3, 32 << 20), (-1, 64 << 20)):
        assert mallopt(what, value)
    try:
        yield
    finally:
        assert mallopt(-4, 0) and mallopt(-1, -1)


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
    arguments = parser.parse_args()
    device = torch.device("cpu")
    running = bench.Running(bench.made_up(compose([*WORDS.split(), "d_steps=1"])))
    contiguous = bench.Running(bench.made_up(compose([*WORDS.split(), "d_steps=1", "channels_last=false"])))
    play, gan = running.trainer.play, running.trainer.gan
    adam = slow_adam(running)
    without = {
        "all of it": contextlib.nullcontext,
        "memory that is freed goes back to the system": freed_memory_goes_back,
        "convolutions apart from resampling": plain_convolutions,
        "Adam parameter by parameter": lambda: mock.patch.object(gan, "optimizers", adam),
        "reals and fakes in two forwards": lambda: mock.patch.object(play.judge, "apart", True),
        "a graph through G in D's turn": lambda: mock.patch("gantrick.step.torch", Graphs()),
        "a power iteration before each forward too": lambda: iterate_at_each_forward(running),
    }
    faults: dict[str, list[float]] = {}

    def timed(name: str, run: bench.Running) -> float:
        with without.get(name, contextlib.nullcontext)():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found = run.advance()
            faults.setdefault(name, []).append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        return found

    contestants: dict[str, Any] = {name: (lambda name=name: timed(name, running)) for name in without}
    contestants["channels first"] = lambda: timed("channels first", contiguous)
    for contestant in contestants.values():
        contestant()
    faults.clear()
    found = bench.alternate(contestants, arguments.rounds)
    base = found["all of it"]
    print(f"{bench.describe(device)}; {arguments.rounds} rounds\n")
    print("| without | ms | times as long | range | pages faulted |\n|---|---|---|---|---|")
    for name, values in found.items():
        ratios = [v / b for v, b in zip(values, base, strict=True)]
        print(
            f"| {name} | {1e3 * statistics.median(values):.0f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f}–{max(ratios):.2f} | {statistics.median(faults[name]):,.0f} |"
        )


if __name__ == "__main__":
    main()
