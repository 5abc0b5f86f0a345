"""D: ½ [E sp(−(r − f̄)) + E sp(f − r̄)]; G: ½ [E sp(r − f̄) + E sp(−(f − r̄))]."""

from __future__ import annotations

import numpy as np
from judging import Array
from relativistic import check, check_game

from gantrick.loss.ragan import Ragan


def softplus(v: Array) -> Array:
    return np.logaddexp(0, v)


def test_both_players() -> None:
    def minus(v: Array) -> Array:
        return softplus(-v)

    check(Ragan(), {"discriminator": (minus, softplus), "generator": (softplus, minus)})


def test_in_a_game() -> None:
    check_game("ragan")
