"""D: E[−Δ + λ₁ Δ² / d − λ₂ ρ]; G: E[−f − λ₂ ρ]; D's score is minus the mean of its code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.loss.o_gan import OGan
from gantrick.types import Batch, ConfigError, DiscriminatorOutput, Judged, Latents, Targets

MODEL = {"init": "default", "d_norm": "none"}


def judged(code: Any, images: Any, z: Any = None) -> Judged:
    output = DiscriminatorOutput(-code.mean(1, keepdim=True), code, {"code": code})
    return Judged(Batch(images), images, output, None if z is None else Latents(z))


def by_hand(
    e_x: np.ndarray, e_g: np.ndarray, x: np.ndarray, g: np.ndarray, z: np.ndarray, one: float, two: float
) -> tuple[float, float]:
    """The published losses, where the real is low: m_x − m_g + λ₁ (m_x − m_g)² / d − λ₂ ρ, and m_g − λ₂ ρ."""
    d_total, g_total = 0.0, 0.0
    for b in range(len(x)):
        m_x, m_g = e_x[b].mean(), e_g[b].mean()
        rho = np.corrcoef(z[b], e_g[b])[0, 1]
        d_total += m_x - m_g + one * (m_x - m_g) ** 2 / ((x[b] - g[b]) ** 2).mean() - two * rho
        g_total += m_g - two * rho
    return d_total / len(x), g_total / len(x)


@pytest.mark.parametrize(("one", "two"), [(0.25, 0.5), (2.0, 1.0), (0.25, 0.0)])
def test_against_the_published_signs(one: float, two: float) -> None:
    rng = np.random.default_rng(1)
    e_x, e_g, z = (rng.normal(size=(6, 5)) for _ in range(3))
    x, g = rng.normal(size=(6, 2, 3)), rng.normal(size=(6, 2, 3))
    real = judged(torch.tensor(e_x), torch.tensor(x))
    fake = judged(torch.tensor(e_g), torch.tensor(g), torch.tensor(z))
    loss, ones = OGan(one, two), torch.ones(1, dtype=torch.float64)
    wanted = by_hand(e_x, e_g, x, g, z, one, two)
    got = [
        sum(s.means(ones).values()) for s in (loss.d_loss(real, fake, Targets()), loss.g_loss(None, fake, Targets()))
    ]
    assert [float(v) for v in got] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("trick", [{}, {"spectral_norm": {}}, {"minibatch_discrimination": {"kernels": 3}}])
@pytest.mark.parametrize("model", [{}, {"name": "mlp", "d_width": 8, "z_size": 5}])
def test_in_a_game(model: dict[str, Any], trick: dict[str, Any]) -> None:
    """D has a code as large as z, once among its parameters; score, code and terms belong together."""
    game = Game(recipe("o_gan", trick=trick, model={**MODEL, **model})).rounds(2)
    size, d = game.gan.spec.z_size, game.gan.discriminator
    assert [p.shape[0] for n, p in d.named_parameters() if n.endswith("code.bias")] == [size]
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None and record.fake.latents is not None
    codes = [j.output.extra["code"].detach() for j in (record.real, record.fake)]
    for code, side in zip(codes, (record.real, record.fake), strict=True):
        assert code.shape == (6, size)
        torch.testing.assert_close(side.scores[:, 0], -code.mean(1))
    x, g, z = (v.detach().double().numpy() for v in (record.real.images, record.fake.images, record.fake.latents.z))
    wanted, _ = by_hand(*(c.double().numpy() for c in codes), x, g, z, 0.25, 0.5)
    assert sum(v.item() for v in record.terms.values()) == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    assert set(record.terms) == {"loss/g_fake", "loss/g_code"}


def test_the_correlation_is_that_of_the_z_that_made_the_fake() -> None:
    """With only ρ to play for, both turns raise it: after some steps E(G(z)) resembles z, and not another's z."""
    model = {"name": "mlp", "d_width": 32, "g_width": 32, "z_size": 4, "d_norm": "none"}
    game = Game(recipe("o_gan", model=model)).rounds(0)
    loss: Any = game.gan.stages["d_loss"][0]
    loss.square_weight, loss.code_weight = 0.0, 50.0
    game.rounds(150)
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    assert record.fake.latents is not None
    code, z = record.fake.output.extra["code"].detach().numpy(), record.fake.latents.z.numpy()
    own = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(code, z, strict=True)])
    other = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(code, np.roll(z, 1, 0), strict=True)])
    assert own > 0.6 > other


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"o_gan: needs latents of 3 dimensions or more, not 2; set model\.z_size"):
        Game(recipe("o_gan", model={"z_size": 2}))
    with pytest.raises(ConfigError, match=r"o_gan with trick\.pacgan: a code belongs to the latents of one sample"):
        Game(recipe("o_gan", trick={"pacgan": {}}))
    with pytest.raises(ConfigError, match=r"both hold d\.head"):
        Game(recipe("o_gan", trick={"cascading": {}}))


def test_the_distance_is_a_constant() -> None:
    """Where latents were moved by D (latent_optimization), fakes have a graph in D's turn too: d takes no gradient."""
    x, g, codes = torch.randn(4, 6), torch.randn(4, 6, requires_grad=True), torch.randn(2, 4, 5)
    real, fake = judged(codes[0], x), judged(codes[1].requires_grad_(True), g, torch.randn(4, 5))
    total = sum(OGan().d_loss(real, fake, Targets()).means(torch.ones(1)).values())
    assert torch.autograd.grad(total, [g], allow_unused=True, retain_graph=True) == (None,)
