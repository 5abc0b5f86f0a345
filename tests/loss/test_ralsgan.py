"""D: ½ [E(r − f̄ − 1)² + E(f − r̄ + 1)²]; G: ½ [E(r − f̄ + 1)² + E(f − r̄ − 1)²]."""

from __future__ import annotations

from judging import Array
from relativistic import check, check_game

from gantrick.loss.ralsgan import Ralsgan


def above(v: Array) -> Array:
    return (v + 1) ** 2


def below(v: Array) -> Array:
    return (v - 1) ** 2


def test_both_players() -> None:
    check(Ralsgan(), {"discriminator": (below, above), "generator": (above, below)})


def test_in_a_game() -> None:
    check_game("ralsgan")
