#!/usr/bin/env python
"""Runs a study: arms, which are overrides of `gantrick train`, each with the same seeds; prints a table of figures.

    python scripts/experiments/study.py scripts/experiments/conditional_mnist.yaml --jobs 2
    python scripts/experiments/study.py scripts/experiments/*.yaml --list

A study is a YAML file: `about`, `common` overrides, `arms` {name: overrides}, `seeds`, and `figures` {name: best or
last}. The first arm is what the others are compared with, seed by seed, in the figure named first. Intervals are
Student's t at 95% over seeds, not adjusted for the number of arms. A study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from gantrick.analysis.compare import Estimate, Run, read


def train(folder: Path, overrides: list[str], seeds: list[int]) -> None:
    """One arm: a sweep over the seeds in a process of its own. Its CPU time is added to FOLDER/cpu.json."""
    command = [sys.executable, "-m", "gantrick", "train"]
    if folder.exists() and read([folder]):
        command += [f"resume={folder}"]
    else:
        command += ["-m", *overrides, f"seed={','.join(map(str, seeds))}", "wandb.mode=disabled"]
        command += [f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${seed}"]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    spent, note = 0.0, folder / "cpu.json"
    if note.exists():
        spent = json.loads(note.read_text())["seconds"]
    note.write_text(json.dumps({"seconds": spent + usage.ru_utime + usage.ru_stime}))
    if status:
        print(f"# {folder.name}: not every run finished, see {folder / 'log.txt'}", flush=True)


def value(run: Run, name: str, which: str) -> float | None:
    return next((found for figure, found in getattr(run, which).items() if figure.name == name), None)


def table(study: dict[str, Any], folder: Path) -> str:
    figures, rows = study["figures"], []
    reference: dict[str, float] = {}
    heads = ["arm", *(f"{name} ({which})" for name, which in figures.items())]
    heads += [f"difference in {next(iter(figures))}, paired", "finished", "CPU s a run"]
    for position, arm in enumerate(study["arms"]):
        runs = read([folder / arm])
        cells = [arm]
        for name, which in figures.items():
            found = [v for run in runs if (v := value(run, name, which)) is not None]
            cells.append(str(Estimate.of(found) or "–"))
        first, which = next(iter(figures.items()))
        own = {run.seed: v for run in runs if (v := value(run, first, which)) is not None}
        if position == 0:
            reference = own
            cells.append("")
        else:
            apart = [own[seed] - reference[seed] for seed in own if seed in reference]
            cells.append(str(Estimate.of(apart) or "–"))
        cells.append(f"{sum(run.state == 'finished' for run in runs)} of {len(runs)}")
        cpu = folder / arm / "cpu.json"
        cells.append(f"{json.loads(cpu.read_text())['seconds'] / max(1, len(runs)):.0f}" if cpu.exists() else "–")
        rows.append(cells)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seeds", type=int, help="so many, in place of the study's")
    parser.add_argument("--jobs", type=int, default=1, help="arms at the same time")
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--list", action="store_true", help="say what each study asks, and run nothing")
    parser.add_argument("--table", action="store_true", help="only the table of the runs that are there")
    asked = parser.parse_args()
    for path in asked.studies:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        print(f"# {path.stem}: {study['about'].strip()}", flush=True)
        if asked.list:
            continue
        folder, started = (asked.runs_dir / path.stem).absolute(), time.monotonic()
        seeds = list(range(asked.seeds or study["seeds"]))
        if not asked.table:
            with ThreadPoolExecutor(asked.jobs) as pool:
                for arm, overrides in study["arms"].items():
                    if not asked.arms or arm in asked.arms:
                        pool.submit(train, folder / arm, [*study["common"], *overrides], seeds)
        print(f"\n{table(study, folder)}\n\n# {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
