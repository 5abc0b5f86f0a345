"""D's head sees [f, o], o_ib = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁) + β_b."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import nn

from gantrick.gan import preflight
from gantrick.layers.minibatch import L1Distances, Similarities
from gantrick.types import ConfigError


def layer(kernels: int = 3, dims: int = 2, features: int = 4) -> Similarities:
    made = Similarities(nn.Flatten(), kernels, dims)
    made(torch.zeros(2, features))
    with torch.no_grad():
        made.log_scale.normal_()
        made.bias.normal_()
    return made


def by_hand(f: np.ndarray, made: Similarities) -> np.ndarray:
    theta = made.theta.detach().double().numpy()  # type: ignore[union-attr]
    scale, bias = made.log_scale.detach().double().numpy(), made.bias.detach().double().numpy()
    columns = theta / np.sqrt((theta**2).sum(0)) * np.exp(scale)
    m = (f @ columns).reshape(len(f), made.kernels, made.dims)
    o = np.zeros((len(f), made.kernels))
    for i in range(len(f)):
        for b in range(made.kernels):
            o[i, b] = bias[b]
            for j in range(len(f)):
                if j != i:
                    o[i, b] += np.exp(-sum(abs(m[i, b, c] - m[j, b, c]) for c in range(made.dims)))
    return np.concatenate([f, o], 1)


@pytest.mark.parametrize(("kernels", "dims"), [(3, 2), (1, 1), (5, 4)])
def test_against_a_loop(kernels: int, dims: int) -> None:
    made = layer(kernels, dims)
    f = torch.randn(6, 4)
    np.testing.assert_allclose(made(f).detach(), by_hand(f.double().numpy(), made), rtol=1e-4, atol=1e-5)


def test_distances_and_their_derivatives() -> None:
    """Of two lots, against torch's cdist and finite differences of the first and of the second order."""
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    expected = torch.cdist(x.permute(1, 2, 0), y.permute(1, 2, 0), p=1)
    torch.testing.assert_close(L1Distances.apply(x, y), expected)
    assert torch.autograd.gradcheck(L1Distances.apply, (x, y))
    assert torch.autograd.gradgradcheck(lambda a, b: torch.exp(-L1Distances.apply(a, b)), (x, y))


def test_equal_samples() -> None:
    """o = B − 1 + β, and one sample alone has o = β."""
    made = layer()
    for count in (1, 7):
        o = made(torch.randn(1, 4).expand(count, 4))[:, 4:]
        np.testing.assert_allclose(o.detach(), (count - 1 + made.bias).detach().expand(count, 3), rtol=1e-5, atol=1e-6)


def test_first_values() -> None:
    """β = −1, s = 0, T ~ N(0, 0.05²): of 64000 entries the deviation is within 5 σ = 1.4 %, false alarm 6e-7."""
    made = Similarities(nn.Flatten(), 100, 5)
    assert made(torch.zeros(2, 128)).shape == (2, 228)
    assert made.theta is not None and made.theta.shape == (128, 500)
    assert made.theta.std().item() == pytest.approx(0.05, rel=0.014)
    assert (made.bias == -1).all() and (made.log_scale == 0).all()


@pytest.mark.parametrize(
    "model", [{}, {"name": "mlp", "d_width": 8}, {"name": "sngan_resnet", "d_width": 4, "g_width": 4}]
)
def test_in_a_game(model: dict[str, Any]) -> None:
    """Reals and fakes are judged apart; what D's head sees is [f, o] of each; T learns."""
    game = Game(
        recipe(
            "hinge", trick={"minibatch_discrimination": {"kernels": 3, "dims": 2}}, model={**model, "d_norm": "none"}
        )
    )
    d: Any = game.gan.discriminator
    theta = d.body.tail.theta.clone()
    assert d.head.in_features == d.body.features
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    for judged in (record.real, record.fake):
        assert judged is not None
        features = judged.output.features.detach().double().numpy()
        np.testing.assert_allclose(features, by_hand(features[:, :-3], d.body.tail), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(d(judged.seen).scores, judged.scores)
    game.rounds(1)
    assert not torch.equal(theta, d.body.tail.theta)


def test_under_other_heads_and_norms() -> None:
    tricks = {"minibatch_discrimination": {"kernels": 3}, "cascading": {"scores": 3}, "spectral_norm": {}}
    game = Game(recipe("hinge", trick=tricks)).rounds(2)
    assert game.gan.discriminator.head.directions[0].in_features == game.gan.discriminator.body.features


def test_batches_of_other_sizes_are_refused() -> None:
    """Its sums grow with the batch: fakes of G's turn would be nothing that D has seen."""
    made = {"trick": {"minibatch_discrimination": {}}, "batch_size": 8}
    with pytest.raises(ConfigError, match=r"G's are of 16 where D's are of 8; set generator_batch_size=null"):
        preflight(recipe("hinge", generator_batch_size=16, **made))
    preflight(recipe("hinge", generator_batch_size=8, **made))
    with pytest.raises(
        ConfigError, match=r"batch_size: trick\.minibatch_discrimination compares the samples of a batch"
    ):
        preflight(recipe("hinge", trick=made["trick"], batch_size=1))
