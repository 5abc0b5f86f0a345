"""D: ½ [E relu(1 − (r − f̄)) + E relu(1 + (f − r̄))]; G: ½ [E relu(1 + (r − f̄)) + E relu(1 − (f − r̄))]."""

from __future__ import annotations

import numpy as np
from judging import Array
from relativistic import check, check_game

from gantrick.loss.rahinge import Rahinge


def rising(v: Array) -> Array:
    return np.maximum(0, 1 + v)


def falling(v: Array) -> Array:
    return np.maximum(0, 1 - v)


def test_both_players() -> None:
    check(Rahinge(), {"discriminator": (falling, rising), "generator": (rising, falling)})


def test_in_a_game() -> None:
    check_game("rahinge")
