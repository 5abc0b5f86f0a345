"""Each transform against numpy, the patterns, and what cannot be read."""

import numpy as np
import pytest
import torch

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


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    found = GradientTransform({"generator.*": "noise 0.3"}).gradients({"w": torch.zeros(40_000)}, "generator")["w"]
    assert float(found.std()) == pytest.approx(0.3, rel=0.02) and abs(float(found.mean())) < 0.01


def test_rules_act_one_after_another() -> None:
    trick = GradientTransform({"generator.*": "clip 1", "generator.a*": "scale 10"})
    assert trick.gradients({"a": torch.tensor([5.0])}, "generator")["a"].item() == 10


@pytest.mark.parametrize(
    "rules", [{"generator.*": "clipp 1"}, {"generator.*": "clip"}, {"body.*": "zero"}, {"generator.*": "scale x"}]
)
def test_what_cannot_be_read_is_refused(rules: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read; give generator"):
        GradientTransform(rules)
