#!/usr/bin/env python
"""What every regularizer and trick costs: a step with it against one without, in turn, medians; and its memory.

The components are those the registry finds, each with the settings of its config. Each is put on the first of a few
plain runs that it gets on with: three losses, without labels and with them (label_concat). "Arithmetic" is by how much
the multiplications and additions of a step in convolutions and matrix products grow, as torch's counter sees them: what
a ratio above it is made of is memory, elementwise work and the host's.

    OMP_NUM_THREADS=2 python scripts/bench/tricks.py --rounds 5
    python scripts/bench/tricks.py trick.ema regularizer.gp batch_size=128 model.d_width=256
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Collection
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gantrick import bench, compose, machine, registry
from gantrick.gan import preflight, resolve_device
from gantrick.types import ConfigError

RUN = ["dataset=cifar10", "model=sngan_resnet", "model.g_width=64", "model.d_width=64", "batch_size=64", "log_every=1"]
BASES = [(loss, partner) for partner in ((), ("label_concat",)) for loss in ("hinge", "non_saturating", "wgan")]
Base = tuple[str, tuple[str, ...]]


def recipe(base: Base, words: Collection[str], group: str = "trick", name: str = "") -> Any:
    loss, partners = base
    tricks = [*partners, *([name] if group == "trick" and name else [])]
    more = [f"{group}=[{name}]"] if group != "trick" else []
    return bench.made_up(compose([*words, f"loss={loss}", f"trick=[{','.join(tricks)}]", *more]))


class Counter(TorchDispatchMode):
    """Adds up the floating-point operations of convolutions and matrix products, also those of derivatives."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def arithmetic(running: bench.Running) -> int:
    """Floating-point operations of a step."""
    with Counter() as counter:
        running.advance()
    return counter.total


def started(made: Any, device: torch.device) -> tuple[bench.Running, int]:
    """A run that has made two steps, and the bytes that it took at the most."""
    gc.collect()
    machine.reset_peak_memory(device)
    before = machine.peak_memory(device)
    running = bench.Running(made)
    running.advance(2)
    return running, machine.peak_memory(device) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("component", nargs="*", help="as trick.ema (default: all), and settings of the run, key=value")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="of each in a round")
    arguments = parser.parse_args()
    named = [name for name in arguments.component if "=" not in name]
    words = {word.partition("=")[0]: word for word in (*RUN, *arguments.component) if "=" in word}.values()
    found = [f"{group}.{name}" for group in ("regularizer", "trick") for name in registry.names(group)]
    device = resolve_device(recipe(BASES[0], words).settings.device)
    print(f"{bench.describe(device)}; {' '.join(words)}; {arguments.rounds} rounds of {arguments.steps}\n")
    print(
        "| with | on | ms a step without | with | times as long | range | arithmetic | memory, MiB |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    started(recipe(BASES[0], words), device)  # what is allocated once for all
    plain: dict[Base, tuple[bench.Running, int, int]] = {}
    for label in found:
        if named and label not in named:
            continue
        group, _, name = label.partition(".")
        refused = ""
        for on in BASES:
            try:
                made = recipe(on, words, group, name)
                preflight(made)
                break
            except ConfigError as error:
                refused = refused or error.faults[0]
        else:
            print(f"| {label} | refused: {refused} | | | | | | |")
            continue
        if on not in plain:
            running, its_bytes = started(recipe(on, words), device)
            plain[on] = running, its_bytes, arithmetic(running)
        (base, base_bytes, base_flops), (running, its_bytes) = plain[on], started(made, device)
        contestants = {
            "without": lambda base=base: base.advance(arguments.steps),
            "with": lambda running=running: running.advance(arguments.steps),
        }
        seconds = bench.alternate(contestants, arguments.rounds)
        ratios = [b / a for a, b in zip(seconds["without"], seconds["with"], strict=True)]
        without, with_it = (1e3 * statistics.median(seconds[key]) for key in ("without", "with"))
        more, all_of_it = (its_bytes - base_bytes) / 2**20, base_bytes / 2**20
        print(
            f"| {label} | {', '.join([on[0], *on[1]])} | {without:.0f} | {with_it:.0f} | "
            f"{statistics.median(ratios):.2f} | {min(ratios):.2f}–{max(ratios):.2f} | "
            f"{arithmetic(running) / base_flops:.2f} | "
            f"{more:+.0f} of {all_of_it:.0f} |",
            flush=True,
        )
        del running


if __name__ == "__main__":
    main()
