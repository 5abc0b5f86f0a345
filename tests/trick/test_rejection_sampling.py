"""Rejection sampling between normals whose ratio of densities is known, and against MH-GAN's way of writing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe
from scipy import integrate, special, stats
from torch import nn

from gantrick import sampling
from gantrick.evaluation import Judging
from gantrick.gan import bring_together
from gantrick.layers.logistic import log_odds
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.trick.rejection_sampling import RejectionSampling
from gantrick.types import Batch, ConfigError, DiscriminatorOutput, GantrickError

WIDE = 1.5  # standard deviation of the fakes, in each direction; the reals' is 1


class Weights(nn.Module):
    score_weights = torch.tensor([1.0])


def normals(sigma: float, dimensions: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    source = torch.Generator().manual_seed(seed)

    def batches(count: int) -> Iterator[Batch]:
        for part in torch.randn(count, dimensions, generator=source).split(1000):
            yield Batch(sigma * part)

    return batches


def log_ratio(x: torch.Tensor) -> torch.Tensor:
    """log N(x; 0, 1) − log N(x; 0, WIDE²) in so many dimensions."""
    return x.shape[1] * np.log(WIDE) - 0.5 * (1 - WIDE**-2) * x.square().sum(1)


def ideal(x: torch.Tensor, labels: torch.Tensor | None = None) -> DiscriminatorOutput:
    """A D whose score is the logit itself, and whose features the logit is linear in."""
    return DiscriminatorOutput(log_ratio(x)[:, None], torch.cat([x, x.square()], 1))


def skewed(x: torch.Tensor, labels: torch.Tensor | None = None) -> DiscriminatorOutput:
    """One whose score is a line away from it, as a hinge loss's may be, and whose features tell nothing of its own."""
    return DiscriminatorOutput(3 - 5 * log_ratio(x)[:, None], x)


def made(dimensions: int, discriminator: Callable = ideal, **settings) -> RejectionSampling:
    trick = RejectionSampling(**settings)
    trick.begin(nn.Identity(), Weights())
    trick.calibrate(discriminator, normals(WIDE, dimensions, 1), normals(1.0, dimensions, 2))
    return trick


def kept(trick: RejectionSampling, count: int, dimensions: int, discriminator: Callable = ideal) -> torch.Tensor:
    torch.manual_seed(3)
    x = torch.cat([batch.images for batch in normals(WIDE, dimensions, 4)(count)])
    return x[trick.accept(torch.ones(count).bool(), x, discriminator(x))]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_with_the_ideal_discriminator_the_samples_are_the_reals(dimensions: int) -> None:
    """Kolmogorov and Smirnov's test of each direction and of the radius, false alarms 1e-6 each, seeds fixed; and one
    of 1.5^d is kept, within 4.9 standard deviations of a binomial."""
    count = 30_000
    x = kept(made(dimensions, head="none", percentile=None), count, dimensions)
    for direction in x.double().numpy().T:
        assert stats.kstest(direction, "norm").pvalue > 1e-6
        assert stats.kstest(direction, "norm", args=(0, WIDE)).pvalue < 1e-6, "the test can tell them apart"
    assert stats.kstest(x.double().square().sum(1).numpy(), "chi2", args=(dimensions,)).pvalue > 1e-6
    share = WIDE**-dimensions
    assert abs(len(x) - count * share) < 4.9 * (count * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(("head", "discriminator"), [("features", ideal), ("score", skewed)])
def test_a_calibrated_head_finds_the_logit(head: str, discriminator: Callable) -> None:
    """On 10,000 and 10,000 the odds are found within 10 % wherever 99.7 % of reals are, and the samples follow."""
    trick = made(1, discriminator, head=head, percentile=None)
    x = torch.linspace(-3, 3, 25)[:, None]
    found = trick._logits(trick._told(discriminator(x)))
    torch.testing.assert_close(found, log_ratio(x), rtol=0, atol=0.1)
    drawn = kept(trick, 4000, 1, discriminator).double().numpy().ravel()
    assert stats.kstest(drawn, "norm").pvalue > 1e-6


@pytest.mark.parametrize("percentile", [0.0, 50.0, 80.0, 95.0, None])
def test_the_shift_is_the_percentile_of_the_burn_in(percentile: float | None) -> None:
    """The share kept is ∫ σ(F − γ) p_fake by quadrature, F and γ as MH-GAN's numpy has them: a false alarm in 10⁶."""
    trick, count = made(1, head="none", percentile=percentile), 30_000
    source = normals(WIDE, 1, 1)
    burnt = torch.cat([batch.images for batch in source(10_000)])  # no regression draws before it
    top = float(log_ratio(burnt).max())

    def f(logit: np.ndarray) -> np.ndarray:
        delta = logit - np.maximum(top, logit)
        return delta - np.log(1 - np.exp(delta - 1e-6))

    gamma = 0.0 if percentile is None else np.percentile(f(log_ratio(burnt.double()).numpy()), percentile)

    def density(value: float) -> float:
        logit = log_ratio(torch.tensor([[value]], dtype=torch.float64)).numpy()
        return float(special.expit(f(logit) - gamma)[0] * stats.norm.pdf(value, scale=WIDE))

    share = integrate.quad(density, -12, 12, limit=400, points=[0.0])[0]
    found = len(kept(trick, count, 1))
    assert abs(found - count * share) < 4.9 * (count * share * (1 - share)) ** 0.5 + 1e-3 * count


def test_beyond_the_burn_in_a_sample_is_the_largest_itself() -> None:
    trick = made(1, head="none", percentile=80.0)
    for excess in (0.0, 1.0, 50.0):
        scores = (trick._most + excess).reshape(1, 1)
        odds = torch.exp(trick._f(trick._logits(scores)) - trick._gamma)
        assert float(odds) == pytest.approx(float(torch.exp(-trick._gamma)) / (1 - np.exp(-1e-6)), rel=0.1)


def test_what_was_refused_before_stays_refused() -> None:
    trick = made(1, head="none", percentile=None)
    x = torch.zeros(10, 1)
    mask = torch.arange(10) % 2 == 0
    assert torch.equal(trick.accept(mask, x, ideal(x)), mask), "at the top of the ratio all are kept"


def test_log_odds_are_those_of_two_normals_whatever_their_numbers() -> None:
    """Of N(μ, Σ) and N(−μ, Σ) the logit is 2 μᵀ Σ⁻¹ x; 40,000 against 10,000 count alike, and a constant says nothing."""
    rng = np.random.default_rng(5)
    mean, root = np.array([0.3, -0.2, 0.5]), rng.standard_normal((3, 3))
    real, fake = (s * mean + rng.standard_normal((n, 3)) @ root.T for s, n in ((1, 40_000), (-1, 10_000)))
    constant = [np.concatenate([x, np.full((len(x), 1), 7.0)], 1) for x in (real, fake)]
    weight, bias = log_odds(*(torch.from_numpy(x).float() for x in constant))
    wanted = 2 * np.linalg.solve(root @ root.T, mean)
    np.testing.assert_allclose(weight[:3], wanted, atol=0.06 * np.abs(wanted).max())
    assert abs(float(bias + 7 * weight[3])) < 0.06


def test_a_run_draws_by_it_and_training_never_notices() -> None:
    plain, trick = Game(recipe("hinge")).rounds(2), {"rejection_sampling": {"samples": 100}}
    game = Game(recipe("hinge", trick=trick))
    for _ in range(2):
        assert game.samples(7).shape == (7, 1, 8, 8)
        game.rounds(1)
    assert equal(plain.state(), game.state())
    drawn = game.samples(30)
    assert torch.equal(drawn, game.samples(30)) and not torch.equal(drawn, plain.samples(30))
    calls: list[int] = []
    component = game.gan.stages["calibrate"][0]
    fitting = component.calibrate
    game.gan.stages._calls["calibrate"] = [lambda *values: (calls.append(1), fitting(*values))]
    game.samples(5), game.samples(9)
    assert not calls, "the weights are those it was calibrated on"
    game.rounds(1).samples(5)
    assert len(calls) == 1


def test_only_what_d_likes_is_drawn() -> None:
    """Of a D that scores by brightness alone the accepted are brighter, and all the more the higher the percentile."""
    game = Game(recipe(trick={"rejection_sampling": {"samples": 200, "head": "none", "percentile": 95}})).rounds(1)

    def bright(images: torch.Tensor, labels: torch.Tensor | None = None) -> DiscriminatorOutput:
        return DiscriminatorOutput(400 * images.mean((1, 2, 3))[:, None], images.flatten(1))

    game.gan.discriminator.forward = bright  # type: ignore[method-assign]
    picky, every = game.samples(64).mean(), Game(recipe()).rounds(1).samples(64).mean()
    assert picky > every


@pytest.mark.parametrize("loss", ["wgan", "hinge", "lsgan", "ragan", "gan_qp"])
def test_without_a_calibrated_head_scores_must_be_logits(loss: str) -> None:
    bring_together(recipe(loss, trick={"rejection_sampling": {}}))
    bring_together(recipe("minimax", trick={"rejection_sampling": {"head": "none"}}))
    with pytest.raises(ConfigError, match="needs that the score is the logit of a probability"):
        bring_together(recipe(loss, trick={"rejection_sampling": {"head": "none"}}))
    with pytest.raises(ConfigError, match="minus an energy is no logit"):
        bring_together(recipe("minimax", trick={"rejection_sampling": {"head": "none"}}, model={"name": "autoencoder"}))


@pytest.mark.parametrize("other", ["pacgan", "minibatch_stddev", "minibatch_discrimination"])
def test_refused_where_a_sample_has_no_score_of_its_own(other: str) -> None:
    with pytest.raises(ConfigError, match="a sample is kept by its own score"):
        bring_together(recipe(trick={"rejection_sampling": {}, other: {}}))


def test_values_that_are_not_finite_are_told() -> None:
    with pytest.raises(GantrickError, match="D gives values that are not finite"):
        made(1, lambda x, labels: DiscriminatorOutput(x * torch.nan, x))


def test_samples_and_figures_of_a_trained_run_are_by_it(tmp_path: Path) -> None:
    """`gantrick sample`, figures taken later and their protocols; the calibration is that of the run's seed."""
    settings = {"samples": 60, "head": "score", "percentile": 80.0}
    more = {"steps": 2, "batch_size": 6, "wandb": {"mode": "disabled"}, "sample_every": 1}
    assert run(recipe(trick={"rejection_sampling": settings}, **more), tmp_path / "r", console=Console(quiet=True)) == 0
    assert run(recipe(**more), tmp_path / "plain", console=Console(quiet=True)) == 0
    trained, plain = sampling.load(tmp_path / "r"), sampling.load(tmp_path / "plain")
    drawn = trained.sample(20)
    assert torch.equal(drawn, sampling.load(tmp_path / "r").sample(20)) and not torch.equal(drawn, plain.sample(20))
    every = plain.sample(200).flatten(1)
    assert torch.cdist(drawn[:5].flatten(1), every).amin(1).max() < 1e-5, "some of what the run without it draws"
    judging = Judging(trained.gan, trained.gan.reals, 0, 2)
    named = {"trick.rejection_sampling": settings}
    assert judging.drawing == {"generator": "raw", "calibrate": named, "accept": named}
