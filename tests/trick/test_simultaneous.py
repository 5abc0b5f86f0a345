"""Both players from the same weights: against two lines of numpy, and against one loss that moves both at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from bilinear import Bilinear
from playing import Game, recipe
from torch import Tensor
from torch.nn import functional as F

from gantrick.gan import preflight, warnings
from gantrick.trick.simultaneous import Simultaneous
from gantrick.types import Latents

SGD = {"name": "sgd", "lr": 0.05}
PLAYERS = ("discriminator", "generator")


def test_the_two_lines_with_descent() -> None:
    """min_x max_y x·y: x ← x − η y and y ← y + η x, each with the other as it was."""
    game, lr = Bilinear(torch.optim.SGD, lr=0.2), 0.2
    x, y = (game.weights[p].detach().numpy().copy() for p in ("generator", "discriminator"))
    for _ in range(5):
        x, y = x - lr * y, y + lr * x
        Simultaneous().update_rule(game)  # type: ignore[arg-type]
    np.testing.assert_allclose(game.weights["generator"].detach(), x, rtol=1e-12)
    np.testing.assert_allclose(game.weights["discriminator"].detach(), y, rtol=1e-12)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1)


def o_gan(e: Callable[[Tensor], Any], g: Callable[[Latents], Tensor], x: Tensor, z: Latents) -> Tensor:
    """The one loss of O-GAN's official code, in which the real is low."""
    fake = g(z)
    code, of_fake, of_constant = (e(images).extra["code"] for images in (x, fake, fake.detach()))
    m_x, m_g, m_sg = code.mean(1), of_fake.mean(1), of_constant.mean(1)
    t1, t2 = m_x - m_sg, m_g - m_sg
    apart = (x - fake.detach()).square().mean((1, 2, 3))
    return (t1 + t2 - 0.5 * cosine(z.z, of_fake)).mean() + (0.25 * t1.square() / apart).mean()


def hinge(d: Callable[[Tensor], Any], g: Callable[[Latents], Tensor], x: Tensor, z: Latents) -> Tensor:
    """Su's GAN in one step, in which the real is low: −s is its score."""
    fake = g(z)
    r, f, sg = (-d(images).scores[:, 0] for images in (x, fake, fake.detach()))
    return (F.relu(1 + r) + F.relu(1 - sg) + f - sg).mean()


@pytest.mark.parametrize(("loss", "joint"), [("o_gan", o_gan), ("hinge", hinge)])
@pytest.mark.parametrize("d_norm", ["none", "batch"])
def test_it_is_one_loss_that_moves_both_players(loss: str, joint: Any, d_norm: str) -> None:
    """Three steps of gradient descent on the published loss, whose one backward passes through both networks."""
    model = {"d_norm": d_norm, "z_size": 6, "init": "default"}
    descent = {"optimizer": {"generator": SGD, "discriminator": SGD}}
    made = recipe(loss, trick={"simultaneous": {}}, model=model, **descent)
    game, own = Game(made), Game(made)
    drawn: list[Any] = []
    draw = game.play.draw
    game.play.draw = lambda player: drawn.append(draw(player)) or drawn[-1]  # type: ignore[func-returns-value]
    weights = {player: list(own.gan.networks[player].parameters()) for player in PLAYERS}
    for _ in range(3):
        game.rounds(1)
        real, z = drawn.pop()
        assert not drawn, "one batch for both"
        value = joint(own.gan.discriminator, own.gan.generator, real.images, z)
        gradients = torch.autograd.grad(value, [w for player in PLAYERS for w in weights[player]])
        with torch.no_grad():
            for w, gradient in zip([w for player in PLAYERS for w in weights[player]], gradients, strict=True):
                w -= SGD["lr"] * gradient  # type: ignore[operator]
    start = Game(made)
    for player in PLAYERS:
        begun, wanted, found = (list(g.networks[player].parameters()) for g in (start.gan, own.gan, game.gan))
        for w, new in zip(wanted, found, strict=True):
            torch.testing.assert_close(new, w, rtol=1e-4, atol=1e-6)
        assert any(not torch.equal(old, new) for old, new in zip(begun, found, strict=True))


def test_reals_for_g_and_the_mean_over_accumulated_batches() -> None:
    """Where a component looks at reals in G's turn they are D's; of two batches each move has the mean gradient."""
    made = recipe("ragan", trick={"simultaneous": {}}, accumulate=2, optimizer={p: SGD for p in PLAYERS})
    game, own = Game(made), Game(made)
    seen: dict[str, list[Any]] = {player: [] for player in PLAYERS}
    evaluate = game.play.evaluate

    def noted(player: str, batch: Any, latents: Any) -> Any:
        seen[player].append((batch, latents))
        return evaluate(player, batch, latents)

    game.play.evaluate = noted  # type: ignore[method-assign,assignment]
    game.rounds(1)
    assert seen["discriminator"] == seen["generator"] and len(seen["generator"]) == 2
    for player in PLAYERS:
        found: list[Mapping[str, Tensor]] = [own.play.evaluate(player, *pair).gradients for pair in seen[player]]
        for name, w in own.gan.networks[player].named_parameters():
            moved = w - SGD["lr"] * (found[0][name] + found[1][name]) / 2  # type: ignore[operator]
            torch.testing.assert_close(dict(game.gan.networks[player].named_parameters())[name], moved)


def test_settings_that_have_no_say_are_told() -> None:
    def told(**settings: int) -> list[str]:
        return warnings(preflight(recipe("hinge", trick={"simultaneous": {}}, **settings)))

    assert told() == told(accumulate=2) == []
    assert told(d_steps=5, generator_batch_size=128) == [
        "d_steps: 5 has no say with trick.simultaneous; leave one of them out",
        "generator_batch_size: 128 has no say with trick.simultaneous; leave one of them out",
    ]
