"""When a turn of D is skipped, and that G's is not."""

from typing import Any

import pytest
import torch
from playing import Game, equal, networks, recipe

from gantrick.trick.dynamic_balance import DynamicBalance
from gantrick.types import Record


class Said:
    """A play in which D's accuracy and loss, and G's loss, are as told."""

    step, d_steps, g_steps, accumulate = 0, 2, 1, 1

    def __init__(self, trick: DynamicBalance, accuracy: float, d: float, g: float):
        self.trick, self.values, self.moved = trick, {"accuracy/d": accuracy, "loss/d": d, "loss/g": g}, []

    def prepare(self, player: str) -> None: ...

    def draw(self, player: str) -> tuple[None, None]:
        return None, None

    def evaluate(self, player: Any, *_: Any) -> Record:
        noted = {name: torch.tensor(value) for name, value in self.values.items()}
        return Record(player, {}, noted, {}, None, None)  # type: ignore[arg-type]

    def move(self, player: str, records: list[Record]) -> None:
        self.moved.append(player)
        self.trick.adapt(records)

    def skip(self, player: str, records: list[Record]) -> None: ...

    def turn(self, player: str) -> None:
        self.move(player, [self.evaluate(player)])


@pytest.mark.parametrize(
    ("by", "threshold", "told", "d_moves"),
    [
        ("accuracy", 0.8, (0.81, 1.0, 1.0), 0),
        ("accuracy", 0.8, (0.79, 0.0, 9.0), 2),
        ("loss", 0.3, (1.0, 0.29, 1.0), 0),
        ("loss", 0.3, (1.0, 0.31, 1.0), 2),
        ("ratio", 0.5, (1.0, 0.4, 1.0), 0),
        ("ratio", 0.5, (1.0, 0.6, 1.0), 2),
    ],
)
def test_d_is_skipped_where_it_is_too_strong(by: Any, threshold: float, told: tuple, d_moves: int) -> None:
    trick = DynamicBalance(by, threshold)
    play = Said(trick, *told)
    trick.update_rule(play)  # type: ignore[arg-type]
    first = play.moved.count("discriminator")
    play.moved.clear()
    trick.update_rule(play)  # type: ignore[arg-type]
    assert play.moved == ["discriminator"] * d_moves + ["generator"]
    assert first == (2 if by == "ratio" else d_moves), "before G has a loss there is no ratio, and D moves"


def test_a_d_that_is_always_too_strong_never_changes() -> None:
    game = Game(recipe(trick={"dynamic_balance": {"threshold": 1e-6}}))
    before = {n: p.detach().clone() for n, p in game.gan.discriminator.named_parameters()}
    g_before = game.state()
    game.rounds(3)
    assert game.meter.read()["skipped/d"] == 1
    assert all(torch.equal(p, before[n]) for n, p in game.gan.discriminator.named_parameters())
    assert not equal(networks(game.state()), networks(g_before)), "G moves on"


def test_what_a_skipped_turn_found_is_in_the_rows() -> None:
    """The mean accuracy over all turns, not over those alone in which D moved; and how many were skipped."""
    game = Game(recipe(trick={"dynamic_balance": {"threshold": 0.6}}, d_steps=2), batch_size=8)
    found: list[float] = []
    moved = []
    evaluate, move = game.play.evaluate, game.play.move

    def noted(player: Any, *arguments: Any, **options: Any) -> Any:
        record = evaluate(player, *arguments, **options)
        if player == "discriminator":
            found.append(float(record.diagnostics["accuracy/d"]))
        return record

    game.play.evaluate = noted  # type: ignore[method-assign]
    game.play.move = lambda player, *rest: (moved.append(player), move(player, *rest))[1]  # type: ignore[method-assign]
    game.rounds(10)
    row = game.meter.read()
    assert len(found) == 20 and any(f > 0.6 for f in found) and any(f <= 0.6 for f in found)
    skipped = 1 - moved.count("discriminator") / 20
    assert skipped == sum(f > 0.6 for f in found) / 20 == pytest.approx(row["skipped/d"])
    # G's turn, in which D sees no reals, has no accuracy
    assert row["accuracy/d"] == pytest.approx(sum(found) / 20)
