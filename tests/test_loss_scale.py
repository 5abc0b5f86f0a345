"""Training in float16: the scale against torch's GradScaler, skipped moves, and runs that have really diverged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from playing import recipe
from torch import Tensor, nn

from gantrick import registry
from gantrick.gan import GAN, preflight
from gantrick.input_gradient import input_gradient
from gantrick.layers.normalization import BatchNorm, commit, take
from gantrick.loss_scale import LossScale, undone_unless
from gantrick.meter import Meter
from gantrick.recipe import Recipe
from gantrick.stages import Component
from gantrick.tracking.console import Console
from gantrick.trainer import Diverged, run

HALF = {"precision": "fp16", "device": "cpu", "wandb": {"mode": "disabled"}, "batch_size": 6}
BAD = {3, 4, 9}  # moves at which a gradient overflows


@pytest.mark.parametrize("fused", [True, False])
def test_scale_and_moves_are_those_of_torchs_scaler(fused: bool) -> None:
    def moves() -> tuple[nn.Parameter, torch.optim.Optimizer]:
        weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        return weight, torch.optim.Adam([weight], 0.1, fused=fused)

    ours, our_adam = moves()
    theirs, their_adam = moves()
    scale = LossScale(first=8.0, patience=3)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    for step in range(14):
        factor = torch.inf if step in BAD else 1.0
        gradient = torch.autograd.grad((ours**2).sum() * scale.scale * factor, ours)[0] / scale.scale
        ours.grad = gradient
        if scale.admits([gradient], our_adam):
            our_adam.step()
        their_adam.zero_grad()
        scaler.scale((theirs**2).sum() * factor).backward()
        scaler.step(their_adam)
        scaler.update()
        assert float(scale.scale) == scaler.get_scale()
        assert bool(scale.accepted) is (step not in BAD)
        torch.testing.assert_close(ours, theirs)


def test_a_move_is_the_runs_own_fault_once_nothing_is_left_to_scale() -> None:
    scale = LossScale(first=4.0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    counted = []
    for _ in range(4):
        assert not scale.admits([torch.tensor([float("nan")])], optimizer)
        counted.append(bool(scale.counted))
    assert counted == [False, False, True, True] and float(scale.scale) == 1.0


def test_a_meter_leaves_out_what_does_not_count() -> None:
    meter = Meter()
    for value, counted in ((1.0, 1.0), (torch.inf, 0.0), (3.0, 1.0)):
        meter.add({"x": torch.tensor(value)}, 0, torch.tensor(counted))
    assert meter.read() == {"x": 2.0} and meter.first_bad() is None
    meter.add({"x": torch.tensor(torch.nan)}, 5, torch.tensor(0.0))
    assert meter.read() == {} and meter.first_bad() is None
    meter.add({"x": torch.tensor(torch.nan)}, 7, torch.tensor(1.0))
    assert meter.first_bad() == ("x", 7)


def test_a_skipped_move_leaves_running_statistics_and_buffers_alone() -> None:
    norm = BatchNorm(2)
    norm(torch.full((3, 2), torch.nan))
    commit(take(norm), accepted=torch.tensor(0.0))
    assert norm.running_mean.tolist() == [0, 0] and norm.running_var.tolist() == [1, 1]
    for accepted, expected in ((0.0, [0, 0]), (1.0, [5, 5]), (None, [5, 5])):
        norm.running_mean.zero_()
        with undone_unless(None if accepted is None else torch.tensor(accepted), [norm]):
            norm.running_mean.fill_(5)
        assert norm.running_mean.tolist() == expected


def test_input_gradients_are_taken_in_float32() -> None:
    found = {}
    for dtype in (None, torch.float16):
        torch.manual_seed(0)
        gan = GAN(preflight(recipe(loss="wgan", regularizer={"gp": {}})), torch.device("cpu"), dtype)
        images = torch.linspace(-1, 1, 2 * 64).view(2, 1, 8, 8)
        scores = gan.discriminator(images).scores
        found[dtype] = input_gradient(lambda x, gan=gan: gan.discriminator(x).scores.sum(1), images), scores
    torch.testing.assert_close(found[torch.float16][0], found[None][0], rtol=0, atol=0)
    assert not torch.equal(found[torch.float16][1], found[None][1])  # a score itself is in float16
    torch.testing.assert_close(found[torch.float16][1], found[None][1], rtol=2e-3, atol=2e-3)


def small(**more: object) -> Recipe:
    settings = {"steps": 10, "log_every": 1, "eval_every": 0, "sample_every": 0, "checkpoint_every": 2}
    return recipe(**{**settings, **HALF, **more})


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_run_in_float16_goes_on_after_skipped_moves(
    tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale.__init__, "__defaults__", (2.0**20, 2000))  # far too large a scale to begin with
    choice = {"name": optimizer, "lr": 1e-3}
    made = small(optimizer={"generator": choice, "discriminator": choice}, trick={"ema": {}})
    assert run(made, tmp_path / "run", console=Console(quiet=True)) == 0
    found = rows(tmp_path / "run")
    assert not any("non_finite" in row for row in found)
    scales = [row["loss_scale/d"] for row in found if "loss_scale/d" in row]
    skipped = 10 - len(scales)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["gan"]
    assert skipped >= 1 and state["loss_scales"]["discriminator"]["scale"] == 2.0 ** (20 - skipped)
    assert all(torch.isfinite(v).all() for network in ("generator", "discriminator") for v in state[network].values())


def test_a_run_in_float16_resumes_in_the_same_bits(tmp_path: Path) -> None:
    assert run(small(), tmp_path / "whole", console=Console(quiet=True)) == 0
    assert run(small(steps=2), tmp_path / "cut", console=Console(quiet=True)) == 0
    assert run(small(), tmp_path / "cut", console=Console(quiet=True), resume=True) == 0
    whole, cut = (
        torch.load(tmp_path / n / "checkpoints" / "last.pt", weights_only=True)["gan"] for n in ("whole", "cut")
    )
    for part in ("generator", "discriminator"):
        assert all(torch.equal(whole[part][name], value) for name, value in cut[part].items())
        assert all(torch.equal(whole["loss_scales"][part][k], v) for k, v in cut["loss_scales"][part].items())


def test_a_run_in_float16_that_has_diverged_is_stopped(tmp_path: Path) -> None:
    before = dict(registry._registered)

    @registry.register("trick.explosion")
    class Explosion(Component):
        def augment(self, images: Tensor) -> Tensor:
            return images * torch.tensor(1e6)  # beyond float16, whatever the scale

    try:
        with pytest.raises(Diverged, match="is not finite"):
            run(small(steps=40, trick={"explosion": {}}), tmp_path / "run", console=Console(quiet=True))
    finally:
        registry._registered.clear()
        registry._registered.update(before)
    assert 16 <= rows(tmp_path / "run")[-1]["step"] <= 18  # 2¹⁶ can be halved sixteen times
