"""h ← h + σ ε inside D, where dropout has its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from playing import Game, recipe
from torch import Tensor, nn

from gantrick.layers.noise import Noise

SNGAN = {"name": "sngan_resnet", "g_width": 4, "d_width": 4}


def added(game: Game, images: Tensor) -> list[Tensor]:
    """What each of D's noise layers adds in a pass over `images`."""
    found: list[Tensor] = []
    layers = [m for m in game.gan.discriminator.modules() if isinstance(m, Noise)]
    handles = [m.register_forward_hook(lambda m, i, o: found.append((o - i[0]).detach())) for m in layers]
    game.gan.discriminator(images)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(("model", "places"), [({}, 2), ({"name": "mlp", "d_width": 16}, 3), (SNGAN, 3)])
def test_how_much_and_where(model: dict[str, Any], places: int) -> None:
    """N(0, σ²) per element: each deviation within 5 σ, 5/√(2·n) of n elements: false alarm 6e-7 each; fresh each pass."""
    game = Game(recipe("hinge", trick={"layer_noise": {"sigma": 0.5}}, model={**model, "d_norm": "none"}))
    images = torch.randn(400, 1, 8, 8)
    one, other = added(game, images), added(game, images)
    assert len(one) == places
    for noise, again in zip(one, other, strict=True):
        assert noise.std().item() == pytest.approx(0.5, rel=5 / (2 * noise.numel()) ** 0.5)
        assert abs(noise.mean().item()) < 5 * 0.5 / noise.numel() ** 0.5
        assert not torch.equal(noise, again)


def test_none_when_judging_for_figures() -> None:
    d = Game(recipe("hinge", trick={"layer_noise": {}})).gan.discriminator.eval()
    images = torch.randn(6, 1, 8, 8)
    assert torch.equal(d(images).scores, d(images).scores)


@pytest.mark.parametrize("order", [("ct", "layer_noise"), ("layer_noise", "ct")])
def test_with_the_dropout_of_others(order: tuple[str, str]) -> None:
    """Of regularizer.ct or the model's own: the mask comes first, whatever the order."""
    for model in ({}, {"d_dropout": 0.2}):
        game = Game(recipe("wgan", {"ct": {}}, {"layer_noise": {}}, {**model, "d_norm": "none"}))
        kinds = (nn.Dropout, Noise)
        places = [
            [type(m) for m in place.modules() if isinstance(m, kinds)] for place in game.gan.discriminator.body.dropouts
        ]
        assert len(places) == 2
        assert all(issubclass(first, nn.Dropout) and second is Noise for first, second in places)
        assert [m.p for m in game.gan.discriminator.modules() if isinstance(m, nn.Dropout)] == [
            model.get("d_dropout", 0.5)
        ] * 2


@pytest.mark.parametrize("order", [("label_concat", "layer_noise"), ("layer_noise", "label_concat")])
def test_noise_on_the_input(order: tuple[str, str]) -> None:
    """N(0, σ₀²) on images alone, not on the labels beside them, whatever the order; anew in each pass; the same 5 σ."""
    tricks = {name: {"sigma": 0.1, "input_sigma": 0.6} if name == "layer_noise" else {} for name in order}
    game = Game(recipe("hinge", trick=tricks, model={"d_norm": "none"}))
    d, images, labels = game.gan.discriminator, torch.randn(400, 1, 8, 8), torch.zeros(400, dtype=torch.long)
    shown: list[Tensor] = []
    d.body.register_forward_pre_hook(lambda m, inputs: shown.append(inputs[0].detach()))
    for _ in range(2):
        d(images, labels)
    noise, other = (s[:, :1] - images for s in shown)
    assert noise.std().item() == pytest.approx(0.6, rel=5 / (2 * noise.numel()) ** 0.5)
    assert not torch.equal(noise, other) and torch.equal(shown[0][:, 1:], shown[1][:, 1:])
    d.eval()
    d(images, labels)
    assert torch.equal(shown[2][:, :1], images)
