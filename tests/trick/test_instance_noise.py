"""x + σ_t ε for everything that D sees, in both turns; σ_t falls linearly to 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playing import Game, recipe
from scipy import stats

from gantrick.trick.instance_noise import InstanceNoise

SMOOTH = {"d_norm": "none"}


@pytest.mark.parametrize("shape", [(50, 2), (50, 3, 8, 8)])
def test_distribution(shape: tuple[int, ...]) -> None:
    """N(0, σ²): mean and variance of 200 batches within 4.9 standard errors, Kolmogorov–Smirnov at 1e-6.

    The three false alarms together are below 4e-6; the seed is fixed.
    """
    trick, images = InstanceNoise(sigma=0.3), 2 * torch.rand(shape) - 1
    noise = torch.stack([trick.disturb(images) - images for _ in range(200)]).double().numpy().ravel()
    assert abs(noise.mean()) < 4.9 * 0.3 / np.sqrt(noise.size)
    assert abs(noise.var() / 0.09 - 1) < 4.9 * np.sqrt(2 / noise.size)
    assert stats.kstest(noise[:20_000] / 0.3, "norm").pvalue > 1e-6


def test_every_pixel_has_its_own() -> None:
    """No correlation between pixels, channels or samples: 4.9 / √n each of three, false alarm 3e-6."""
    images = torch.zeros(500, 2, 8, 8)
    noise = InstanceNoise(sigma=1.0).disturb(images).numpy()
    for a, b in ((noise[:, 0], noise[:, 1]), (noise[..., :-1], noise[..., 1:]), (noise[:-1], noise[1:])):
        assert abs((a * b).mean()) < 4.9 / np.sqrt(a.size)


@pytest.mark.parametrize(
    ("anneal", "step", "share"),
    [
        (1000, 0, 1.0),
        (1000, 500, 0.5),
        (1000, 750, 0.25),
        (1000, 1000, 0.0),
        (1000, 5000, 0.0),
        (0, 0, 1.0),
        (0, 10**6, 1.0),
    ],
)
def test_annealing(anneal: int, step: int, share: float) -> None:
    trick = InstanceNoise(sigma=0.2, anneal=anneal)
    trick.schedule(step)
    zero = torch.zeros(4, 2)
    torch.manual_seed(1)
    unit = torch.randn(4, 2)
    torch.manual_seed(1)
    np.testing.assert_allclose(trick.disturb(zero), 0.2 * share * unit, rtol=1e-6)


def test_both_turns_real_and_fake_with_fresh_draws() -> None:
    """What D saw less what was drawn is noise of σ = 0.5, never the same twice.

    Standard deviations of 6·64 numbers within 4.9/√(2·384) = 18 %: false alarm 3 · 1e-6.
    """
    game = Game(recipe(trick={"instance_noise": {"sigma": 0.5, "anneal": 0}}, model=SMOOTH))
    d = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    g = game.play.evaluate("generator", *game.play.draw("generator"))
    assert d.real is not None
    noises = [(j.seen - j.images).detach() for j in (d.real, d.fake, g.fake)]
    for i, noise in enumerate(noises):
        assert noise.std().item() == pytest.approx(0.5, rel=0.18)
        assert not any(torch.equal(noise, other) for other in noises[:i])


def test_d_judges_what_it_saw_and_g_feels_it() -> None:
    """The scores are D's of the noisy images, and G's gradient runs through the sum."""
    game = Game(recipe(trick={"instance_noise": {"sigma": 0.5}}, model=SMOOTH))
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    torch.testing.assert_close(game.gan.discriminator(record.fake.seen).scores, record.fake.scores)
    assert all(gradient.abs().sum() > 0 for gradient in record.gradients.values())


def test_a_round_takes_the_level_of_its_step() -> None:
    game = Game(recipe(trick={"instance_noise": {"sigma": 0.4, "anneal": 4}}))
    trick = game.gan.stages["disturb"][0]
    levels = []
    game.play.observe = lambda record, norm: levels.append(round(trick.level.item(), 6))
    game.rounds(6)
    assert levels == [0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0]
