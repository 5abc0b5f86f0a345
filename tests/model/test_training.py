"""Every model with images, tiny: it trains with the losses and tricks that meet it in its slots."""

from __future__ import annotations

import pytest
import torch
from playing import Game, recipe

from gantrick import registry

IMAGES = [name for name in registry.names("model") if name != "mlp"]
TINY = {"g_width": 3, "d_width": 4, "z_size": 8}
ATTENTION = {"sagan": {}, "biggan": {"attention": 8}, "biggan_deep": {"attention": 8}}
DIGITS = {"name": "digits", "size": 16}
# what each is made of: loss, regularizers, tricks
RUNS: dict[str, tuple[str, dict, dict]] = {
    "hinge": ("hinge", {}, {}),
    "non_saturating": ("non_saturating", {}, {}),
    "conditional": ("hinge", {}, {"conditional_batch_norm": {}, "projection": {}}),
    "cascading": ("hinge", {}, {"cascading": {"scores": 3}}),
    "gp": ("wgan", {"gp": {}}, {}),
    "ct": ("wgan", {"gp": {}, "ct": {}}, {}),
    "r1_through_spectral_norm": ("non_saturating", {"r1": {}}, {"spectral_norm": {"network": "both"}}),
    "self_modulation": ("hinge", {}, {"self_modulation": {}}),
    "biggan": ("hinge", {}, {"skip_z": {}, "shared_embedding": {"size": 4}, "projection": {}, "ema": {}}),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", IMAGES)
def test_trains(model: str, run: str) -> None:
    loss, regularizers, tricks = RUNS[run]
    if model == "autoencoder":  # has no head: see its own tests
        tricks = {k: v for k, v in tricks.items() if k not in ("projection", "cascading")}
        if {"conditional_batch_norm", "shared_embedding"} & tricks.keys():
            tricks = {**tricks, "acgan": {}}
    made = recipe(
        loss=loss,
        regularizer=regularizers,
        trick=tricks,
        model={**TINY, "name": model, **ATTENTION.get(model, {})},
        dataset=DIGITS,
    )
    game = Game(made, batch_size=4)
    weights = {f"{player}.{name}": p for player, names in game.gan.parameters.items() for name, p in names.items()}
    for name, p in weights.items():
        if name.endswith("gamma") and p.ndim == 0:  # of an attention, which is the identity at first
            torch.nn.init.constant_(p, 0.5)
    before = {name: p.detach().clone() for name, p in weights.items()}
    game.rounds(2)
    assert game.meter.first_bad() is None
    assert all(torch.isfinite(v).all() for v in game.state().values())
    assert game.samples().shape == (5, 1, 16, 16)
    still = [name for name, p in weights.items() if torch.equal(p, before[name])]
    # a difference of scores does not see the head's bias
    assert [name for name in still if not name.endswith("bias")] == []
