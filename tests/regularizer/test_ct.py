"""E_b max(0, λ₂ (D(x′) − D(x″))² + 0.1 λ₂ mean_j (D_(x′)_j − D_(x″)_j)² − M′), and dropout where it belongs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from judging import F64, Array, judged, penalty_inputs, weighted
from playing import Game, recipe
from torch import Tensor, nn

import gantrick
from gantrick.gan import warnings
from gantrick.regularizer.ct import Ct
from gantrick.types import CLASSES, Batch, ConfigError, DiscriminatorOutput, Judged

SNGAN = {"name": "sngan_resnet", "g_width": 4, "d_width": 4}


def dropouts(network: nn.Module) -> dict[str, nn.Dropout]:
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Dropout)}


def by_hand(
    s1: Array, s2: Array, f1: Array, f2: Array, weights: Array, scale: float, share: float, margin: float
) -> float:
    total = 0.0
    for b in range(len(s1)):
        d = sum(weights[k] * (s1[b, k] - s2[b, k]) ** 2 for k in range(len(weights)))
        d_ = sum((f1[b, j] - f2[b, j]) ** 2 for j in range(f1.shape[1])) / f1.shape[1]
        total += max(0.0, scale * d + share * scale * d_ - margin)
    return total / len(s1)


@pytest.mark.parametrize("scores", [1, 4])
@pytest.mark.parametrize(
    ("scale", "share", "margin"), [(2.0, 0.1, 0.0), (2.0, 0.1, 0.2), (0.7, 0.5, 3.0), (2.0, 0.0, 0.0)]
)
def test_two_passes_by_hand(scores: int, scale: float, share: float, margin: float) -> None:
    """Two outputs of the same reals under fixed masks: a hidden layer of 6 units, half of them dropped in each pass."""
    rng = np.random.default_rng(1)
    x, w, u = rng.normal(size=(7, 3)), rng.normal(size=(3, 6)), rng.normal(size=(6, scores))
    masks = [2.0 * (rng.uniform(size=(7, 6)) < 0.5) for _ in range(2)]
    features = [np.tanh(x @ w) * mask for mask in masks]
    outputs = [DiscriminatorOutput(torch.tensor(f @ u), torch.tensor(f)) for f in features]
    real = judged(outputs[0].scores, torch.tensor(x), outputs[0].features)
    weights = weighted(scores)
    inputs, calls = penalty_inputs(lambda images: outputs[1], real, torch.zeros(7, 3), weights)
    component = Ct(weight=scale, feature_weight=share, margin=margin)
    got = component.weight * component.d_penalty(inputs).item()
    wanted = by_hand(features[0] @ u, features[1] @ u, *features, weights, scale, share, margin)
    assert got == pytest.approx(wanted, rel=1e-12) and wanted > 0
    assert len(calls.images) == 1, "the pass of the adversarial loss is the first of the two"
    assert torch.equal(calls.images[0], torch.tensor(x)) and calls.raw == [False]


def test_both_passes_are_pulled() -> None:
    """d/ds′ = 2 λ₂ (s′ − s″) / B where the sum is above the margin, its negative in s″, and 0 below."""
    first = torch.tensor([[1.0], [0.1]], dtype=F64, requires_grad=True)
    second = torch.tensor([[0.0], [0.0]], dtype=F64, requires_grad=True)
    flat = torch.zeros(2, 3, dtype=F64)
    real = judged(first, torch.zeros(2, 3), flat)
    inputs, _ = penalty_inputs(lambda images: DiscriminatorOutput(second, flat), real, torch.zeros(2, 3))
    component = Ct(margin=0.5)
    a, b = torch.autograd.grad(component.weight * component.d_penalty(inputs), [first, second])
    assert a.tolist() == [[2.0], [0.0]] and b.tolist() == [[-2.0], [0.0]]


def test_without_dropout_it_is_nothing_and_that_is_told() -> None:
    """p = 0: both passes agree, so max(0, −M′) = 0."""
    game = Game(recipe("wgan", {"ct": {"dropout": 0.0}}))
    [told] = [text for text in warnings(game.gan.assembly) if "regularizer.ct" in text]
    assert "the term is 0; set regularizer.ct.dropout=auto" in told
    others: list[dict] = [{"trick": {"layer_noise": {}}}, {"model": {"d_dropout": 0.3}}]
    for other in others:
        there = Game(recipe("wgan", {"ct": {"dropout": 0.0}}, **other)).gan.assembly
        assert not any("regularizer.ct" in text for text in warnings(there))
    assert [layer.p for layer in dropouts(game.gan.discriminator).values()] == [0.0, 0.0]
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.terms["penalty/ct"].item() == pytest.approx(0.0, abs=1e-12)


def test_interval_and_strength() -> None:
    """λ₂ and the interval multiply the term, whose margin is M′/λ₂; between, it counts 0; λ₂ = 0 asks for no pass."""
    game = Game(recipe("wgan", {"ct": {"weight": 5.0, "interval": 3}}))
    stages = game.gan.stages
    assert [[f for _, f, _ in stages.penalties("discriminator", step)] for step in range(4)] == [
        [15.0],
        [0.0],
        [0.0],
        [15.0],
    ]
    off = Game(recipe("wgan", {"ct": {"weight": 0.0}})).gan.stages
    assert list(off.penalties("discriminator", 0)) == []


@pytest.mark.parametrize(
    ("model", "size", "rates"),
    [
        ({}, 8, [0.5, 0.5]),
        ({}, 32, [0.5, 0.5, 0.5]),
        (SNGAN, 32, [0.2, 0.5, 0.5]),
    ],
)
def test_dropout_at_the_architectures_places(model: dict[str, Any], size: int, rates: list[float]) -> None:
    """DCGAN: ½ after the LeakyReLU of every convolution; ResNet: .2, .5, .5 after blocks 2, 3 and 4. None in G."""
    data = {"name": "digits", "size": size}
    game = Game(recipe("wgan", {"ct": {}}, model=model, dataset=data))
    assert [layer.p for layer in dropouts(game.gan.discriminator).values()] == rates
    assert dropouts(game.gan.generator) == {}
    assert dropouts(Game(recipe("wgan", model=model, dataset=data)).gan.discriminator) == {}
    one = Game(recipe("wgan", {"ct": {"dropout": 0.3}}, model=model, dataset=data))
    assert [layer.p for layer in dropouts(one.gan.discriminator).values()] == [0.3] * len(rates)
    own = Game(recipe("wgan", {"ct": {}}, model={**model, "d_dropout": 0.1}, dataset=data))
    assert [layer.p for layer in dropouts(own.gan.discriminator).values()] == [0.1] * len(rates)


@pytest.mark.parametrize("model", [{}, SNGAN])
def test_what_dropout_acts_on(model: dict[str, Any]) -> None:
    """Its input: in DCGAN LeakyReLU(0.2) of the convolution, in the ResNet the output of the block before."""
    data = {"name": "digits", "size": 32}
    game = Game(recipe("wgan", {"ct": {}}, model=model, dataset=data))
    body = game.gan.discriminator.body
    producers = list(body.downs if not model else body.blocks)[-len(body.dropouts) :]
    places = list(body.dropouts)[-len(producers) :]
    made: dict[int, Tensor] = {}
    taken: dict[int, Tensor] = {}
    for i, (producer, place) in enumerate(zip(producers, places, strict=True)):
        producer.register_forward_hook(lambda m, a, out, i=i: made.__setitem__(i, out.detach()))
        place.register_forward_pre_hook(lambda m, args, i=i: taken.__setitem__(i, args[0].detach()))
    game.gan.discriminator(torch.randn(2, 1, 32, 32))
    assert len(taken) == (3 if not model else 4)
    for i, h in made.items():
        assert torch.equal(taken[i], h if model else torch.where(h > 0, h, 0.2 * h))


@pytest.mark.parametrize("model", [{}, SNGAN])
def test_dropout_is_active_in_every_pass(model: dict[str, Any]) -> None:
    """A round: D's turn has the pass of reals and fakes, the second pass of CT and the one of GP; G's turn has one."""
    game = Game(recipe("wgan", {"gp": {}, "ct": {}}, model=model, dataset={"name": "digits", "size": 32}))
    layers = dropouts(game.gan.discriminator)
    passes: dict[str, list[tuple[bool, int, float]]] = {name: [] for name in layers}

    def watch(name: str) -> Any:
        def hook(layer: nn.Dropout, args: tuple[Tensor], out: Tensor) -> None:
            live = args[0] != 0
            passes[name].append((layer.training, len(out), (out[live] == 0).float().mean().item()))

        return hook

    for name, layer in layers.items():
        layer.register_forward_hook(watch(name))
    game.rounds(1)
    for name, found in passes.items():
        assert [training for training, _, _ in found] == [True] * 4
        assert sorted(size for _, size, _ in found[:3]) == [6, 6, 12] and found[3][1] == 6
        # at least 6·16 units: a share of 0 has probability at most 0.8⁹⁶ = 5e-10
        assert all(share > 0 for _, _, share in found), name


def test_the_two_passes_have_masks_of_their_own() -> None:
    game = Game(recipe("wgan", {"ct": {}}, dataset={"name": "digits", "size": 32}))
    masks: list[Tensor] = []
    first = next(iter(dropouts(game.gan.discriminator).values()))
    first.register_forward_hook(lambda layer, args, out: masks.append(out.ne(0)[:6]))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    joined, second = masks
    assert joined.shape == second.shape and not torch.equal(joined, second)
    assert record.terms["penalty/ct"] > 0


def test_by_hand_in_a_game() -> None:
    """The term of a real D turn from the two outputs that D gave, which a hook wrote down."""
    cascade = {"cascading": {"scores": 3, "weights": "geometric"}}
    game = Game(recipe("wgan", {"ct": {"margin": 0.001}}, cascade, model={"init": "orthogonal"}))
    said: list[DiscriminatorOutput] = []
    game.gan.discriminator.register_forward_hook(lambda d, args, out: said.append(out))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    a, b = ((out.scores[:6].detach().double().numpy(), out.features[:6].detach().double().numpy()) for out in said)
    wanted = by_hand(a[0], b[0], a[1], b[1], np.array([4, 2, 1]) / 7, 2.0, 0.1, 0.001)
    assert record.terms["penalty/ct"].item() == pytest.approx(wanted, rel=1e-4) and wanted > 0


def test_noise_instead_of_dropout() -> None:
    """x′ = x + σ ε′ and x″ = x + σ ε″: no dropout is built, both passes are new ones, ε ~ N(0, 1).

    Mean and variance of 2 · 60 000 numbers within 4.9 standard errors: false alarm 4e-6, seed fixed.
    """
    rng = np.random.default_rng(1)
    game = Game(recipe("wgan", {"ct": {"perturb": "noise"}}))
    assert dropouts(game.gan.discriminator) == {}
    x, a = torch.tensor(rng.normal(size=(20_000, 3))), torch.tensor(rng.normal(size=(3, 2)))
    weights = weighted(2)
    inputs, calls = penalty_inputs(
        lambda images: DiscriminatorOutput(images @ a, images), x, torch.zeros(4, 3), weights
    )
    component = Ct(perturb="noise", sigma=0.3, margin=0.05)
    got = component.weight * component.d_penalty(inputs).item()
    one, two = ((seen - x).numpy() / 0.3 for seen in calls.images)
    noise = np.concatenate([one, two])
    assert abs(noise.mean()) < 4.9 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 4.9 * np.sqrt(2 / noise.size)
    assert abs((one * two).mean()) < 4.9 / np.sqrt(one.size)
    f1, f2 = (seen.numpy() for seen in calls.images)
    assert got == pytest.approx(by_hand(f1 @ a.numpy(), f2 @ a.numpy(), f1, f2, weights, 2.0, 0.1, 0.05), rel=1e-10)


@pytest.mark.parametrize(("scale", "share", "margin"), [(0.5, 0.1, 0.0), (0.05, 0.0, 0.0), (1.0, 0.1, 0.02)])
def test_classes_in_numpy(scale: float, share: float, margin: float) -> None:
    """E max(0, λ (mean_k Δsoftmax² + share · mean_j ΔD_²) − M′), whatever the scores."""
    rng = np.random.default_rng(2)
    logits, features = rng.normal(size=(2, 7, 5)), rng.normal(size=(2, 7, 3))
    scores = torch.zeros(7, 1, dtype=F64)
    first, second = (
        DiscriminatorOutput(scores + i, torch.tensor(features[i]), {CLASSES: torch.tensor(logits[i])}) for i in (0, 1)
    )
    real = Judged(Batch(torch.zeros(7, 2)), torch.zeros(7, 2), first)
    inputs, _ = penalty_inputs(lambda images: second, real, torch.zeros(7, 2))
    component = Ct(weight=scale, feature_weight=share, margin=margin, compare="classes")
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    apart = ((p[0] - p[1]) ** 2).mean(1) + share * ((features[0] - features[1]) ** 2).mean(1)
    wanted = np.maximum(0, scale * apart - margin).mean()
    assert scale * component.d_penalty(inputs).item() == pytest.approx(wanted, rel=1e-12) and wanted > 0


def test_classes_need_a_d_that_tells_them() -> None:
    with pytest.raises(
        ConfigError, match=r"regularizer\.ct: needs that D tells the classes .*choose loss=semi_supervised"
    ):
        Game(recipe("wgan", {"ct": {"compare": "classes"}}))
    game = Game(recipe("semi_supervised", {"ct": {"compare": "classes", "dropout": 0.0}}, {"layer_noise": {}}))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.terms["penalty/ct"].item() > 1e-8, "noise in the layers is what differs"


@pytest.mark.parametrize("name", ["wgan_ct_cifar10", "wgan_ct_acgan_cifar10"])
def test_the_residual_experiments_average_over_positions(name: str) -> None:
    """As the official code's D does, from which the weights 2 and 0.1 come: the term depends on the features' scale."""
    made = gantrick.compose([f"experiment={name}"]).resolved
    assert (made["model"]["pool"], made["model"]["g_width"], made["model"]["d_width"]) == ("mean", 128, None)
    ct = made["regularizer"]["ct"]
    assert (ct["weight"], ct["feature_weight"], ct["margin"], ct["dropout"]) == (2, 0.1, 0, "auto")
