#!/usr/bin/env python
"""The game min_x max_y x·y, whose only equilibrium is 0: who gets there, and who circles or leaves?

    python scripts/experiments/bilinear.py --steps 2000 --seeds 9

The update rules and wrapped optimizers are the components that train GANs. Distances are to the equilibrium, as
multiples of that of the start: the median of the seeds (their range); the last column has noise on every gradient.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from bilinear import Bilinear  # the game, which the tests play too

from gantrick.trick.extragradient import Extragradient
from gantrick.trick.lookahead import Lookahead
from gantrick.trick.optimistic_adam import OptimisticAdam

SGD, ADAM = (torch.optim.SGD, {"lr": 0.1}), (torch.optim.Adam, {"lr": 0.01, "betas": (0.0, 0.9)})


def play(optimizer: tuple, trick: str, steps: int, seed: int, noise: float) -> float:
    kind, options = optimizer
    wrap = OptimisticAdam().wrap_optimizer if trick == "optimistic_adam" else None
    game = Bilinear(kind, wrap, seed=seed, noise=noise, **options)
    start = game.distance
    ahead, players = Lookahead(every=5, alpha=0.5), [nn.ParameterList([w]) for w in game.weights.values()]
    ahead.begin(*players)
    turn: Callable[[], object] = game.both_at_once
    if trick == "alternating":

        def turn() -> None:
            game.turn("discriminator")
            game.turn("generator")

    elif trick.startswith("extragradient"):
        rule = Extragradient(from_past=trick.endswith("past"))
        rule.begin(*(nn.ParameterDict({"w": game.weights[player]}) for player in ("generator", "discriminator")))

        def turn() -> None:
            rule.update_rule(game)  # type: ignore[arg-type]
            game.step += 1

    for _ in range(steps):
        turn()
        if trick == "lookahead":
            ahead.sync(*players)
    return game.distance / start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=9)
    asked = parser.parse_args()
    print("| how they move | gradient descent, 0.1 | Adam, 0.01, betas (0, 0.9) | descent, noise 0.1 |")
    print("|---|---|---|---|")
    for trick in (
        "simultaneous",
        "alternating",
        "extragradient",
        "extragradient from past",
        "optimistic_adam",
        "lookahead",
    ):
        cells = []
        for optimizer, noise in ((SGD, 0.0), (ADAM, 0.0), (SGD, 0.1)):
            found = [play(optimizer, trick, asked.steps, seed, noise) for seed in range(asked.seeds)]
            cells.append(f"{statistics.median(found):.2g} ({min(found):.2g}–{max(found):.2g})")
        print(f"| {trick} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
