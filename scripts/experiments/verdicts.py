#!/usr/bin/env python
"""Are the verdicts of `gantrick ablate` what they claim? Simulated ablations whose true effects are known.

Each has m parts added to one bare base, n seeds each. A figure is the true mean of its arm, plus what its seed gives to
all arms, plus noise of its own: normal, or Student's t with 3 degrees of freedom (heavy tails) of the same variance.
Half of the parts do nothing, the others help by 1, 2 and so on standard deviations of the paired differences. What the
judge of the command makes of them is counted, for n seeds:

- coverage: how often an interval holds the true effect: the 95% interval of one comparison alone, the one at Holm's
  level, each and all of a study at once, and all of a study at the Bonferroni level;
- false alarms: studies with a verdict on a part that does nothing, or in the wrong direction;
- power: how often a part is found that helps by so many standard deviations.

With --lost a share of the runs is lost whatever their arm, so that ranks decide.

    python scripts/experiments/verdicts.py > docs/results/verdicts.md
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from gantrick.analysis.statistics import interval, judge


def noise(kind: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Of variance 1/2, so that a difference of two has variance 1."""
    values = generator.normal(size=shape) if kind == "normal" else generator.standard_t(3, shape) / math.sqrt(3)
    return values / math.sqrt(2)


def simulate(kind: str, n: int, truth: list[float], asked: argparse.Namespace, lost: float) -> dict[str, object]:
    """Shares of studies and of comparisons; see above."""
    generator = np.random.default_rng([asked.seed, n, kind == "normal", round(1000 * lost)])
    alone, held, found, at_once, safe, alarms = [], [], [], [], [], 0
    for _ in range(asked.studies):
        seeds = generator.normal(size=n)
        figures = seeds + noise(kind, (len(truth) + 1, n), generator)
        gone = generator.random((len(truth) + 1, n)) < lost
        figures[1:] -= np.array(truth)[:, None]
        figures[gone] = math.inf
        with np.errstate(invalid="ignore"):  # of two lost runs
            differences = figures[1:] - figures[0]
        findings = judge({str(k): d for k, d in enumerate(differences)}, asked.alpha, flips=False)
        told = [findings[str(k)] for k in range(len(truth))]
        alarms += any(f.real and (effect == 0 or f.sign > 0) for f, effect in zip(told, truth, strict=True))
        found.append([f.real and f.sign < 0 for f in told])
        if not lost:
            single = [interval(d, asked.alpha) for d in differences]
            alone.append([i.low <= -e <= i.high for i, e in zip(single, truth, strict=True)])
            held.append([f.interval.low <= -e <= f.interval.high for f, e in zip(told, truth, strict=True)])
            at_once.append(all(held[-1]))
            safe.append(all(f.simultaneous.low <= -e <= f.simultaneous.high for f, e in zip(told, truth, strict=True)))
    power = np.mean(found, 0)
    return {
        "alone": np.mean(alone) if alone else None,
        "held": np.mean(held) if held else None,
        "at once": np.mean(at_once) if at_once else None,
        "safe": np.mean(safe) if safe else None,
        "alarms": alarms / asked.studies,
        "power": {effect: power[k] for k, effect in enumerate(truth) if effect},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--parts", type=int, default=6)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--lost", type=float, default=0.1, help="the share of lost runs, of the second table")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    helping = asked.parts - asked.parts // 2
    truths = {"half of them help": [0.0] * (asked.parts // 2) + [float(k + 1) for k in range(helping)]}
    truths["none helps"] = [0.0] * asked.parts
    error = 100 * math.sqrt(asked.alpha * (1 - asked.alpha) / asked.studies)
    print(f"# Verdicts of ablations whose truth is known\n\n{(__doc__ or '').strip().partition(chr(10))[0]}")
    given = " ".join(f"--{key} {value}" for key, value in vars(asked).items())
    print(f"\n`python scripts/experiments/verdicts.py {given}`")
    print(f"\n{asked.studies:,} studies a row, {asked.parts} parts, shares in %.", end=" ")
    print(f"The standard error of a share near {100 * asked.alpha:g} or {100 - 100 * asked.alpha:g} is {error:.1f}.\n")
    effects = [f"power {k + 1} sd" for k in range(helping)]
    columns = ["noise", "seeds", "truth", "alone", "Holm, each", "Holm, all at once", "Bonferroni, all at once"]
    columns.append("false alarms")
    for lost in (0.0, asked.lost):
        print(f"## {'Every run finishes' if not lost else f'{lost:.0%} of the runs are lost'}\n")
        shown = [c for c in columns if not lost or c in ("noise", "seeds", "truth", "false alarms")] + effects
        print("| " + " | ".join(shown) + " |\n|" + "---|" * len(shown))
        for kind in ("normal", "t, 3 df") if not lost else ("normal",):  # ranks do not know the noise
            for n in (3, 5, 10) if not lost else (5, 10):
                for name, truth in truths.items():
                    told = simulate(kind, n, truth, asked, lost)
                    cells = [kind, str(n), name]
                    keys = ("alarms",) if lost else ("alone", "held", "at once", "safe", "alarms")
                    cells += [f"{100 * told[key]:.1f}" for key in keys]
                    powers = told["power"]
                    cells += [f"{100 * powers[k + 1.0]:.1f}" if powers else "" for k in range(helping)]
                    print("| " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
