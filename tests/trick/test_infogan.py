"""InfoGAN's codes: their law, their loss against numpy, and that Q reads them after training."""

import math

import numpy as np
import pytest
import torch
from playing import Game, recipe
from scipy import stats

from gantrick.trick.infogan import HEAD, Infogan
from gantrick.types import Batch, ConfigError, DiscriminatorOutput, Judged, Latents, PenaltyInputs


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_codes_are_even_one_hot_and_uniform(distribution: str) -> None:
    trick = Infogan(categorical=[10, 3], continuous=2)
    trick._uniform = distribution == "uniform"
    generator, n = torch.Generator().manual_seed(0), 20_000
    shape = (n, 4 + trick.codes)
    z = (
        torch.randn(shape, generator=generator)
        if distribution == "normal"
        else torch.rand(shape, generator=generator) * 2 - 1
    )
    coded = trick.sample_latents(Latents(z)).z
    assert torch.equal(coded[:, :4], z[:, :4]), "the noise stays"
    for part, kinds in ((coded[:, 4:14], 10), (coded[:, 14:17], 3)):
        assert torch.equal(part.sum(1), torch.ones(n)) and ((part == 0) | (part == 1)).all()
        assert stats.chisquare(part.sum(0).numpy()).pvalue > 1e-4  # the false-alarm rate; the seed is fixed
        assert part.shape[1] == kinds
    for j in (17, 18):
        assert stats.kstest(coded[:, j].double().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-4


def test_the_loss_is_the_negative_log_likelihood_of_the_codes() -> None:
    rng = np.random.default_rng(0)
    trick = Infogan(categorical=[4], continuous=2, continuous_weight=0.1)
    kinds, values, said = rng.integers(4, size=7), rng.uniform(-1, 1, (7, 2)), rng.normal(size=(7, 6))
    z = np.concatenate([rng.normal(size=(7, 3)), np.eye(4)[kinds], values], 1)
    zero = torch.zeros(7, 1)
    output = DiscriminatorOutput(zero, zero, {HEAD: torch.tensor(said)})
    fake = Judged(Batch(zero), zero, output, Latents(torch.tensor(z)))
    inputs = PenaltyInputs("generator", None, fake, None, None, torch.ones(1), 0)  # type: ignore[arg-type]
    log_p = said[:, :4] - np.log(np.exp(said[:, :4]).sum(1, keepdims=True))
    of_kinds = -log_p[np.arange(7), kinds].mean()
    of_values = -stats.norm.logpdf(values, said[:, 4:], 1).sum(1).mean()
    assert trick.g_penalty(inputs).item() == pytest.approx(of_kinds + 0.1 * of_values)
    assert trick.d_penalty(inputs).item() == pytest.approx(of_kinds + 0.1 * of_values)


def test_q_learns_to_read_the_code_from_the_image() -> None:
    options = {"categorical": [4], "continuous": 0}
    game = Game(recipe(trick={"infogan": options}), batch_size=64).rounds(1)
    chance = game.meter.read()["penalty/d_infogan"]
    game.rounds(150)
    assert game.meter.read()["penalty/d_infogan"] < 0.7 * min(chance, math.log(4))


def test_codes_go_with_labels_and_cascades_and_not_with_truncation() -> None:
    Game(recipe(loss="hinge", trick={"infogan": {}, "projection": {}, "cascading": {}})).rounds(1)
    with pytest.raises(ConfigError, match=r"trick\.truncation with trick\.infogan: codes are not noise"):
        Game(recipe(trick={"infogan": {}, "truncation": {}}))
    with pytest.raises(ConfigError, match="there are no codes at all"):
        Infogan(categorical=[], continuous=0)
