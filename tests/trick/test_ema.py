"""θ̄ ← d θ̄ + (1 − d) θ after every step, against a loop in float64."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe
from torch import Tensor, nn

from gantrick.feed import stream
from gantrick.layers.normalization import BatchNorm
from gantrick.sampling import draw
from gantrick.trick.ema import Ema

STEPS = 20


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.norm = BatchNorm(4)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("direction", torch.zeros(3))


def shaken(net: Net) -> None:
    """New values everywhere, as a step of training leaves them."""
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
        net.norm.running_mean.normal_()
        net.norm.running_var.uniform_(0.1, 3)
        net.count += 1
        net.direction.normal_()


def values(net: nn.Module) -> dict[str, np.ndarray]:
    return {k: v.detach().double().numpy().copy() for k, v in net.state_dict().items()}


@pytest.mark.parametrize("ramp", [False, True])
@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("decay", [0.9, 0.3])
@pytest.mark.parametrize("buffers", ["average", "copy"])
@pytest.mark.parametrize("every", [1, 3])
def test_against_a_loop(ramp: bool, start: int, decay: float, buffers: Literal["average", "copy"], every: int) -> None:
    """Up to `start` a copy, then d or min(d, (1 + n) / (10 + n)); statistics likewise, other buffers copied.

    n counts the updates after `start`, of which there is one at each multiple of `every`; in between nothing changes.
    """
    net = Net()
    ema = Ema(decay=decay, start=start, ramp=ramp, every=every, buffers=buffers)
    ema.begin(net, net)
    mean, n = values(net), 0
    for step in range(1, STEPS + 1):
        shaken(net)
        ema.average(net, net)
        n += step > start and step % every == 0
        if step > start and step % every:
            for name, value in values(ema.averaged).items():
                np.testing.assert_allclose(value, mean[name], rtol=1e-5, atol=1e-6)
            continue
        d = 0.0 if step <= start else min(decay, (1 + n) / (10 + n)) if ramp else decay
        for name, value in values(net).items():
            averaged = name not in ("count", "direction") and not (buffers == "copy" and "running" in name)
            mean[name] = d * mean[name] + (1 - d) * value if averaged else value
        for name, value in values(ema.averaged).items():
            np.testing.assert_allclose(value, mean[name], rtol=1e-5, atol=1e-6, err_msg=f"{name} at {step}")


@pytest.mark.parametrize(("start", "every"), [(0, 1), (7, 1), (0, 3)])
def test_the_uniform_mean_is_that_of_all_weights_since_the_start(start: int, every: int) -> None:
    net = Net()
    ema = Ema(mean="uniform", start=start, every=every)
    ema.begin(net, net)
    kept: list[dict[str, np.ndarray]] = []
    for step in range(1, 31):
        shaken(net)
        ema.average(net, net)
        if step > start and step % every == 0:
            kept.append(values(net))
    for name in ("layer.weight", "layer.bias", "norm.weight", "norm.running_mean", "norm.running_var"):
        mean = np.mean([one[name] for one in kept], axis=0)
        np.testing.assert_allclose(values(ema.averaged)[name], mean, rtol=1e-5, atol=1e-6)
    assert values(ema.averaged)["count"] == kept[-1]["count"]


def test_up_to_the_start_it_is_a_copy() -> None:
    """Not nearly: the same bits, in parameters, statistics and buffers."""
    net = Net()
    ema = Ema(start=3)
    ema.begin(net, net)
    for _ in range(3):
        shaken(net)
        ema.average(net, net)
        assert equal(ema.averaged.state_dict(), net.state_dict())
    shaken(net)
    ema.average(net, net)
    assert not torch.equal(ema.averaged.layer.weight, net.layer.weight)  # type: ignore[union-attr, arg-type]


def test_it_follows_a_game_step_by_step() -> None:
    """Once a round however many turns it has, over parameters and the statistics that the round left."""
    game = Game(recipe(trick={"ema": {"decay": 0.8, "ramp": False}}, d_steps=2, g_steps=2))
    ema: Any = game.gan.stages["average"][0]
    mean = values(game.gan.generator)
    assert {name.rpartition(".")[2] for name in mean} >= {"weight", "running_mean", "running_var"}
    for _ in range(5):
        game.rounds(1)
        mean = {name: 0.8 * mean[name] + 0.2 * value for name, value in values(game.gan.generator).items()}
    for name, value in values(ema.averaged).items():
        np.testing.assert_allclose(value, mean[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert not any(p.requires_grad for p in ema.averaged.parameters())


def test_training_does_not_notice() -> None:
    """The same bits in both networks and both optimizers, drawing in between included."""
    with_it, without = Game(recipe(trick={"ema": {}})), Game(recipe())
    for _ in range(4):
        with_it.rounds(1)
        without.rounds(1)
        with_it.samples()
    mine = {k: v for k, v in with_it.state().items() if not k.startswith("components.")}
    assert equal(mine, without.state())


def test_drawing_uses_it() -> None:
    """Samples come from θ̄ in evaluation mode, with its statistics; raw weights on request."""
    game = Game(recipe(trick={"ema": {"decay": 0.9}})).rounds(5)
    ema: Any = game.gan.stages["average"][0]

    def made(network: nn.Module) -> Tensor:
        source = torch.Generator().manual_seed(stream(3, "latents 0"))
        network.eval()
        with torch.no_grad():
            images: Tensor = network(game.gan.latents(5, source))
        network.train()
        return images

    drawn, raw = (torch.cat(list(draw(game.gan, 5, 3, weights=w))) for w in (None, "raw"))
    assert torch.equal(drawn, made(ema.averaged)) and torch.equal(raw, made(game.gan.generator))
    assert not torch.allclose(drawn, raw, atol=1e-3)
    assert game.gan.drawing_generator == (ema.averaged, "ema")


def test_it_comes_back_from_a_state() -> None:
    """A run that is resumed goes on as the one that was not stopped: mean, number of steps and all."""
    one = Game(recipe(trick={"ema": {"start": 2}})).rounds(4)
    state = one.gan.state_dict()
    two = Game(recipe(trick={"ema": {"start": 2}}), seed=5)
    two.gan.load_state_dict(state)
    for game in (one, two):
        component: Any = game.gan.stages["average"][0]
        with torch.no_grad():
            for p in game.gan.generator.parameters():
                p.fill_(0.25)
        component.average(game.gan.generator, game.gan.discriminator)
    assert equal(one.gan.components.state_dict(), two.gan.components.state_dict())


def test_with_spectral_norm_in_the_generator() -> None:
    """The mean is over the weights beneath the normalisation; u and v go along, so that θ̄ has a σ that fits."""
    game = Game(recipe(trick={"ema": {"decay": 0.5}, "spectral_norm": {"network": "generator"}})).rounds(3)
    ema: Any = game.gan.stages["average"][0]
    live, mean = game.gan.generator.state_dict(), ema.averaged.state_dict()
    names = [name for name in live if name.endswith((".u", ".v"))]
    assert names and all(torch.equal(live[name], mean[name]) for name in names)
    assert torch.isfinite(game.samples()).all()


def test_of_the_discriminator() -> None:
    """D's mean step by step; what is drawn, and training, notice nothing."""
    game, plain = Game(recipe(trick={"ema": {"network": "discriminator", "decay": 0.8, "ramp": False}})), Game(recipe())
    mean = values(game.gan.discriminator)
    for _ in range(3):
        game.rounds(1)
        plain.rounds(1)
        mean = {name: 0.8 * mean[name] + 0.2 * value for name, value in values(game.gan.discriminator).items()}
    averaged = game.gan.averaged_discriminator
    assert averaged is not None and plain.gan.averaged_discriminator is None
    for name, value in values(averaged).items():
        np.testing.assert_allclose(value, mean[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert game.gan.drawing_generator == (game.gan.generator, "raw")
    assert torch.equal(game.samples(), plain.samples())
    both = Game(recipe(trick={"ema": {"network": "both"}})).rounds(1).gan
    assert both.averaged_discriminator is not None and both.drawing_generator[1] == "ema"


def test_beside_lookahead_it_averages_slow_weights() -> None:
    """At each synchronisation, against a loop over what lookahead left there; fast weights in between have no say."""
    tricks = {"lookahead": {"every": 4}, "ema": {"every": 4, "decay": 0.5, "ramp": False}}
    game = Game(recipe(loss="hinge", trick=tricks, model={"g_norm": "none"}))
    name, weight = next(iter(game.gan.generator.named_parameters()))
    mean = weight.detach().clone()
    averaged, _ = game.gan.drawing_generator
    for _ in range(3):
        game.rounds(4)
        mean = 0.5 * mean + 0.5 * weight.detach()
        torch.testing.assert_close(dict(averaged.named_parameters())[name], mean)
