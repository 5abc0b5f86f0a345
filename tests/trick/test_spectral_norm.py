"""W ← W / σ(W), σ = uᵀ W v by power iteration, against numpy's singular values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gantrick.layers.spectral_norm import SpectralNorm, normalised, spectral_norm

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(7, 5),
    "one output": lambda: nn.Linear(7, 1),
    "conv": lambda: nn.Conv2d(3, 6, 4, 2, 1),
    "transposed": lambda: nn.ConvTranspose2d(3, 6, 4, 2, 1),
    "embedding": lambda: nn.Embedding(10, 4),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)


def matrix(layer: nn.Module, weight: Tensor) -> np.ndarray:
    """(out, in·kh·kw); a transposed convolution keeps its kernel as (in, out, kh, kw)."""
    w = weight.detach().double().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        w = w.transpose(1, 0, 2, 3)
    return np.asarray(w.reshape(len(w), -1))


def largest(layer: nn.Module, weight: Tensor) -> float:
    return float(np.linalg.svd(matrix(layer, weight), compute_uv=False)[0])


def wrapped(kind: str, exact: bool = False) -> tuple[nn.Module, SpectralNorm, nn.Parameter]:
    layer = spectral_norm(LAYERS[kind](), exact=exact)
    ((norm, weight),) = normalised(layer)
    return layer, norm, weight


@each_layer
def test_iterated_long_enough_it_is_the_largest_singular_value(kind: str) -> None:
    layer, norm, weight = wrapped(kind)
    norm.iterate(weight, 2000)
    assert norm.sigma(weight).item() == pytest.approx(largest(layer, weight), rel=1e-5)
    divided: Any = layer.weight
    assert largest(layer, divided) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(divided.detach() * largest(layer, weight), weight.detach(), rtol=1e-5, atol=1e-7)


@each_layer
def test_exact_from_the_first_forward(kind: str) -> None:
    layer, _, weight = wrapped(kind, exact=True)
    with torch.no_grad():
        weight.mul_(3)
    divided: Any = layer.weight
    assert largest(layer, divided) == pytest.approx(1.0, rel=1e-5)


@each_layer
def test_one_iteration(kind: str) -> None:
    """v = Wᵀ u / ‖·‖, u = W v / ‖·‖, σ = uᵀ W v: never above the largest singular value."""
    layer, norm, weight = wrapped(kind)
    w, u = matrix(layer, weight), norm.u.double().numpy()
    assert np.linalg.norm(u) == pytest.approx(1.0, rel=1e-6)
    for _ in range(3):
        v = w.T @ u / np.linalg.norm(w.T @ u)
        u = w @ v / np.linalg.norm(w @ v)
    norm.iterate(weight, 3)
    np.testing.assert_allclose(norm.u, u, atol=1e-5)
    np.testing.assert_allclose(norm.v, v, atol=1e-5)
    assert norm.sigma(weight).item() == pytest.approx(u @ w @ v, rel=1e-5)
    assert norm.sigma(weight).item() <= largest(layer, weight) * (1 + 1e-6)


@each_layer
def test_slope_through_sigma(kind: str) -> None:
    """d/dW of ⟨C, W / (uᵀ W v)⟩ with u and v constants, against central differences of the formula."""
    layer, norm, weight = wrapped(kind)
    layer.double()
    norm.iterate(weight, 2)
    c = torch.randn_like(weight)
    (slope,) = torch.autograd.grad((layer.weight * c).sum(), weight)  # type: ignore[operator, union-attr]
    w, cm, got = (matrix(layer, t) for t in (weight, c, slope))
    u, v = norm.u.numpy(), norm.v.numpy()
    for index in np.ndindex(w.shape):
        ends = []
        for sign in (1, -1):
            moved = w.copy()
            moved[index] += sign * 1e-6
            ends.append((cm * moved).sum() / (u @ moved @ v))
        assert got[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


@each_layer
def test_slope_of_exact(kind: str) -> None:
    """The same through the singular value itself."""
    layer, _, weight = wrapped(kind, exact=True)
    layer.double()
    c = torch.randn_like(weight)
    (slope,) = torch.autograd.grad((layer.weight * c).sum(), weight)  # type: ignore[operator, union-attr]
    w, cm, got = (matrix(layer, t) for t in (weight, c, slope))
    for index in np.ndindex(w.shape):
        ends = []
        for sign in (1, -1):
            moved = w.copy()
            moved[index] += sign * 1e-6
            ends.append((cm * moved).sum() / np.linalg.svd(moved, compute_uv=False)[0])
        assert got[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


# --- in a game -------------------------------------------------------------------------------------------------------

SIXTEEN = {"name": "digits", "size": 16}


def game(network: str = "discriminator", regularizer: Any = None, trick: Any = None, **settings: Any) -> Game:
    tricks = {"spectral_norm": {"network": network}, **(trick or {})}
    return Game(recipe("hinge", regularizer, tricks, {"g_norm": "batch", "d_norm": "layer"}, SIXTEEN, **settings))


def directions(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in network.state_dict().items() if k.endswith((".u", ".v"))}


@pytest.mark.parametrize("network", ["discriminator", "generator", "both"])
def test_which_layers(network: str) -> None:
    """Every kernel and matrix of the networks asked for, the head's included; no norm, and nothing of the other."""
    made = game(network, trick={"cascading": {"scores": 2}})
    for player, net in made.gan.networks.items():
        layers = [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
        asked = network in (player, "both")
        assert len(layers) >= 3 and all(parametrize.is_parametrized(layer, "weight") == asked for layer in layers)
        assert len(normalised(net)) == (len(layers) if asked else 0)
        rest = [m for m in net.modules() if isinstance(getattr(m, "weight", None), nn.Parameter) and m not in layers]
        assert rest, "there are norms, and they are as they were"


@pytest.mark.parametrize("network", ["discriminator", "generator", "both"])
def test_u_and_v_change_once_in_their_own_turn(network: str) -> None:
    """One power iteration on the weights a turn begins with, however many forwards, batches and penalties it has."""
    made = game(network, {"gp": {}, "r1": {}, "ct": {}}, accumulate=3)
    for player in ("discriminator", "generator", "discriminator"):
        before = {p: directions(net) for p, net in made.gan.networks.items()}
        wanted: list[tuple[SpectralNorm, np.ndarray, np.ndarray]] = []
        for norm, weight in normalised(made.gan.networks[player]):
            layer = nn.ConvTranspose2d(1, 1, 1) if norm.transposed else nn.Linear(1, 1)
            w, u = matrix(layer, weight), norm.u.double().numpy()
            v = w.T @ u / np.linalg.norm(w.T @ u)
            wanted.append((norm, w @ v / np.linalg.norm(w @ v), v))
        made.play.turn(player)
        assert (len(wanted) > 0) == (network in (player, "both"))
        for norm, u, v in wanted:
            np.testing.assert_allclose(norm.u, u, atol=1e-5)
            np.testing.assert_allclose(norm.v, v, atol=1e-5)
        other = "generator" if player == "discriminator" else "discriminator"
        assert equal(directions(made.gan.networks[other]), before[other])


def test_iterations() -> None:
    """n of them before a step."""
    made = Game(recipe("hinge", trick={"spectral_norm": {"iterations": 4}}))
    (norm, weight), *_ = normalised(made.gan.discriminator)
    other = copy.deepcopy(norm)
    for _ in range(4):
        other.iterate(weight, 1)
    made.play.turn("discriminator")
    assert torch.equal(norm.u, other.u) and torch.equal(norm.v, other.v)


def test_forwards_evaluations_and_penalties_leave_u_and_v() -> None:
    made = game("both", {"gp": {}, "r1": {}, "r2": {}, "ct": {}})
    before = {p: directions(net) for p, net in made.gan.networks.items()}
    for player in ("discriminator", "generator"):
        made.play.evaluate(player, *made.play.draw(player))
    for mode in (True, False):
        made.gan.discriminator.train(mode)(torch.randn(2, 1, 16, 16))
    made.samples()
    assert all(equal(directions(net), before[p]) for p, net in made.gan.networks.items())


def test_sigma_keeps_up_with_training() -> None:
    """After 50 moves one iteration before each step still knows σ(W) to 2 %, as Miyato et al. count on."""
    made = game("both").rounds(50)
    for net in made.gan.networks.values():
        for norm, weight in normalised(net):
            layer = nn.ConvTranspose2d(1, 1, 1) if norm.transposed else nn.Linear(1, 1)
            assert norm.sigma(weight).item() == pytest.approx(largest(layer, weight), rel=0.02)


def test_state_round_trip_keeps_sigma() -> None:
    one, two = game("both").rounds(3), game("both")
    two.gan.load_state_dict(one.gan.state_dict())
    images = torch.randn(4, 1, 16, 16)
    for player in ("discriminator", "generator"):
        a, b = one.gan.networks[player], two.gan.networks[player]
        assert equal(directions(a), directions(b)) and directions(a)
        assert [n.sigma(w).item() for n, w in normalised(a)] == [n.sigma(w).item() for n, w in normalised(b)]
    assert torch.equal(one.gan.discriminator(images).scores, two.gan.discriminator(images).scores)


def test_a_deep_copy_stands_alone() -> None:
    made = game("both")
    images = torch.randn(4, 1, 16, 16)
    twin = copy.deepcopy(made.gan.discriminator)
    before = made.gan.discriminator(images).scores
    assert torch.equal(twin(images).scores, before)
    for norm, weight in normalised(twin):
        with torch.no_grad():
            weight.normal_()
        norm.iterate(weight, 1)
    assert not torch.equal(twin(images).scores, before)
    assert torch.equal(made.gan.discriminator(images).scores, before)


def test_an_mlp_is_one_lipschitz() -> None:
    """|D(x) − D(y)| ≤ ‖x − y‖ with exact σ: LeakyReLU is 1-Lipschitz and every matrix has norm 1."""
    ring, mlp = {"name": "ring", "samples": 100}, {"name": "mlp", "d_width": 16, "z_size": 4}
    made = Game(recipe("hinge", trick={"spectral_norm": {"exact": True}}, model=mlp, dataset=ring)).rounds(10)
    x, y = torch.randn(2000, 2), torch.randn(2000, 2)
    with torch.no_grad():
        apart = (made.gan.discriminator(x).scores - made.gan.discriminator(y).scores).abs()[:, 0]
    assert (apart <= (x - y).norm(dim=1) * (1 + 1e-5)).all()


def test_batch_statistics_are_avoided_in_the_discriminator_only() -> None:
    """auto takes no batch normalisation in a D that is normalised by σ; who asks for it gets it."""

    def facts(network: str, **model: Any) -> Any:
        return Game(recipe("hinge", trick={"spectral_norm": {"network": network}}, model=model)).gan.assembly.facts

    assert "d.batch_statistics" not in facts("discriminator")
    assert "d.batch_statistics" in facts("generator")
    assert "d.batch_statistics" in facts("discriminator", d_norm="batch")


def test_before_the_first_step_sigma_is_near_already() -> None:
    """Within a tenth of the largest singular value in every layer; of random u and v it would be near nothing."""
    game = Game(recipe(loss="hinge", trick={"spectral_norm": {}}))
    found = normalised(game.gan.discriminator)
    assert len(found) >= 3
    for norm, weight in found:
        matrix = weight.detach().flatten(1).double().numpy()
        assert 0.9 < norm.sigma(weight).item() / np.linalg.svd(matrix, compute_uv=False)[0] < 1.0001
