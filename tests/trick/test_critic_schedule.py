"""100 D turns in the first 25 steps and at every 500th, else d_steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from playing import Game, recipe

from gantrick.trick.critic_schedule import CriticSchedule


@dataclass
class Counting:
    """A play that only counts its turns."""

    d_steps: int = 5
    g_steps: int = 1
    step: int = 0
    turns: list[str] = field(default_factory=list)

    def turn(self, player: str) -> None:
        self.turns.append(player)


def counted(trick: CriticSchedule, play: Counting, steps: range) -> dict[int, list[str]]:
    found = {}
    for step in steps:
        play.step, play.turns = step, []
        trick.update_rule(play)  # type: ignore[arg-type]
        found[step] = play.turns
    return found


def test_the_published_schedule() -> None:
    """Every round is n D turns and then one G turn; n is 100 at steps 0 … 24, 500 and 1000, and 5 elsewhere to 1001."""
    found = counted(CriticSchedule(), Counting(), range(1002))
    many = {step for step, turns in found.items() if turns == ["discriminator"] * 100 + ["generator"]}
    few = {step for step, turns in found.items() if turns == ["discriminator"] * 5 + ["generator"]}
    assert many == {*range(25), 500, 1000}
    assert few == set(range(1002)) - many


@pytest.mark.parametrize(
    ("options", "boosted"),
    [
        ({"warm_up": 0, "every": 0}, set()),
        ({"warm_up": 3, "every": 0}, {0, 1, 2}),
        ({"warm_up": 0, "every": 4}, {0, 4, 8}),
    ],
)
def test_settings(options: dict[str, int], boosted: set[int]) -> None:
    found = counted(CriticSchedule(boost=7, **options), Counting(d_steps=2, g_steps=3), range(10))
    for step, turns in found.items():
        assert turns == ["discriminator"] * (7 if step in boosted else 2) + ["generator"] * 3


def test_in_a_game() -> None:
    game = Game(recipe("wgan", trick={"critic_schedule": {"boost": 4, "warm_up": 1, "every": 3}}, d_steps=2))
    turns: list[tuple[int, str]] = []

    def observe(record: Any, norm: Any) -> None:
        turns.append((game.play.step, record.player))

    game.play.observe = observe
    game.rounds(5)
    assert [turns.count((step, "discriminator")) for step in range(5)] == [4, 2, 2, 4, 2]
    assert [turns.count((step, "generator")) for step in range(5)] == [1] * 5
