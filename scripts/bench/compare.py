#!/usr/bin/env python3
"""Time, peak memory and size of the page that `gantrick compare --html` writes, on synthetic run folders.

By default 200 folders of 10,000 rows: 40 groups of 5 seeds, 13 keys a row as a run of the hinge loss writes them, a
figure every 100 rows, 11 sample grids each. The command runs in a process of its own; its peak memory is that of the
process and, in sum, of the processes it starts (where /proc tells). The folders are written to a temporary place, or
to --folder, where they are found again.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

KEYS = (
    "loss/d_real", "loss/d_fake", "loss/d", "score/real", "score/fake", "accuracy/d", "grad_norm/d", "loss/g_fake",
    "loss/g", "grad_norm/g", "lr/d", "lr/g", "images_per_second",
)  # fmt: skip
FID = "fid/digits_cnn"
LOSSES = ("hinge", "non_saturating", "wgan", "lsgan")
TRICKS = ((), ("ema",), ("cascading",), ("cascading", "ema"), ("instance_noise",))
RATES = (0.0001, 0.0002)


def write(folder: Path, runs: int, rows: int, seeds: int, grids: int) -> None:
    """Run folders 0, 1, … of a sweep: losses × tricks × rates in turn, so many seeds of each."""
    for number in range(runs):
        group, seed = divmod(number, seeds)
        loss, trick = LOSSES[group % len(LOSSES)], TRICKS[group // len(LOSSES) % len(TRICKS)]
        rate = RATES[group // len(LOSSES) // len(TRICKS) % len(RATES)]
        one(
            folder / str(number),
            seed,
            loss,
            trick,
            rate,
            rows,
            grids,
            state="failed" if number % 37 == 36 else "finished",
        )


def one(
    folder: Path,
    seed: int,
    loss: str,
    trick: tuple[str, ...],
    rate: float,
    rows: int,
    grids: int,
    state: str = "finished",
) -> None:
    """A run folder: losses as random walks with noise, a figure that falls, grids of coloured noise that clears."""
    stream = np.random.default_rng([seed, len(loss), len(trick), int(rate * 1e6)])
    folder.mkdir(parents=True)
    config = {
        "steps": rows * 10, "batch_size": 64, "seed": seed, "model": {"name": "dcgan", "z_size": 100},
        "loss": {"name": loss}, "regularizer": {}, "trick": {name: {"name": name} for name in trick},
        "metric": {"fid": {"name": "fid", "samples": 10000}}, "optimizer": {"name": "adam", "lr": rate},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    done = rows if state == "finished" else rows * 2 // 3
    status = {"state": state, "step": done * 10, "reason": None if state == "finished" else "loss/d is not finite"}
    (folder / "status.json").write_text(json.dumps(status))
    walk = stream.normal(size=(done, len(KEYS))).cumsum(0) / rows**0.5 + stream.normal(size=(done, len(KEYS))) * 0.3
    clock = np.cumsum(stream.uniform(0.25, 0.35, done))
    floor = 20.0 + 5 * len(trick) + stream.normal()
    fid = floor + 150 * np.exp(-np.arange(done // 100 + 1) / 15) + stream.normal(size=done // 100 + 1)
    with open(folder / "metrics.jsonl", "w") as file:
        for n, values in enumerate(walk.tolist()):
            start = {"step": n * 10, "images": n * 640, "seconds": round(float(clock[n]), 3)}
            file.write(json.dumps({**start, **dict(zip(KEYS, values, strict=True))}) + "\n")
            if n % 100 == 0:
                file.write(json.dumps({**start, FID: float(fid[n // 100])}) + "\n")
    best = int(fid.argmin())
    report = {
        which: {"step": at * 1000, "figures": {FID: float(fid[at])}, "protocol": {FID: {"fingerprint": "cbeeada79063"}}}
        for which, at in (("best", best), ("last", len(fid) - 1))
    }
    (folder / "evaluation.json").write_text(json.dumps(report))
    (folder / "samples").mkdir()
    shapes = np.kron(stream.integers(0, 256, (8, 8, 3)), np.ones((58, 58, 1)))
    for n in range(grids):
        share = n / max(1, grids - 1)
        noise = np.kron(stream.integers(0, 256, (116, 116, 3)), np.ones((4, 4, 1)))
        picture = Image.fromarray((share * shapes + (1 - share) * noise).astype(np.uint8))
        picture.save(folder / "samples" / f"{n * rows * 10 // max(1, grids - 1):07d}.png")


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children, now; pages they share are counted in each."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += resident(int(child))
    except (OSError, ValueError):  # it has ended, or this system has no /proc
        pass
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--grids", type=int, default=11)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the run folders are, or are to be written and kept")
    parser.add_argument("--out", type=Path, help="where the page goes (default: nowhere that stays)")
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        folder = asked.folder or scratch / "sweep"
        if not folder.exists():
            write(folder, asked.runs, asked.rows, asked.seeds, asked.grids)
        out = asked.out or scratch / "page.html"
        size = sum(file.stat().st_size for file in folder.glob("*/metrics.jsonl"))
        print(f"{asked.runs} runs of {asked.rows:,} rows, {size / 1e6:,.0f} MB of metrics.jsonl")
        for _ in range(asked.repeat):
            start, peak, before = time.perf_counter(), 0, resource.getrusage(resource.RUSAGE_CHILDREN)
            words = [sys.executable, "-m", "gantrick", "compare", str(folder), "--html", str(out)]
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            while process.poll() is None:
                peak = max(peak, resident(process.pid))
                time.sleep(0.02)
            taken = time.perf_counter() - start
            if process.returncode:
                sys.exit(process.returncode)
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime
            page = out.stat().st_size / 1e6
            print(
                f"{taken:.1f} s ({cpu:.1f} s of CPU), peak memory {peak / 1e6:,.0f} MB, page {page:.2f} MB", flush=True
            )
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
