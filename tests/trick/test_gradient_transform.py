"""Each transform against numpy, the patterns, and what cannot be read."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.gan import preflight
from gantrick.trick.gradient_transform import GradientTransform
from gantrick.types import ConfigError

G = np.array([[3.0, -4.0], [0.5, 0.0]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("clip 1", np.clip(G, -1, 1)),
        ("norm 1.0", G / np.linalg.norm(G)),
        ("norm 100", G),
        ("norm 0", 0 * G),
        ("scale -0.5", -0.5 * G),
        ("zero", 0 * G),
        ("sign", np.sign(G)),
        ("sign 0.1", 0.1 * np.sign(G)),
    ],
)
def test_the_transforms(rule: str, expected: np.ndarray) -> None:
    trick = GradientTransform({"generator.a.*": rule})
    given = {"a.w": torch.tensor(G), "b.w": torch.tensor(G)}
    found = trick.gradients(given, "generator")
    np.testing.assert_allclose(found["a.w"], expected)
    assert torch.equal(found["b.w"], given["b.w"]) and torch.equal(given["a.w"], torch.tensor(G))
    assert torch.equal(trick.gradients(given, "discriminator")["a.w"], given["a.w"])


def test_the_norm_of_all_together_is_torchs() -> None:
    """clip_grad_norm_ of the weights that the pattern names, with no other touched; a norm of nothing stays nothing."""
    torch.manual_seed(0)
    weights = {n: torch.nn.Parameter(torch.zeros(shape)) for n, shape in (("a.w", (3, 4)), ("a.b", (3,)), ("c", (2,)))}
    given = {n: torch.randn(p.shape) for n, p in weights.items()}
    for limit in (0.5, 100.0, 0.0):
        found = GradientTransform({"generator.a.*": f"total {limit}"}).gradients(given, "generator")
        for name, parameter in weights.items():
            parameter.grad = given[name].clone()
        torch.nn.utils.clip_grad_norm_([weights["a.w"], weights["a.b"]], limit)
        for name, parameter in weights.items():
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)
    nothing = {"a.w": torch.zeros(2)}
    assert GradientTransform({"generator.*": "total 1"}).gradients(nothing, "generator")["a.w"].eq(0).all()


def test_both_players_and_a_pattern_that_names_nothing() -> None:
    """SGD's moves with every gradient of a player set to zero."""
    for player, other in (("generator", "discriminator"), ("discriminator", "generator")):
        game = Game(recipe(trick={"gradient_transform": {"rules": {f"{player}.*": "zero"}}}))
        before = {p: [w.detach().clone() for w in game.gan.networks[p].parameters()] for p in (player, other)}
        game.rounds(1)
        now = {p: list(game.gan.networks[p].parameters()) for p in (player, other)}
        assert all(torch.equal(a, b) for a, b in zip(before[player], now[player], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(before[other], now[other], strict=True))
    with pytest.raises(ConfigError, match=r"trick\.gradient_transform\.rules: no parameter.*'generator\.bodi\.\*'"):
        preflight(recipe(trick={"gradient_transform": {"rules": {"generator.bodi.*": "zero"}}}))


@pytest.mark.parametrize("rule", ["clip -1", "norm -1", "total -0.5", "noise -1"])
def test_a_limit_below_zero_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"is at least 0, not -"):
        GradientTransform({"generator.*": rule})


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    found = GradientTransform({"generator.*": "noise 0.3"}).gradients({"w": torch.zeros(40_000)}, "generator")["w"]
    assert float(found.std()) == pytest.approx(0.3, rel=0.02) and abs(float(found.mean())) < 0.01


def test_rules_act_one_after_another() -> None:
    trick = GradientTransform({"generator.*": "clip 1", "generator.a*": "scale 10"})
    assert trick.gradients({"a": torch.tensor([5.0])}, "generator")["a"].item() == 10


@pytest.mark.parametrize(
    "rules",
    [
        {"generator.*": "clipp 1"},
        {"generator.*": "clip"},
        {"body.*": "zero"},
        {"generator.*": "scale x"},
        {"generator.*": "clip nan"},
        {"generator.*": "scale inf"},
    ],
)
def test_what_cannot_be_read_is_refused(rules: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read; give generator"):
        GradientTransform(rules)
