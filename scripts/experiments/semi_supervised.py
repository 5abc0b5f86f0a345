#!/usr/bin/env python
"""What are images without labels worth? A semi-supervised GAN against the same network on the labelled images alone.

Both are runs of experiment=semi_supervised_mnist (or of another), with the same labelled images, steps and seeds; the
second has no weight on anything but the cross entropy of labelled images. The error on the test split at the end of
training, as mean ± 95% interval over seeds, and the paired difference. Each seed has labelled images of its own.

    python scripts/experiments/semi_supervised.py --seeds 3
    python scripts/experiments/semi_supervised.py --experiment semi_supervised_cifar10 --steps 100000 --labels 400
    python scripts/experiments/semi_supervised.py --seeds 1 --steps 200 model.d_width=[100,50] dataset=digits
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import gantrick
from gantrick.analysis.compare import Estimate
from gantrick.tracking.console import Console
from gantrick.trainer import run

ARMS = {
    "labelled images alone": ["loss.unlabelled_weight=0", "regularizer.ct.weight=0"],
    "semi-supervised": [],
}
ERROR = "classification_error/test"


def last_errors(folder: Path) -> dict[str, float]:
    """The figures of the last evaluation of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    row = [row for row in rows if ERROR in row][-1]
    return {key: value for key, value in row.items() if key.startswith(ERROR)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="semi_supervised_mnist")
    parser.add_argument("--labels", type=int, default=10, help="labelled images of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument(
        "--decay", type=float, default=0.99, help="of the averaged weights; the papers' is for long runs"
    )
    parser.add_argument("more", nargs="*", help="further overrides of both arms")
    asked = parser.parse_args()
    common = [
        f"experiment={asked.experiment}",
        f"loss.labels_per_class={asked.labels}",
        f"trick.ema.decay={asked.decay}",
        f"steps={asked.steps}",
        "eval_every=0",
        "sample_every=0",
        "checkpoint_every=0",
        "wandb.mode=disabled",
        *asked.more,
    ]
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(asked.seeds):
            for number, (arm, own) in enumerate(ARMS.items()):
                started, folder = time.monotonic(), Path(scratch) / f"{seed}-{number}"
                recipe = gantrick.compose([*common, *own, f"seed={seed}", f"loss.labels_seed={seed}"])
                run(recipe, folder, console=Console(quiet=True))
                found[arm].append(last_errors(folder))
                took = time.monotonic() - started
                print(f"# seed {seed}, {arm}: {found[arm][-1]} ({took:.0f} s)", flush=True)
    print(f"\n{' '.join(common)}, {asked.seeds} seeds\n")
    names = {ERROR: "averaged weights, error %", f"{ERROR}_raw": "last weights, error %"}
    print(f"| trained on | {' | '.join(names.values())} |\n|---|---|---|")
    for arm, rows in found.items():
        print(f"| {arm} | {' | '.join(str(Estimate.of([row[name] for row in rows])) for name in names)} |")
    before, after = found.values()
    apart = {name: [b[name] - a[name] for a, b in zip(before, after, strict=True)] for name in names}
    print(f"| paired difference | {' | '.join(str(Estimate.of(values)) for values in apart.values())} |")


if __name__ == "__main__":
    main()
