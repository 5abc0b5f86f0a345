"""Every model × every way of using labels × losses × (nothing, cascading): trains, or is refused with a reason."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from playing import Game, recipe

from gantrick import registry
from gantrick.gan import bring_together
from gantrick.types import ConfigError

TINY = {"g_width": 3, "d_width": 4, "z_size": 8}
ATTENTION = {"biggan": {"attention": 8}, "biggan_deep": {"attention": 8}}
WAYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "concat": ("label_concat",),
    "projection": ("conditional_batch_norm", "projection"),
    "acgan": ("conditional_batch_norm", "acgan"),
    "infogan": ("infogan",),
    "contragan": ("conditional_batch_norm", "contragan"),
    "d2d_ce": ("conditional_batch_norm", "d2d_ce"),
    "rotation": ("rotation",),
}
LOSSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "hinge": ("hinge", ()),
    "non_saturating": ("non_saturating", ()),
    "wgan_gp": ("wgan", ("gp",)),
    "wgan_ct": ("wgan", ("gp", "ct")),
}
WHOLE = list(itertools.product(registry.names("model"), WAYS, LOSSES, (False, True)))


def trains_or_is_refused(model: str, way: str, loss: str, cascading: bool) -> None:
    name, regularizers = LOSSES[loss]
    tricks: dict[str, dict] = {trick: {} for trick in WAYS[way]}
    if cascading:
        tricks["cascading"] = {"scores": 3}
    made = recipe(
        loss=name,
        regularizer={regularizer: {} for regularizer in regularizers},
        trick=tricks,
        partners=False,
        model={**TINY, "name": model, **ATTENTION.get(model, {})},
        dataset={"name": "digits", "size": 16},
    )
    # An autoencoder's score is its error at rebuilding the image: no linear layer reads it, which could have a direction
    # for each class or each score. All else goes together.
    clashes = {t for t in ("projection", "cascading") if t in tricks} if model == "autoencoder" else set()
    if clashes:
        with pytest.raises(ConfigError) as refused:
            bring_together(made)
        assert len(refused.value.faults) == len(clashes)
        for trick in clashes:
            assert any(f"model.autoencoder and trick.{trick}" in fault for fault in refused.value.faults)
        return
    game = Game(made, batch_size=4).rounds(1)
    assert game.meter.first_bad() is None
    assert all(torch.isfinite(v).all() for v in game.state().values())
    assert game.gan.discriminator.score_weights.numel() == (3 if cascading else 1)


@pytest.mark.parametrize(("model", "way", "loss", "cascading"), random.Random(7).sample(WHOLE, 60))
def test_some(model: str, way: str, loss: str, cascading: bool) -> None:
    trains_or_is_refused(model, way, loss, cascading)


@pytest.mark.product
@pytest.mark.parametrize(("model", "way", "loss", "cascading"), WHOLE)
def test_all(model: str, way: str, loss: str, cascading: bool) -> None:
    trains_or_is_refused(model, way, loss, cascading)
