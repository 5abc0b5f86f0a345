"""Against scipy, hand-worked examples, naive loops and simulation; never against the functions themselves."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from gantrick.analysis.statistics import (
    detectable,
    holm,
    interval,
    judge,
    needed,
    pairs_for_ranks,
    power,
    round_below,
    sign_flips,
    signed_ranks,
)

INF, NAN = math.inf, math.nan
WITH = [12.1, 14.0, 11.2, 13.3, 12.9]
WITHOUT = [13.0, 14.9, 12.9, 13.1, 14.4]
D = [a - b for a, b in zip(WITH, WITHOUT, strict=True)]


def test_a_comparison_alone_is_scipys_paired_t_test() -> None:
    found = judge({"a": D})["a"]
    told = stats.ttest_rel(WITH, WITHOUT)
    assert found.p == pytest.approx(told.pvalue) and found.level == 0.05 and found.test == "t"
    low, high = told.confidence_interval(0.95)
    assert found.interval is not None and found.simultaneous is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert (found.simultaneous.low, found.simultaneous.high) == pytest.approx((low, high))
    assert found.real == (told.pvalue <= 0.05) and found.sign == (-1 if found.real else 0)
    assert found.mean == pytest.approx(np.mean(D)) and found.sd == pytest.approx(np.std(D, ddof=1)) and found.n == 5


def test_holms_levels_worked_by_hand() -> None:
    """0.01, 0.013, 0.03, 0.04 against 0.0125, 0.0167, 0.025, …: the third fails, and 0.04 with it though below 0.05."""
    found = holm({"d": 0.04, "b": 0.013, "a": 0.01, "c": 0.03}, 0.05)
    assert {name: real for name, (_, real) in found.items()} == {"a": True, "b": True, "c": False, "d": False}
    assert [found[name][0] for name in "abcd"] == pytest.approx([0.05 / 4, 0.05 / 3, 0.025, 0.025])


def test_the_verdict_follows_from_the_interval() -> None:
    """60 families: real exactly where 0 lies outside, and Holm's procedure written as a loop says the same."""
    generator = np.random.default_rng(1)
    for _ in range(60):
        m, n = int(generator.integers(1, 6)), int(generator.integers(2, 8))
        shifts = generator.choice([0.0, 1.0, 3.0], m)
        family = {str(k): generator.normal(shifts[k], 1, n).tolist() for k in range(m)}
        p = {name: stats.ttest_1samp(d, 0).pvalue for name, d in family.items()}
        real, left = set(), sorted(p, key=p.__getitem__)
        while left and p[left[0]] <= 0.05 / len(left):
            real.add(left.pop(0))
        for name, found in judge(family, flips=False).items():
            assert found.real == (name in real)
            assert found.interval is not None
            assert found.real == (not found.interval.low <= 0 <= found.interval.high)
            assert found.interval == interval(family[name], found.level)


@pytest.mark.parametrize(
    "d", [D, [1.0, -2.0, 3.0], [0.0, 0.0, 1.0, 4.0], [1.5] * 6, [2.0, -2.0, 2.0, 1.0, 0.5, 3.0, 4.0]]
)
def test_sign_flips_are_those_of_a_loop(d: list[float]) -> None:
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    assert sign_flips(d) == pytest.approx(np.mean([s >= abs(sum(d)) - 1e-9 for s in sums]))


def test_sign_flips_of_many_pairs_are_drawn() -> None:
    """Of 40 normal differences the drawn p is near the t test's; 9,999 draws: 5 standard errors are 0.025 at the most."""
    d = np.random.default_rng(0).normal(0.3, 1, 40)
    assert sign_flips(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.03)
    assert sign_flips(d) == sign_flips(d), "it is repeated"


@pytest.mark.parametrize("n", [5, 8, 12])
def test_signed_ranks_without_ties_are_wilcoxons(n: int) -> None:
    d = np.random.default_rng(n).normal(0.5, 1, n)
    assert signed_ranks(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_a_lost_run_ranks_last_and_is_never_left_out() -> None:
    """Ranks by hand: |1|, |2|, |3| have 1, 2, 3, the two lost 4.5 each; nan, where both runs were lost, 0 and no sign."""
    assert signed_ranks([1.0, INF, -2.0, INF, 3.0]) == pytest.approx(2 * 3 / 32)  # minus: none, 1 or 2
    ranks = [1, 2, 3, 4.5, 4.5]
    sums = [sum(s * r for s, r in zip(signs, ranks, strict=True)) for signs in itertools.product((1, -1), repeat=5)]
    assert signed_ranks([1.0, INF, -2.0, INF, 3.0]) == pytest.approx(np.mean([abs(s) >= 11 - 1e-9 for s in sums]))
    assert signed_ranks([NAN, INF, INF]) == pytest.approx(0.5)
    found = judge({"a": [1.0, INF, NAN, 2.0]})["a"]
    assert found.test == "signed ranks" and found.lost == 2 and found.n == 4
    assert found.mean is found.sd is found.interval is found.flips is found.detectable is found.needed(1.0) is None


def test_five_pairs_of_ranks_decide_nothing_and_six_do() -> None:
    assert not judge({"a": [INF] * 5})["a"].real
    six = judge({"a": [-INF] * 6})["a"]
    assert six.real and six.sign == -1 and six.p == pytest.approx(2 / 64)
    assert pairs_for_ranks(0.05) == 6 and pairs_for_ranks(0.05 / 5) == 8 and pairs_for_ranks(0.5) == 2


def test_differences_that_are_one_number_claim_no_certainty() -> None:
    found = judge({"a": [-1.0] * 5})["a"]
    assert found.p == pytest.approx(1 / 16) and found.interval is None and not found.real and found.mean == -1.0
    assert judge({"a": [0.0] * 5})["a"].p == 1.0
    assert judge({"a": [1.0], "b": []})["a"].p == 1.0


def test_lost_runs_stand_in_the_same_family() -> None:
    found = judge({"a": [-INF] * 8, "b": [0.1, -0.3, 0.2, 0.05, 0.1, 0.2, -0.1, 0.0]})
    assert found["a"].real and found["a"].level == 0.025 and found["b"].level == 0.05


# --- power -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "n", "alpha"), [(0.5, 34, 0.05), (1.2, 5, 0.05), (2.0, 3, 0.01), (0.0, 7, 0.05)])
def test_power_is_the_integral_over_the_spread(effect: float, n: int, alpha: float) -> None:
    """T = (Z + δ√n) / S with S² = χ²/(n - 1) independent of Z: P(|T| > t) integrated over S, without noncentral t."""
    t, df = stats.t.isf(alpha / 2, n - 1), n - 1
    scale = stats.chi(df, scale=1 / math.sqrt(df))

    def beyond(s: float) -> float:
        shift = effect * math.sqrt(n)
        return float((stats.norm.sf(t * s - shift) + stats.norm.cdf(-t * s - shift)) * scale.pdf(s))

    wanted = integrate.quad(beyond, 0, np.inf)[0]
    assert power(effect * 3.0, 3.0, n, alpha) == pytest.approx(wanted, rel=1e-5)


def test_known_sample_sizes() -> None:
    """G*Power's standard example: d = 0.5, α = 0.05 two-sided, 80 %: 34 pairs; and of 5 pairs 1.68 standard deviations."""
    assert needed(0.5, 1.0, 0.05) == 34 and needed(0.2, 1.0, 0.05) == 199 and needed(0.8, 1.0, 0.05) == 15
    assert detectable(1.0, 5, 0.05) == pytest.approx(1.682, abs=1e-3)
    assert detectable(2.0, 34, 0.05) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 20])
def test_what_is_detectable_needs_as_many(n: int, alpha: float) -> None:
    least = detectable(1.7, n, alpha)
    assert power(least, 1.7, n, alpha) == pytest.approx(0.8, abs=1e-4)
    assert needed(least * 1.0001, 1.7, alpha) == n


def test_the_ends_of_needed() -> None:
    assert needed(1e-4, 1.0, 0.05) is None and needed(0.0, 1.0, 0.05) is None and needed(1.0, 0.0, 0.05) == 2
    assert detectable(0.0, 5, 0.05) == 0.0


def test_round_numbers() -> None:
    assert [round_below(x) for x in (0.99, 1.0, 1.9, 2.0, 4.9, 7.0, 30.0, 0.0123)] == [0.5, 1, 1, 2, 2, 5, 20, 0.01]
