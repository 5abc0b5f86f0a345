#!/usr/bin/env python
"""`gantrick fid` against the `pytorch-fid` package, on the same images with the same weights, in turn.

Every time is of a process of its own, as glibc's heap has a history; the fastest of the rounds is what a busy machine
disturbs least. The weights are random ones in the place of Inception's: the arithmetic is the same.

features    images/s of decoding and the network, a batch before the clock starts; decoding alone; most memory at N, 4N
distance    seconds from the moments of 2048 features to the figure, at full rank and of few images
command     seconds from the shell to the figure: pytorch-fid, `gantrick fid`, and that with the reference kept

    OMP_NUM_THREADS=2 python scripts/bench/fid.py --images 512 --rounds 3
    python scripts/bench/fid.py --images 16 --rounds 1 --samples 2100      # does it run?
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NAME = "pt_inception-2015-12-05-6726825d.pth"


# --- one measurement, in a process of its own ------------------------------------------------------------------------


def theirs_features(folder: Path, device: str) -> Callable[[], object]:
    from pytorch_fid.fid_score import get_activations
    from pytorch_fid.inception import InceptionV3

    network = InceptionV3([3]).to(device)
    files = sorted(folder.iterdir())
    get_activations(files[:8], network, 8, device=device, num_workers=0)
    workers = min(os.cpu_count() or 1, 8)  # as its command line takes them
    return lambda: get_activations(files, network, min(50, len(files)), device=device, num_workers=workers)


def ours_features(folder: Path, device: str) -> Callable[[], object]:
    from gantrick.fid import Fid
    from gantrick.metric._images import images

    way = Fid(device=device, extractor="inception")
    found = images(folder)
    first = next(found.batches(8))
    way.network(first)
    return lambda: [rows.cpu() for rows in way._features(found)]


def ours_decoding(folder: Path, device: str) -> Callable[[], object]:
    from gantrick.metric._images import images

    return lambda: [None for _ in images(folder).batches(64)]


def drawn(samples: int) -> list[Any]:
    """Features of two sets: 2048 of them, with eigenvalues over six decades."""
    stream = np.random.default_rng(0)
    mixing = np.linalg.qr(stream.normal(size=(2048, 2048)))[0] * np.logspace(0, -3, 2048)
    return [stream.normal(size=(samples, 2048)) @ mixing.T + shift for shift in (0.3, 0.31)]


def theirs_distance(samples: int) -> Callable[[], object]:
    from pytorch_fid.fid_score import calculate_frechet_distance

    a, b = ((x.mean(0), np.cov(x, rowvar=False)) for x in drawn(samples))
    return lambda: float(calculate_frechet_distance(*a, *b))


def ours_distance(samples: int) -> Callable[[], object]:
    import torch

    from gantrick.metric._frechet import distance, moments

    a, b = (moments([torch.from_numpy(x)]) for x in drawn(samples))
    return lambda: distance(a, b)


def measure(part: str, given: str, device: str) -> None:
    import torch

    from gantrick import machine

    act = globals()[part](int(given)) if part.endswith("distance") else globals()[part](Path(given), device)
    machine.reset_peak_memory(torch.device("cpu"))
    start = time.perf_counter()
    found = act()
    seconds = time.perf_counter() - start
    value = found if isinstance(found, float) else None
    print(json.dumps({"seconds": seconds, "mib": machine.peak_memory(torch.device("cpu")) / 2**20, "value": value}))


# --- the measurements ------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, home: Path, rounds: int, device: str):
        self.rounds, self.device = rounds, device
        self.environment = {**os.environ, "TORCH_HOME": str(home), "GANTRICK_CACHE": str(home / "cache")}

    def parts(self, given: object, *names: str) -> dict[str, dict[str, Any]]:
        """The fastest of each, in turn."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(self.rounds):
            for name in names:
                words = [sys.executable, __file__, "--part", name, str(given), "--device", self.device]
                found[name].append(json.loads(self.run(words)[0].splitlines()[-1]))
        return {name: min(rows, key=lambda row: float(row["seconds"])) for name, rows in found.items()}

    def commands(self, **commands: list[str]) -> dict[str, tuple[float, str]]:
        """Seconds and the last line that has a figure."""
        found: dict[str, tuple[float, str]] = {}
        for _ in range(self.rounds):
            for name, words in commands.items():
                out, seconds = self.run([sys.executable, "-m", *words])
                figure = next(line for line in out.splitlines() if "FID:" in line or line.startswith("fid/"))
                found[name] = min(found.get(name, (float("inf"), "")), (seconds, figure.split(":")[1].strip()))
        return found

    def run(self, words: list[str]) -> tuple[str, float]:
        start = time.perf_counter()
        out = subprocess.run(words, capture_output=True, text=True, env=self.environment)
        if out.returncode:
            raise SystemExit(f"{' '.join(words)}\n{out.stderr}")
        return out.stdout, time.perf_counter() - start


def make(home: Path, count: int, size: int) -> dict[str, Path]:
    """Random weights where both look for Inception's, and folders of smooth noise as PNG."""
    import torch
    from PIL import Image

    from gantrick.metric import features

    (home / "hub/checkpoints").mkdir(parents=True)
    state = features.extractor("random_inception").get_submodule("net").state_dict()
    torch.save(state, home / "hub/checkpoints" / NAME)
    stream = np.random.default_rng(0)
    folders = {}
    for name, number in (("a", count), ("b", count), ("large", 4 * count)):
        folders[name] = home / name
        folders[name].mkdir()
        for place in range(number):
            coarse = Image.fromarray(stream.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(folders[name] / f"{place:06}.png")
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=32, help="of the pictures (default %(default)s)")
    parser.add_argument("--samples", type=int, default=5000, help="for the distance at full rank (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        return measure(*arguments.part, arguments.device)
    with tempfile.TemporaryDirectory() as home:
        folders = make(Path(home), arguments.images, arguments.size)
        bench = Bench(Path(home), arguments.rounds, arguments.device)

        found = bench.parts(folders["a"], "theirs_features", "ours_features", "ours_decoding")
        theirs, ours, decoding = found.values()
        print(f"features   pytorch-fid {arguments.images / theirs['seconds']:8.1f} images/s")
        print(f"           gantrick    {arguments.images / ours['seconds']:8.1f} images/s", end="")
        print(
            f"   {theirs['seconds'] / ours['seconds']:.2f}x; decoding alone {decoding['seconds'] / ours['seconds']:.1%}"
        )
        larger = bench.parts(folders["large"], "theirs_features", "ours_features")
        for name, row in (("pytorch-fid", theirs), ("gantrick", ours)):
            four = larger["theirs_features" if row is theirs else "ours_features"]
            print(f"memory     {name:<11} {row['mib']:8.0f} MiB at {arguments.images}, {four['mib']:.0f} at four times")

        for samples in (arguments.samples, 1000):
            theirs, ours = bench.parts(samples, "theirs_distance", "ours_distance").values()
            apart = abs(theirs["value"] - ours["value"]) / ours["value"]
            print(
                f"distance   of {samples}: pytorch-fid {theirs['seconds']:.2f} s, gantrick {ours['seconds']:.2f} s",
                end="",
            )
            print(f"   {theirs['seconds'] / ours['seconds']:.1f}x; they differ by {apart:.1e}")

        sets = [str(folders["a"]), str(folders["b"]), "--device", arguments.device]
        bench.run([sys.executable, "-m", "gantrick", "fid", *sets])  # the reference is kept from here on
        commands = bench.commands(
            theirs=["pytorch_fid", *sets],
            anew=["gantrick", "fid", *sets, "--no-cache"],
            kept=["gantrick", "fid", *sets],
        )
        reference = commands["theirs"][0]
        for name, words in (("theirs", "pytorch-fid"), ("anew", "gantrick"), ("kept", "gantrick, reference kept")):
            seconds, figure = commands[name]
            print(f"command    {words:<24} {seconds:7.1f} s  {reference / seconds:.2f}x  {figure}")


if __name__ == "__main__":
    main()
