"""(B, C, H, W) -> (B/m, m C, H, W): D judges packs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from playing import Game, recipe

from gantrick.gan import preflight
from gantrick.trick.pacgan import Pacgan
from gantrick.types import ConfigError

NO_NORM = {"d_norm": "none", "init": "default"}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_which_samples_make_a_pack(memory: Any) -> None:
    images = torch.randn(6, 2, 4, 3).contiguous(memory_format=memory)
    packs = Pacgan(3).pack(images)
    assert packs.shape == (2, 6, 4, 3)
    for pack in range(2):
        for place in range(3):
            assert torch.equal(packs[pack, 2 * place : 2 * place + 2], images[3 * pack + place])
    assert Pacgan(2).pack(torch.arange(8.0).view(4, 2)).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "model", [{}, {"name": "mlp", "d_width": 8}, {"name": "sngan_resnet", "g_width": 4, "d_width": 4}]
)
def test_only_the_first_layer_changes(model: dict[str, Any], size: int) -> None:
    plain = dict(Game(recipe("hinge", model={**model, "d_norm": "none"})).gan.discriminator.named_parameters())
    game = Game(recipe("hinge", trick={"pacgan": {"size": size}}, model={**model, "d_norm": "none"}, batch_size=6))
    for name, parameter in game.gan.discriminator.named_parameters():
        if parameter.shape != plain[name].shape:
            assert parameter.shape[1] == size * plain[name].shape[1] and "0." in name
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None and record.real.scores.shape == record.fake.scores.shape == (6 // size, 1)
    game.rounds(2)


def test_a_penalty_is_over_all_images_of_a_pack() -> None:
    """R1 and R2: E over packs of the squared gradient in all its images; GP and DRAGAN: its length."""
    regularizers = {"r1": {"weight": 2.0}, "r2": {"weight": 2.0}, "gp": {"weight": 1.0}}
    game = Game(recipe("wgan", regularizers, {"pacgan": {"size": 3}}, NO_NORM, batch_size=6))
    asked: list[torch.Tensor] = []
    handle = game.gan.discriminator.register_forward_pre_hook(lambda _, args: asked.append(args[0].detach()))
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    handle.remove()
    d = game.gan.discriminator

    def norms(packs: torch.Tensor) -> torch.Tensor:
        points = packs.detach().requires_grad_()
        found = [torch.autograd.grad(d(points).scores[i, 0], points)[0][i] for i in range(len(points))]
        return torch.stack([gradient.square().sum() for gradient in found])

    assert record.real is not None
    assert record.terms["penalty/r1"].item() == pytest.approx(norms(record.real.seen).mean().item(), rel=1e-4)
    assert record.terms["penalty/r2"].item() == pytest.approx(norms(record.fake.seen).mean().item(), rel=1e-4)
    (between,) = [
        p for p in asked if len(p) == 2 and not any(torch.equal(p, j.seen) for j in (record.real, record.fake))
    ]
    assert record.terms["penalty/gp"].item() == pytest.approx(
        (norms(between).sqrt() - 1).square().mean().item(), rel=1e-4
    )


def test_noise_comes_before_and_packs_of_points() -> None:
    ring = {"name": "ring", "samples": 500}
    game = Game(recipe("hinge", trick={"instance_noise": {}, "pacgan": {}}, model={"name": "mlp", "d_width": 8}))
    record = game.play.evaluate("generator", *game.play.draw("generator"))
    noise = record.fake.seen.reshape(record.fake.images.shape) - record.fake.images
    assert noise.std().item() == pytest.approx(0.1, rel=0.2)
    made = recipe("hinge", trick={"pacgan": {}}).resolved
    from gantrick.recipe import check

    Game(check({**made, "dataset": ring, "model": {"name": "mlp", "d_width": 8}})).rounds(1)


def test_a_run_whose_batches_do_not_fit_does_not_begin() -> None:
    def faults(size: int, **settings: int) -> tuple[str, ...]:
        made = recipe("hinge", trick={"pacgan": {"size": size}}, **settings)
        with pytest.raises(ConfigError) as refused:
            preflight(made)
        return refused.value.faults

    assert faults(3, batch_size=64, generator_batch_size=7) == (
        "batch_size: 64 is not a multiple of 3, and trick.pacgan takes samples 3 at a time; choose one that is",
        "generator_batch_size: 7 is not a multiple of 3, and trick.pacgan takes samples 3 at a time; choose one that is",
    )
    preflight(recipe("hinge", trick={"pacgan": {"size": 3}}, batch_size=66))
    (fault,) = faults(4, batch_size=60, devices=2, device="cpu")  # 30 each: 7 packs and a half
    assert fault == (
        "batch_size: 60 is not a multiple of 8, and trick.pacgan takes samples 4 at a time for each of 2 processes; "
        "choose one that is"
    )
    preflight(recipe("hinge", trick={"pacgan": {"size": 4}}, batch_size=64, devices=2, device="cpu"))


def test_a_batch_that_does_not_fit() -> None:
    with pytest.raises(
        ConfigError, match=r"trick\.pacgan\.size: packs of 4 do not fit in 6 samples; choose a batch_size"
    ):
        Game(recipe("hinge", trick={"pacgan": {"size": 4}})).rounds(1)
