"""What differences paired by seed say: intervals, levels for several at once, and what n seeds can show.

How a family of comparisons is judged:

- Of m comparisons each has a p value, that of the paired t test. Holm's procedure takes them from the smallest on and
  holds the i-th against alpha / (m - i + 1), until one fails. So the probability of calling any difference real that is
  none is at most alpha, whatever their dependence (arms share the runs of their reference).
- A comparison's interval is the t interval at the level at which it was held: its own where it was called real, that of
  the first failure for all others. It excludes 0 exactly where Holm's procedure calls the difference real.
- These levels guard against false alarms. That all intervals at once cover the true sizes is promised only where every
  one has the level alpha / m (Bonferroni): the interval `simultaneous`.
- A run that was lost (failed, diverged, collapsed) is never left out: the difference of its pair is infinite, and nan
  where both were lost. Then there is no mean and no interval, and the p value is that of the signed ranks, in which an
  infinite difference has the largest rank and nan counts as 0: exact under sign flips, whatever the distribution. It is
  also taken where all differences are one number, as counts may be: a t interval of no width would claim to know it.
- Signed ranks of n pairs have no p value below 2^(1 - n). Five pairs cannot reach 0.05; the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, special, stats

POWER = 0.8
ENOUGH = 10_000  # seeds; nobody runs more
EXACT = 14  # pairs up to which all 2^n sign flips are taken
RESAMPLES = 9_999  # sign flips of more pairs than that


@dataclass(frozen=True)
class Interval:
    """From low to high, at the level `alpha`: the share of such intervals that miss the truth."""

    low: float
    high: float
    alpha: float


@dataclass(frozen=True)
class Finding:
    """What the paired differences of one comparison say within their family.

    differences: by seed, infinite where one run of a pair was lost, nan where both were. lost: how many of these. mean,
    sd, interval, simultaneous, flips: None where pairs lost runs, or where there are fewer than two. p: that of `test`.
    level: that p is held against. real: whether the difference is called real; sign: then its direction.
    """

    differences: tuple[float, ...]
    lost: int
    mean: float | None
    sd: float | None
    p: float
    test: Literal["t", "signed ranks", "none"]
    level: float
    real: bool
    sign: int
    interval: Interval | None = None
    simultaneous: Interval | None = None
    flips: float | None = None

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that as many seeds call real with probability 0.8 at this level."""
        return None if self.sd is None else detectable(self.sd, self.n, self.level)

    def needed(self, effect: float) -> int | None:
        """The seeds that would show a difference of this size, with probability 0.8 at this level; None: not known."""
        return None if self.sd is None else needed(effect, self.sd, self.level)


def judge(family: Mapping[str, Sequence[float]], alpha: float = 0.05, flips: bool = True) -> dict[str, Finding]:
    """The findings of a family of comparisons by name, from differences paired by seed.

    flips: whether to take the sign-flip test too. Comparisons of fewer than two pairs stay in the family, with p = 1.
    """
    tests = {name: _test(np.asarray(differences, float)) for name, differences in family.items()}
    held = holm({name: p for name, (p, _) in tests.items()}, alpha)
    found = {}
    for name, differences in family.items():
        d, (p, test), (level, real) = np.asarray(differences, float), tests[name], held[name]
        whole = len(d) > 1 and bool(np.isfinite(d).all())
        mean, sd = (float(d.mean()), float(d.std(ddof=1))) if whole else (None, None)
        found[name] = Finding(
            tuple(d.tolist()),
            int((~np.isfinite(d)).sum()),
            mean,
            sd,
            p,
            test,
            level,
            real,
            _direction(d) if real else 0,
            interval(d, level) if test == "t" else None,
            interval(d, alpha / len(family)) if test == "t" else None,
            sign_flips(d) if whole and flips else None,
        )
    return found


def _test(d: np.ndarray[Any, Any]) -> tuple[float, Literal["t", "signed ranks", "none"]]:
    if len(d) < 2:
        return 1.0, "none"
    if not np.isfinite(d).all() or np.ptp(d) <= 1e-12 * np.abs(d).max():  # lost runs, or no spread at all
        return signed_ranks(d), "signed ranks"
    t = d.mean() * math.sqrt(len(d)) / d.std(ddof=1)
    return float(2 * special.stdtr(len(d) - 1, -abs(t))), "t"


def _direction(d: np.ndarray[Any, Any]) -> int:
    return int(np.sign(d.mean() if np.isfinite(d).all() else _signed(d).sum()))


def interval(differences: Sequence[float] | np.ndarray[Any, Any], alpha: float) -> Interval:
    """mean ± t(1 - alpha/2; n - 1) · s / √n, Student's interval of the mean of paired differences."""
    d = np.asarray(differences, float)
    half = -special.stdtrit(len(d) - 1, alpha / 2) * d.std(ddof=1) / math.sqrt(len(d))
    return Interval(float(d.mean() - half), float(d.mean() + half), alpha)


def holm(p_values: Mapping[str, float], alpha: float) -> dict[str, tuple[float, bool]]:
    """Of each p value the level that it is held against, and whether it is at most that (Holm, 1979).

    The i-th smallest of m is held against alpha / (m - i + 1); the first that is above ends it, and its level is that
    of all the rest.
    """
    found: dict[str, tuple[float, bool]] = {}
    going, level = True, alpha
    for i, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if going:
            level = alpha / (len(p_values) - i)
            going = p_values[name] <= level
        found[name] = (level, going)
    return found


def sign_flips(differences: Sequence[float] | np.ndarray[Any, Any]) -> float:
    """The share of sign patterns whose mean is at least as far from 0: of all 2^n up to 14 pairs, else of 9,999."""

    def total(values: np.ndarray[Any, Any], axis: int = -1) -> Any:
        return values.sum(axis)

    exact = len(differences) <= EXACT
    found = stats.permutation_test(
        (np.asarray(differences, float),),
        total,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT if exact else RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def signed_ranks(differences: Sequence[float] | np.ndarray[Any, Any]) -> float:
    """Wilcoxon's signed ranks under sign flips: ties share their mean rank, zeros have a rank and no sign (Pratt).

    Infinite differences have the largest ranks; nan counts as 0.
    """
    return sign_flips(_signed(np.asarray(differences, float)))


def _signed(d: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    d = np.where(np.isnan(d), 0.0, d)
    signed: np.ndarray[Any, Any] = np.sign(d) * stats.rankdata(np.abs(d))
    return signed


# --- what n seeds can show -------------------------------------------------------------------------------------------


def power(effect: float, sd: float, n: int, alpha: float) -> float:
    """The probability that the two-sided paired t test of n pairs at level alpha calls a true difference `effect` real.

    P(|T| > t(1 - alpha/2; n - 1)), T noncentral with n - 1 degrees and noncentrality effect · √n / sd.
    """
    critical, centre = stats.t.isf(alpha / 2, n - 1), abs(effect) * math.sqrt(n) / sd
    near = float(stats.nct.sf(critical, n - 1, centre))
    far = float(stats.nct.cdf(-critical, n - 1, centre))
    return near + (far if math.isfinite(far) else 0.0)  # where it underflows scipy may give nan


def detectable(sd: float, n: int, alpha: float, wanted: float = POWER) -> float:
    """The smallest true difference that n pairs call real with probability `wanted`; 0 where sd is."""
    if sd == 0:
        return 0.0
    high = 1.0
    while power(high, 1.0, n, alpha) < wanted:
        high *= 2
    return sd * float(optimize.brentq(lambda effect: power(effect, 1.0, n, alpha) - wanted, 0.0, high, xtol=1e-6))


def needed(effect: float, sd: float, alpha: float, wanted: float = POWER) -> int | None:
    """The smallest number of pairs that calls a true difference real with probability `wanted`; None above 10,000."""
    if sd == 0:
        return 2
    if effect == 0 or power(effect, sd, ENOUGH, alpha) < wanted:
        return None
    low, high = 1, 2
    while power(effect, sd, high, alpha) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, sd, middle, alpha) >= wanted else (middle, high)
    return high


def pairs_for_ranks(alpha: float) -> int:
    """The fewest pairs whose signed ranks can reach a level: 2^(1 - n) at most alpha."""
    return math.ceil(1 - math.log2(alpha))


def round_below(value: float) -> float:
    """The largest of …, 0.1, 0.2, 0.5, 1, 2, 5, … that is at most a value above 0."""
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{max(step for step in (1, 2, 5) if step * unit <= value * (1 + 1e-9)) * unit:.1g}")
