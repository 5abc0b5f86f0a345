#!/usr/bin/env python
"""Is one GAN of the whole budget better than a mixture of several that share it? Twenty-five Gaussians in a grid.

Four ways to spend the same steps, each with several seeds; what is drawn from each is judged by the metric `modes`, and
the means over seeds are told with 95 % intervals, and their paired differences from the one GAN:

    one GAN      all steps in one run, its last checkpoint
    AdaGAN       `--components` runs of an even part of the steps, each on what those before it lack
    seeds        as many runs of the same length, each on all data from a seed of its own; even shares
    checkpoints  the last `--components` of twice as many checkpoints of the one GAN; even shares

With `--whole` every part is as long as the one GAN, as in AdaGAN's paper, and AdaGAN and the seeds take `--components`
times its steps.

AdaGAN's classifiers move a discriminator more: their moves are told in a column. What is done is kept in the folder, so
that a command that was stopped goes on.

    python scripts/experiments/mixtures.py --seeds 9
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from gantrick import assess, config, trainer
from gantrick.adagan import AdaGAN, Settings
from gantrick.analysis.compare import Estimate
from gantrick.recipe import Recipe
from gantrick.tracking.console import Console
from gantrick.tracking.folder import RunFolder

FIGURES = {"covered": "modes of 25", "high_quality": "high quality", "kl": "KL from even"}
QUIET = Console(quiet=True)


def recipe(asked: argparse.Namespace, seed: int, steps: int, *more: str) -> Recipe:
    words = [
        "dataset=grid",
        f"dataset.samples={asked.data}",
        f"dataset.std={asked.std}",
        f"steps={steps}",
        f"seed={seed}",
    ]
    words += [f"model.g_width={asked.width}", f"model.d_width={asked.width}", f"batch_size={asked.batch}"]
    words += [f"optimizer.lr={asked.lr}", "metric=[]", "sample_every=0", "eval_every=0", "wandb.mode=disabled"]
    return config.compose([*words, f"checkpoint_every={steps}", *more, *asked.overrides])


def train(made: Recipe, folder: Path) -> None:
    if RunFolder(folder).state() != "finished":
        trainer.run(made, folder, console=QUIET, resume=(folder / "config.yaml").is_file())


def part_steps(asked: argparse.Namespace) -> int:
    return asked.steps if asked.whole else asked.steps // asked.components


def one_gan(asked: argparse.Namespace, seed: int, home: Path) -> list[str]:
    every = asked.steps // (2 * asked.components)
    train(recipe(asked, seed, asked.steps, f"keep_every={every}", f"keep_limit={asked.components}"), home / "one")
    return [str(home / "one"), "checkpoint=last"]


def adagan(asked: argparse.Namespace, seed: int, home: Path) -> list[str]:
    settings = Settings(components=asked.components, classifier_epochs=asked.classifier_epochs)
    part = recipe(asked, seed, part_steps(asked))
    AdaGAN(home / "adagan", part, settings, QUIET).run()
    return [str(home / "adagan")]


def seeds(asked: argparse.Namespace, seed: int, home: Path) -> list[str]:
    runs = [home / f"seed-{k}" for k in range(asked.components)]
    for k, run in enumerate(runs):
        train(recipe(asked, 1000 * (k + 1) + seed, part_steps(asked)), run)
    return [*map(str, runs), "checkpoint=last", "mixture=uniform"]


def checkpoints(asked: argparse.Namespace, seed: int, home: Path) -> list[str]:
    return [one_gan(asked, seed, home)[0], "checkpoint=all", "mixture=uniform"]


WAYS: dict[str, Callable[[argparse.Namespace, int, Path], list[str]]] = {
    "one GAN": one_gan,
    "AdaGAN": adagan,
    "seeds": seeds,
    "checkpoints": checkpoints,
}


def measured(way: str, asked: argparse.Namespace, seed: int) -> dict[str, float]:
    home = asked.folder / str(seed)
    home.mkdir(parents=True, exist_ok=True)
    kept = home / f"{way.replace(' ', '-')}.json"
    if kept.is_file():
        found: dict[str, float] = json.loads(kept.read_text())
        return found
    started = time.process_time()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # what each run would tell
        words = [*WAYS[way](asked, seed, home), "metric=[modes]", f"metric.modes.samples={asked.samples}", "seed=0"]
    spent = time.process_time() - started
    [judged] = assess.Assessor(assess.request(words))
    found = {name: judged.taken.figures[f"modes/{name}"] for name in FIGURES} | {"seconds": spent}
    log = home / "adagan" / "adagan.jsonl"
    if way == "AdaGAN":
        found["classifier"] = sum(json.loads(line)["classifier_steps"] for line in log.read_text().splitlines())
    kept.write_text(json.dumps(found))
    print(f"# seed {seed}, {way}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4000, help="of the one GAN, and of each way in all")
    parser.add_argument("--whole", action="store_true", help="every part is as long as the one GAN")
    parser.add_argument("--components", type=int, default=4)
    parser.add_argument("--classifier-epochs", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--data", type=int, default=10_000, help="points")
    parser.add_argument("--std", type=float, default=0.2, help="of each mode; they are 2 apart")
    parser.add_argument("--samples", type=int, default=2500, help="drawn to be judged")
    parser.add_argument("--folder", type=Path, default=Path("runs/mixtures"))
    parser.add_argument("overrides", nargs="*", help="further words of gantrick train, as in trick=[pacgan]")
    asked = parser.parse_args()
    found = {way: [measured(way, asked, seed) for seed in range(asked.seeds)] for way in WAYS}

    budget = f"{asked.components} parts of {part_steps(asked)} steps of {asked.batch}, one GAN of {asked.steps}"
    print(f"\ngrid of σ {asked.std}, {budget}, {asked.seeds} seeds\n")
    print(f"| way | {' | '.join(FIGURES.values())} | classifier's moves | seconds of one core |")
    print("|---|" + "---|" * (len(FIGURES) + 2))
    for way, rows in found.items():
        cells = [str(Estimate.of([row[name] for row in rows])) for name in FIGURES]
        seconds = sum(row["seconds"] for row in rows) / len(rows)
        own = "those of one GAN" if way == "checkpoints" else f"{seconds:.0f}"
        print(f"| {way} | {' | '.join(cells)} | {rows[0].get('classifier', 0):.0f} | {own} |")
    for way, rows in list(found.items())[1:]:
        pairs = [zip(rows, found["one GAN"], strict=True) for _ in FIGURES]
        cells = [str(Estimate.of([a[n] - b[n] for a, b in pair])) for n, pair in zip(FIGURES, pairs, strict=True)]
        print(f"| {way} − one GAN | {' | '.join(cells)} | | |")


if __name__ == "__main__":
    main()
