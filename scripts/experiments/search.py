#!/usr/bin/env python
"""Is a search by Optuna worth it? TPE against random search on eight Gaussians in a ring, at the same number of runs.

    python scripts/experiments/search.py --trials 25 --seeds 5        # pip install "gantrick[sweep]"

Both search the keys of configs/hparams_search/optuna_tpe.yaml: two learning rates, betas, turns of D. The figure is
modes/score, 0 to 9: modes covered, and the share of samples that lie in one. The table has the best so far after so
many runs: the mean over searches ± its 95% interval (Student's t), and the difference, paired by the search's seed. The
first ten settings of a seed are the same random ones by both. A search that was stopped goes on where it was; --table
prints what is there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gantrick.analysis.compare import Estimate, read

FIGURE, SAMPLERS = "modes/score", ("random", "tpe")
SMALL = [
    "dataset=ring", "dataset.samples=10000", "batch_size=64", "model.g_width=64", "model.d_width=64", "device=cpu",
    "log_every=100", "eval_every=100", "eval_samples=1000", "sample_every=0", "checkpoint_every=0",
    "wandb.mode=disabled",
]  # fmt: skip


def search(folder: Path, sampler: str, seed: int, steps: int, trials: int) -> None:
    """One search, in a process of its own."""
    command = [sys.executable, "-m", "gantrick", "train"]
    if (folder / "sweep.json").exists():
        command += [f"resume={folder}"]
    else:
        command += ["-m", f"hparams_search=optuna_{sampler}", *SMALL, f"steps={steps}", f"seed={seed}"]
        command += [
            f"hydra.sweeper.n_trials={trials}",
            f"hydra.sweeper.sampler.seed={seed}",
            f"hydra.sweep.dir={folder}",
        ]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
            print(f"# {folder.name}: not every run finished, see {folder / 'log.txt'}", flush=True)


def best_so_far(folder: Path) -> list[float]:
    """After each run, in their order; a run without a figure is the worst there is."""
    found: list[float] = []
    for run in read([folder]):
        value = next((v for figure, v in run.best.items() if figure.name == FIGURE), 0.0)
        found.append(max(value, *found[-1:]) if found else value)
    return found


def table(folder: Path, seeds: int, trials: int) -> str:
    curves = {s: {seed: best_so_far(folder / f"{s}-{seed}") for seed in range(seeds)} for s in SAMPLERS}
    lines = ["| runs | " + " | ".join(SAMPLERS) + " | tpe − random, paired | searches |", "|---|---|---|---|---|"]
    for count in sorted({1, 5, 10, *range(10, trials + 1, 5), trials} & set(range(1, trials + 1))):
        at = {s: {k: v[count - 1] for k, v in found.items() if len(v) >= count} for s, found in curves.items()}
        both = at["tpe"].keys() & at["random"].keys()
        cells = [str(Estimate.of(list(at[s].values())) or "–") for s in SAMPLERS]
        cells.append(str(Estimate.of([at["tpe"][k] - at["random"][k] for k in sorted(both)]) or "–"))
        lines.append(f"| {count} | {' | '.join(cells)} | {len(both)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/search"))
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=5, help="searches by each sampler")
    parser.add_argument("--steps", type=int, default=200, help="of each run")
    parser.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    parser.add_argument("--table", action="store_true", help="only the table of the runs that are there")
    asked = parser.parse_args()
    folder, started = asked.runs_dir.absolute(), time.monotonic()
    if not asked.table:
        with ThreadPoolExecutor(asked.jobs) as pool:
            for seed in range(asked.seeds):
                for sampler in SAMPLERS:
                    pool.submit(search, folder / f"{sampler}-{seed}", sampler, seed, asked.steps, asked.trials)
    print(f"{table(folder, asked.seeds, asked.trials)}\n\n# {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
