"""The unrolled gradient of G against finite differences of D's real future, and against plain play at K = 0."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from playing import Game, recipe

from gantrick.recipe import check
from gantrick.trick.unrolled import Unrolled
from gantrick.types import Batch, Latents

RATE = 0.05
SGD = {"name": "sgd", "lr": RATE}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the networks hold in float32 is float64 here, for finite differences."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def game(optimizer: dict, **settings: Any) -> Game:
    """On points, whose networks have no unit that stands at its kink from the start."""
    made = recipe(loss="wgan", dataset={"name": "ring", "samples": 100}, **settings).resolved
    mlp = {"name": "mlp", "g_width": 5, "d_width": 5, "z_size": 2}
    found = Game(check({**made, "model": mlp, "optimizer": {p: optimizer for p in made["optimizer"]}}), batch_size=4)
    found.gan.discriminator.score_weights = found.gan.discriminator.score_weights.double()
    for network in (found.gan.generator, found.gan.discriminator):
        network.double()
    drawn = found.play.draw

    def doubled(player: Any) -> tuple[Batch | None, Latents]:
        batch, latents = drawn(player)
        return None if batch is None else Batch(batch.images.double()), Latents(latents.z.double())

    found.play.draw = doubled
    return found


RATES = {"discriminator.*": 0.3, "discriminator.head.*": 0.1}


@pytest.mark.parametrize("rates", [{}, RATES], ids=["one rate", "rates by layer"])
@pytest.mark.parametrize("inner", ["sgd", "adam"])
def test_the_gradient_is_that_of_ds_future(inner: str, rates: dict[str, float], exact: None) -> None:
    """L_G after D has really taken K steps with torch's own optimizer, as a function of one weight of G."""
    steps, optimizer = 2, SGD if inner == "sgd" else {"name": "adam", "lr": RATE, "betas": [0.5, 0.9], "eps": 1e-3}
    start = game(optimizer, trick={"layerwise_lr": {"rates": rates}} if rates else None)
    if inner == "adam":  # so that there are moments to go on from
        for _ in range(2):
            start.play.turn("discriminator")
    play = start.play
    batch, latents = play.draw("discriminator")
    _, own = play.draw("generator")
    trick = Unrolled(steps, inner)
    weights = trick._ahead(play, batch, latents)
    record = play.evaluate("generator", None, own, parameters={"discriminator": weights})

    def future(name: str, index: tuple[int, ...], shift: float) -> float:
        other = copy.deepcopy(start.gan)
        parameter = dict(other.generator.named_parameters())[name]
        with torch.no_grad():
            parameter[index] += shift
        weights, moves = list(other.discriminator.parameters()), other.optimizers["discriminator"]
        assert isinstance(moves, torch.optim.SGD if inner == "sgd" else torch.optim.Adam)
        assert {p for group in moves.param_groups for p in group["params"]} == set(weights)
        for _ in range(steps):
            moves.zero_grad()
            fake = other.generator(latents)
            loss = other.discriminator(fake).scores.mean() - other.discriminator(batch.images).scores.mean()
            loss.backward(inputs=weights)
            moves.step()
        with torch.no_grad():
            return float(-other.discriminator(other.generator(own)).scores.mean())

    checked = 0
    for name, gradient in record.gradients.items():
        index, h = tuple(torch.unravel_index(gradient.abs().argmax(), gradient.shape)), 1e-6
        slope = (future(name, index, h) - future(name, index, -h)) / (2 * h)
        assert gradient[index].item() == pytest.approx(slope, rel=2e-3, abs=1e-9), name
        checked += 1
    assert checked >= 3


def test_it_differs_from_a_d_that_is_only_looked_ahead(exact: None) -> None:
    full, first = game(SGD), game(SGD)
    batch, latents = full.play.draw("discriminator")
    _, own = full.play.draw("generator")
    records = []
    for each, first_order in ((full, False), (first, True)):
        weights = Unrolled(3, "sgd", first_order=first_order)._ahead(each.play, batch, latents)
        records.append(each.play.evaluate("generator", None, own, parameters={"discriminator": weights}))
    assert records[0].terms["loss/g_fake"].item() == pytest.approx(records[1].terms["loss/g_fake"].item(), rel=1e-9)
    assert any(not torch.allclose(records[0].gradients[n], g) for n, g in records[1].gradients.items())


def test_the_paper_steps_leave_no_trace_in_d() -> None:
    found = Game(recipe(trick={"spectral_norm": {}}), batch_size=4).rounds(1)
    before = {n: t.clone() for n, t in found.gan.discriminator.state_dict().items()}
    Unrolled(2)._ahead(found.play, *found.play.draw("discriminator"))
    assert all(torch.equal(t, before[n]) for n, t in found.gan.discriminator.state_dict().items())


def test_accumulated_batches_are_averaged_each_with_a_d_of_its_own_future() -> None:
    """G's move with accumulate=2 is the mean of the two that either batch alone would make, by gradient descent."""
    sgd = {p: SGD for p in ("generator", "discriminator")}
    made = recipe(loss="wgan", dataset={"name": "ring", "samples": 100}, model={"name": "mlp", "z_size": 2}).resolved
    moves = []
    draws: list[Any] = []
    for accumulate, offset in ((1, 0), (1, 2), (2, 0)):
        found = Game(check({**made, "optimizer": sgd, "accumulate": accumulate, "d_steps": 1}), batch_size=4)
        play = found.play
        if not draws:
            draws = [play.draw(player) for player in ("discriminator", "generator") * 2]
        queue = iter(draws[offset:])
        play.draw = lambda player, queue=queue: next(queue)
        play.d_steps = 0
        before = [p.detach().clone() for p in found.gan.generator.parameters()]
        Unrolled(2, "sgd", RATE).update_rule(play)
        moves.append([p.detach() - b for p, b in zip(found.gan.generator.parameters(), before, strict=True)])
    for first, second, both in zip(*moves, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-4, atol=1e-7)
    assert any(m.abs().max() > 0 for m in moves[2])


def test_adam_begins_anew_where_the_optimizer_is_none() -> None:
    """The first step of a fresh Adam is η · g / (|g| + ε): moments of other optimizers are not taken for its own."""
    rmsprop = {"name": "rmsprop", "lr": RATE}
    found = Game(recipe(loss="wgan", optimizer={"generator": SGD, "discriminator": rmsprop}), batch_size=4).rounds(5)
    before = dict(found.play.parameters("discriminator"))
    ahead = Unrolled(1, first_order=True)._ahead(found.play, *found.play.draw("discriminator"))
    moved = torch.cat([(ahead[name] - before[name]).abs().flatten() for name in before])
    assert moved.max() <= RATE * 1.001 and moved.median().item() == pytest.approx(RATE, rel=0.01)


def test_the_rate_given_and_the_order_of_turns() -> None:
    """η = `rate` on paper, whatever D's own rate; G moves before D does."""
    sgd = {p: SGD for p in ("generator", "discriminator")}
    found = Game(recipe(loss="wgan", optimizer=sgd), batch_size=4)
    drawn = found.play.draw("discriminator")
    before = dict(found.play.parameters("discriminator"))
    steps = []
    for rate in (None, 10 * RATE):
        ahead = Unrolled(1, "sgd", rate, first_order=True)._ahead(found.play, *drawn)
        steps.append({name: ahead[name] - before[name] for name in before})
    for name, step in steps[0].items():
        torch.testing.assert_close(steps[1][name], 10 * step, rtol=1e-3, atol=1e-6)
    moved: list[str] = []
    move = found.play.move
    found.play.move = lambda player, records: (moved.append(player), move(player, records))[1]  # type: ignore[method-assign]
    found.play.d_steps = 2
    Unrolled(1).update_rule(found.play)
    assert moved == ["generator", "discriminator", "discriminator"]


@pytest.mark.parametrize("first_order", [False, True])
def test_frozen_weights_stay_where_they_are(first_order: bool) -> None:
    made = recipe(trick={"unrolled": {"steps": 2, "first_order": first_order}}, freeze=["discriminator.body.downs.0.*"])
    found = Game(made, batch_size=4)
    frozen = {n: p.clone() for n, p in found.gan.discriminator.named_parameters() if not p.requires_grad}
    found.rounds(2)
    now = dict(found.gan.discriminator.named_parameters())
    assert frozen and all(torch.equal(now[name], weight) for name, weight in frozen.items())
