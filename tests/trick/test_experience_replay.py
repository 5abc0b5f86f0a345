"""D's fakes are in part those of earlier turns."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from playing import Game, equal, recipe

from gantrick.gan import preflight
from gantrick.trick.experience_replay import ExperienceReplay
from gantrick.types import Batch, ConfigError

NO_NORM = {"d_norm": "none", "g_norm": "none"}


def made(**options: Any) -> tuple[ExperienceReplay, Any]:
    trick = ExperienceReplay(**options)
    trick._shape = (1,)
    trick.begin(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    return trick, None


def batch(start: int, count: int = 4, labels: bool = True) -> Batch:
    """Samples whose value is their number and whose label is that modulo 7."""
    numbers = torch.arange(start, start + count)
    return Batch(numbers[:, None].float(), numbers % 7 if labels else None)


def turn(trick: ExperienceReplay, fake: Batch) -> Batch:
    """A turn of D: what it is shown is handed on, and stored after the move."""
    real, mixed = trick.mix(fake, fake)
    assert real is fake
    trick._store(mixed)
    return mixed


@pytest.mark.parametrize("share", [0.5, 0.25, 0.75])
def test_replace(share: float) -> None:
    """In the first turn all are new; then the last share is old, and only new ones are stored, in order."""
    trick, _ = made(size=100, share=share)
    old_ones = int(share * 4)
    stored: list[float] = []
    for i in range(6):
        fake = batch(10 * i)
        mixed = turn(trick, fake)
        new = mixed.images[: 4 - old_ones, 0].tolist()
        assert new == fake.images[: 4 - old_ones, 0].tolist() and len(mixed) == 4
        for value in mixed.images[4 - old_ones :, 0].tolist() if stored else []:
            assert value in stored
        stored += new
        assert trick.images[: len(stored), 0].tolist() == stored
        assert mixed.labels is not None and (mixed.labels == mixed.images[:, 0].long() % 7).all(), "labels are kept"


def test_add() -> None:
    trick, _ = made(size=100, how="add")
    stored: list[float] = []
    for i in range(5):
        fake = batch(10 * i)
        mixed = turn(trick, fake)
        assert len(mixed) == 6 and mixed.images[:4].equal(fake.images)
        assert all(value in (stored or fake.images[:, 0].tolist()) for value in mixed.images[4:, 0].tolist())
        stored += fake.images[:, 0].tolist()
        assert trick.images[: len(stored), 0].tolist() == stored, "what was added is not stored again"
        assert mixed.labels is not None and (mixed.labels == mixed.images[:, 0].long() % 7).all()


def test_a_full_store_loses_entries_at_random() -> None:
    """Each of the 50 entries is as likely to go: after 25 turns of 2 of 50, an old one is left with (48/50)^25 = 0.36.

    Over 40 stores of 50 the share left is within 5 σ, σ = √(0.36 · 0.64 / 2000) at most: false alarm 1e-6.
    """
    left = 0
    for _ in range(40):
        trick, _ = made(size=50)
        for i in range(25):
            turn(trick, batch(10 * i))
        assert int(trick.stored) == 50
        before = set(trick.images[:, 0].tolist())
        for i in range(25):
            turn(trick, batch(1000 + 10 * i))
        left += len(before & set(trick.images[:, 0].tolist()))
    assert left / 2000 == pytest.approx(0.96**25, abs=5 * (0.36 * 0.64 / 2000) ** 0.5)


def test_a_turn_puts_each_new_fake_in_the_place_of_another() -> None:
    """A full store of 50 loses as many entries as come: no place is taken twice."""
    trick, _ = made(size=50, share=0.0)
    for i in range(20):
        turn(trick, batch(100 * i, 25))
        if i > 1:
            assert set(trick.images[:, 0].tolist()) >= set(batch(100 * i, 25).images[:, 0].tolist())


def test_without_labels_and_a_batch_larger_than_the_store() -> None:
    trick, _ = made(size=3, share=0.25)
    for i in range(3):
        mixed = turn(trick, batch(10 * i, 8, labels=False))
        assert mixed.labels is None
    assert len(set(trick.images[:, 0].tolist())) == 3


def test_draws_are_uniform() -> None:
    """Of 20 stored, 4000 draws: χ² with 19 degrees, 99.99 % quantile 50.8."""
    trick, _ = made(size=20)
    trick.images.copy_(torch.arange(20.0)[:, None])
    trick.stored.fill_(10**6)
    _, mixed = trick.mix(batch(0), batch(100, 8000))
    counts = torch.bincount(mixed.images[4000:, 0].long(), minlength=20).double()
    assert ((counts - 200).square() / 200).sum().item() < 50.8


@pytest.mark.parametrize("how", ["replace", "add"])
def test_in_a_game(how: str) -> None:
    """Only D's turn: before augmentation and packing; evaluating stores nothing; a state that is loaded goes on alike."""
    tricks = {"experience_replay": {"how": how, "size": 32}, "instance_noise": {"sigma": 0.5}, "pacgan": {"size": 3}}
    config = recipe("hinge", trick=tricks, model=NO_NORM, batch_size=12)
    game = Game(config, batch_size=12).rounds(3)
    trick: Any = game.gan.stages["mix"][0]
    stored = {tuple(image.flatten().tolist()) for image in trick.images[: int(trick.stored)]}
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    shown = [tuple(image.flatten().tolist()) in stored for image in record.fake.images]
    new = 6 if how == "replace" else 12
    assert shown == [False] * new + [True] * 6
    assert len(record.fake.scores) == len(shown) // 3
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    assert len(record.fake.images) == 12
    assert not any(tuple(image.flatten().tolist()) in stored for image in record.fake.images)
    fresh = Game(config, seed=4, batch_size=12)
    fresh.gan.load_state_dict(copy.deepcopy(game.gan.state_dict()))
    real, latents = game.play.draw("discriminator")
    ends = []
    for played in (game, fresh):
        torch.manual_seed(2)
        played.play.move("discriminator", [played.play.evaluate("discriminator", real, latents)])
        ends.append(played.state())
    assert equal(*ends)


@pytest.mark.parametrize("loss", ["rpgan", "gan_qp"])
def test_losses_of_pairs_refuse_it(loss: str) -> None:
    with pytest.raises(
        ConfigError, match=r"experience_replay with loss\..*: the loss compares each real with the fake of"
    ):
        Game(recipe(loss, trick={"experience_replay": {}}))


@pytest.mark.parametrize(
    ("options", "others", "said"),
    [
        (
            {"how": "add"},
            {"pacgan": {"size": 4}},
            "experience_replay: adds 6 to a batch of 12, and that is not a multiple of 4, as fakes are taken here; "
            "choose another batch_size or share",
        ),
        (
            {"how": "add"},
            {"minibatch_discrimination": {}},
            "minibatch_discrimination with trick.experience_replay: it sums over a batch, so that D would tell fakes by "
            "how many there are; have fakes replaced and none added",
        ),
        ({"share": 1.0}, {}, "share: must be at least 0 and below 1"),
    ],
)
def test_batches_that_do_not_fit_are_refused_before_the_start(options: dict, others: dict, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        preflight(recipe("hinge", trick={"experience_replay": options, **others}, model=NO_NORM, batch_size=12))
    assert said in str(refused.value)
    preflight(recipe("hinge", trick={"experience_replay": {}, **others}, model=NO_NORM, batch_size=12))
