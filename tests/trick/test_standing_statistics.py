"""Standing statistics against means and variances taken in numpy of what each batch norm was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe

from gantrick import sampling
from gantrick.evaluation import Judging
from gantrick.gan import bring_together
from gantrick.layers.normalization import BatchNorm, take
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.trick.standing_statistics import StandingStatistics
from gantrick.types import ConfigError, GantrickError, Latents

BATCH = {"g_norm": "batch", "d_norm": "none"}


def norms(network: torch.nn.Module) -> list[BatchNorm]:
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


def test_they_are_the_plain_mean_over_batches() -> None:
    gan = Game(recipe(model=BATCH)).rounds(3).gan
    before = {k: v.clone() for k, v in gan.generator.state_dict().items()}
    source = torch.Generator().manual_seed(1)
    batches = [torch.randn(20, 6, generator=source) for _ in range(5)]
    waiting = iter(batches)
    standing = StandingStatistics(5, 20).settle(gan.generator, lambda count: Latents(next(waiting)))
    assert not standing.training and not take(standing)

    copied = norms(standing)
    seen: list[list[np.ndarray]] = [[] for _ in copied]
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, own=own: own.append(inputs[0].detach().double().numpy()))
        for layer, own in zip(copied, seen, strict=True)
    ]
    with torch.no_grad():
        standing.train()
        for z in batches:
            standing(Latents(z))
    assert len(hooks) == len(copied) > 1
    for layer, own in zip(copied, seen, strict=True):
        places = (0, *range(2, own[0].ndim))
        means = np.mean([x.mean(places) for x in own], 0)
        variances = np.mean([x.var(places, ddof=1) for x in own], 0)
        np.testing.assert_allclose(layer.running_mean, means, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.running_var, variances, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in gan.generator.state_dict().items()), "the copy alone is changed"


def test_drawing_is_by_them_and_training_never_notices() -> None:
    plain = Game(recipe(model=BATCH)).rounds(3)
    game = Game(recipe(model=BATCH, trick={"standing_statistics": {"batches": 3}}))
    for _ in range(3):
        game.samples()
        game.rounds(1)
    assert equal(plain.state(), game.state())
    assert not torch.equal(plain.samples(), game.samples())
    settled, name = sampling.generator_of(game.gan)
    assert name == "raw" and settled is not game.gan.generator
    assert sampling.generator_of(game.gan)[0] is settled, "made once for the same weights"
    game.rounds(1)
    assert sampling.generator_of(game.gan)[0] is not settled, "and anew for others"


def test_they_are_of_the_latents_that_are_drawn() -> None:
    """Under truncation G sees less spread than in training, and so do its first norm's statistics: 0.29² of it."""
    made = recipe(model=BATCH, trick={"standing_statistics": {"batches": 8}, "truncation": {"threshold": 0.5}})
    wide = recipe(model=BATCH, trick={"standing_statistics": {"batches": 8}})
    first = [norms(sampling.generator_of(Game(m).rounds(1).gan)[0])[0].running_var for m in (made, wide)]
    assert 0.04 < float(first[0].sum() / first[1].sum()) < 0.16  # the variance of a normal within ± ½ is 0.081


def test_of_averaged_weights_where_there_are_any() -> None:
    game = Game(recipe(model=BATCH, trick={"ema": {"decay": 0.5}, "standing_statistics": {"batches": 2}})).rounds(3)
    (averaged, name), (raw, _) = sampling.generator_of(game.gan), sampling.generator_of(game.gan, "raw")
    assert name == "ema"
    for network, own in ((averaged, game.gan.drawing_generator[0]), (raw, game.gan.generator)):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"model": {"g_norm": "none"}}, "needs that G normalises with the statistics of a batch"),
        ({"trick": {"virtual_batch_norm": {}}}, "those of its fixed batch"),
    ],
)
def test_refused_where_there_is_nothing_to_measure(more: dict, reason: str) -> None:
    tricks = {"standing_statistics": {}, **more.get("trick", {})}
    with pytest.raises(ConfigError, match=reason):
        bring_together(recipe(trick=tricks, model={**BATCH, **more.get("model", {})}))


def test_the_flag_and_the_trick_are_one(tmp_path: Path) -> None:
    """Asked for later, of a run without it, it draws the same samples under the same protocol."""
    settings = {"steps": 2, "batch_size": 6, "wandb": {"mode": "disabled"}, "model": BATCH, "sample_every": 1}
    folders = []
    for name, trick in (("plain", {}), ("trick", {"standing_statistics": {"batches": 2, "batch_size": 64}})):
        folders.append(tmp_path / name)
        assert run(recipe(trick=trick, **settings), folders[-1], console=Console(quiet=True)) == 0
    later, always = (sampling.load(folder) for folder in folders)
    before = later.sample(5)
    later.stand(2)
    assert torch.equal(later.sample(5), always.sample(5)) and not torch.equal(later.sample(5), before)
    told = [Judging(t.gan, t.gan.reals, 0, 2, ways=t.ways).drawing for t in (later, always)]
    assert (
        told[0]
        == told[1]
        == {
            "generator": "raw",
            "settle": {"trick.standing_statistics": {"batches": 2, "batch_size": 64}},
        }
    )
    bare = tmp_path / "bare"
    assert run(recipe(**{**settings, "model": {"g_norm": "none"}}), bare, console=Console(quiet=True)) == 0
    with pytest.raises(GantrickError, match=r"bare: standing_statistics: needs that G normalises"):
        sampling.load(bare).stand(2)
