"""W = g θ / ‖θ‖ in numpy and by torch's own, the start from data, what is trained, and what it cannot live with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe
from torch import Tensor, nn

from gantrick.layers.weight_norm import normalised, standardising, weight_norm
from gantrick.types import ConfigError

LAYERS = {
    "linear": lambda: nn.Linear(5, 4),
    "conv": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 4, 2, 1),
}
INPUTS = {"linear": (6, 5), "conv": (6, 3, 8, 8), "transposed": (6, 3, 8, 8)}


@pytest.mark.parametrize("kind", LAYERS)
def test_against_torch_and_by_hand(kind: str) -> None:
    """The same function and the same gradients as torch's parametrisation at the same g and θ."""
    mine, theirs = LAYERS[kind]().double(), LAYERS[kind]().double()
    theirs.load_state_dict(mine.state_dict())
    before = mine.weight.detach().clone()
    weight_norm(mine, rms=0.3)
    torch.testing.assert_close(mine.weight, before)
    theirs = nn.utils.parametrizations.weight_norm(theirs, dim=1 if kind == "transposed" else 0)
    own: Any = mine.parametrizations["weight"]  # type: ignore[index]
    assert own.original.square().mean().sqrt().item() == pytest.approx(0.3)
    with torch.no_grad():
        own[0].g.uniform_(0.5, 2)
        theirs.parametrizations.weight.original0.copy_(own[0].g.view_as(theirs.parametrizations.weight.original0))
        theirs.parametrizations.weight.original1.copy_(own.original)
    x = torch.randn(INPUTS[kind], dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x))
    theta, g = own.original.detach().numpy(), own[0].g.detach().numpy()
    axis = 1 if kind == "transposed" else 0
    rows = np.moveaxis(theta, axis, 0).reshape(4, -1)
    expected = g[:, None] * rows / np.sqrt((rows**2).sum(1, keepdims=True))
    np.testing.assert_allclose(np.moveaxis(mine.weight.detach().numpy(), axis, 0).reshape(4, -1), expected)
    for layer in (mine, theirs):
        layer(x).square().sum().backward()
    torch.testing.assert_close(own[0].g.grad, theirs.parametrizations.weight.original0.grad.flatten())
    torch.testing.assert_close(own.original.grad, theirs.parametrizations.weight.original1.grad)


def test_the_start_from_data() -> None:
    """Each layer's outputs on that batch have mean 0 and the deviation asked for, found by a plain forward."""
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(5 * 36, 7), nn.ReLU(), nn.Linear(7, 3)
    )
    net.apply(lambda m: weight_norm(m, 0.05) if hasattr(m, "weight") else None)
    x = 3 + torch.randn(50, 2, 8, 8)
    with torch.no_grad(), standardising(net, lambda layer: 0.1 if layer is net[5] else 1.0):
        inside = net(x)
    h = x
    with torch.no_grad():
        for layer in net:
            h = layer(h)
            if hasattr(layer, "weight"):
                flat = h.transpose(0, 1).flatten(1).double()
                np.testing.assert_allclose(flat.mean(1), 0, atol=2e-5)
                np.testing.assert_allclose(flat.std(1, correction=0), 0.1 if layer is net[5] else 1.0, rtol=1e-4)
    torch.testing.assert_close(h, inside)
    torch.testing.assert_close(net(x), h)  # the hooks are gone


def test_in_a_game() -> None:
    """All of D and nothing of G; the heads start at `head_std`; what D said of no one's labels is where it should be."""
    made = recipe(loss="semi_supervised", trick={"weight_norm": {"head_std": 0.1}}, model={"d_norm": "none"})
    game = Game(made)
    d = game.gan.discriminator
    layers = [m for m in d.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert {id(layer) for layer, _ in normalised(d)} == {id(layer) for layer in layers}
    assert not list(normalised(game.gan.generator))
    with torch.no_grad():
        logits: Tensor = d(game.feed.next(1200).images).extra["classes"]
    spread, centre = logits.std(0), logits.mean(0)
    assert (spread - 0.1).abs().max() < 0.02 and centre.abs().max() < 0.03  # 500 others, of the same kind


def test_every_score_of_a_cascade_starts_at_head_std() -> None:
    """Seen on reals drawn apart from those of the start: what is projected out is out before the next score is set."""
    options = {"head_std": 0.1, "samples": 1500}
    game = Game(recipe("hinge", trick={"cascading": {"scores": 3}, "weight_norm": options}, model={"d_norm": "none"}))
    with torch.no_grad():
        scores = game.gan.discriminator(game.feed.next(1700).images).scores
    assert (scores.std(0) - 0.1).abs().max() < 0.01 and scores.mean(0).abs().max() < 0.01


@pytest.mark.parametrize("lengths", ["all", "head"])
def test_what_is_trained(lengths: str) -> None:
    game = Game(recipe(trick={"weight_norm": {"lengths": lengths}}, model={"d_norm": "none"}))
    d = game.gan.discriminator
    before = {name: p.detach().clone() for name, p in d.named_parameters()}
    game.rounds(2)
    moved = {name for name, p in d.named_parameters() if not torch.equal(p, before[name])}
    lengths_of_body = {name for name in before if name.startswith("body") and name.endswith(".g")}
    assert lengths_of_body and (moved & lengths_of_body == (lengths_of_body if lengths == "all" else set()))
    assert {name for name in before if name.endswith("original")} <= moved
    assert any(name.startswith("head") and name.endswith(".g") for name in moved)


def test_without_samples_the_network_is_as_it_was() -> None:
    """The same function, so the same scores; and what the start does not draw, training still has."""
    plain = Game(recipe(model={"d_norm": "none"})).gan.discriminator
    normed = Game(recipe(trick={"weight_norm": {"samples": 0}}, model={"d_norm": "none"})).gan.discriminator
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(plain(x).scores, normed(x).scores)


@pytest.mark.parametrize(
    "tricks",
    [{"conditional_batch_norm": {}, "projection": {}, "cascading": {"scores": 2}}, {"pacgan": {}, "instance_noise": {}},
     {"conditional_batch_norm": {}, "d2d_ce": {}}, {"label_concat": {}, "minibatch_discrimination": {}}],
)  # fmt: skip
def test_the_start_meets_whatever_d_is_shown(tricks: dict) -> None:
    game = Game(
        recipe("hinge", {"gp": {}} if len(tricks) == 3 else {}, {**tricks, "weight_norm": {}}, partners=False)
    ).rounds(1)
    assert game.meter.first_bad() is None


def test_the_start_leaves_statistics_and_a_state_alone() -> None:
    """What batch normalisation saw of it is not kept, and a loaded state is not standardised again."""
    game = Game(recipe(trick={"weight_norm": {}}, model={"d_norm": "batch"}))
    norms = [m for m in game.gan.discriminator.modules() if hasattr(m, "running_mean")]
    assert norms and all(not m.seen and not m.running_mean.any() for m in norms)  # type: ignore[operator, union-attr]
    game.rounds(2)
    fresh = Game(recipe(trick={"weight_norm": {}}, model={"d_norm": "batch"}), seed=4)
    fresh.gan.load_state_dict(game.gan.state_dict())
    assert equal(fresh.state(), game.state())


def test_packs_that_do_not_divide_the_samples_of_the_start() -> None:
    """500 are no whole number of packs of three: so many more are taken."""
    game = Game(
        recipe(trick={"weight_norm": {}, "pacgan": {"size": 3}}, model={"d_norm": "none"}, batch_size=6)
    ).rounds(1)
    assert game.meter.first_bad() is None


def test_the_start_sees_what_d_sees_noise_and_all() -> None:
    """With noise of deviation 3 on every pixel the first layer's outputs still start with deviation 1."""
    noise = {"instance_noise": {"sigma": 3.0, "anneal": 10**9}}
    game = Game(recipe(trick={**noise, "weight_norm": {"samples": 1500}}, model={"d_norm": "none"}))
    first = game.gan.discriminator.body.downs[0]  # type: ignore[union-attr,index]
    layer = next(m for m in first.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        out = layer(game.gan.see(game.feed.next(1500).images))
    assert (out.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"trick\.weight_norm with trick\.spectral_norm.*network=generator"):
        Game(recipe(trick={"weight_norm": {}, "spectral_norm": {}}))
    with pytest.raises(ConfigError, match="clipping it bounds nothing"):
        Game(recipe(trick={"weight_norm": {}}, regularizer={"weight_clip": {}}))
