"""Beginning with another run's weights, and keeping some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from playing import recipe

from gantrick import checkpoint
from gantrick.recipe import Recipe, check
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.types import ConfigError

QUIET = {"wandb": {"mode": "disabled"}, "sample_every": 0, "eval_every": 0, "batch_size": 6}


def small(**more: Any) -> Recipe:
    return recipe(**{**QUIET, "steps": 3, **more})


def state(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    gan = checkpoint.load(folder / "checkpoints" / f"{name}.pt")["gan"]
    return {f"{player}.{k}": v for player in ("generator", "discriminator") for k, v in gan[player].items()}


def train(made: Recipe, folder: Path) -> dict[str, torch.Tensor]:
    assert run(made, folder, console=Console(quiet=True)) == 0
    return state(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(small(), folder)
    return folder


def test_a_run_begins_with_the_weights_that_it_takes(trained: Path, tmp_path: Path) -> None:
    there, fresh = state(trained), train(small(steps=0), tmp_path / "fresh")
    begun = train(small(steps=0, init_from=str(trained), trick={"ema": {}}), tmp_path / "all")
    assert begun.keys() == there.keys() and all(torch.equal(v, there[k]) for k, v in begun.items())
    averaged = checkpoint.load(tmp_path / "all/checkpoints/last.pt")["gan"]["components"]
    mine = {k.partition("averaged.")[2]: v for k, v in averaged.items() if "averaged." in k}
    assert mine and all(torch.equal(v, there[f"generator.{k}"]) for k, v in mine.items())
    some = train(small(steps=0, init_from=str(trained), init_take=["generator.*"]), tmp_path / "some")
    for name, value in some.items():
        assert torch.equal(value, (there if name.startswith("generator.") else fresh)[name])
    file = trained / "checkpoints" / "last.pt"
    assert all(torch.equal(v, there[k]) for k, v in train(small(steps=0, init_from=str(file)), tmp_path / "f").items())


def test_frozen_weights_stay_and_the_others_move(trained: Path, tmp_path: Path) -> None:
    frozen = ["discriminator.body.downs.0.*", "generator.*.weight"]
    made = small(init_from=str(trained), freeze=frozen, loss="wgan", regularizer={"weight_clip": {"bound": 1e-3}})
    before, after = state(trained), train(made, tmp_path / "run")
    parameters = {k for k in before if "running" not in k}
    stay = {
        k for k in parameters if k.startswith("discriminator.body.downs.0.") or (k[0] == "g" and k.endswith("weight"))
    }
    same = {k for k in parameters if torch.equal(before[k], after[k])}
    assert stay <= same and len(stay) > 3
    assert any(k.startswith("discriminator.") for k in parameters - same)
    assert any(k.startswith("generator.") for k in parameters - same)


def test_a_frozen_run_is_resumed_without_its_source(trained: Path, tmp_path: Path) -> None:
    made = small(init_from=str(tmp_path / "first"), freeze=["generator.body.*.weight"])
    (tmp_path / "first").symlink_to(trained)
    alone = train(small(**{k: made.resolved[k] for k in ("init_from", "freeze")}, steps=6), tmp_path / "alone")
    train(made, tmp_path / "run")
    (tmp_path / "first").unlink()
    assert run(check({**made.resolved, "steps": 6}), tmp_path / "run", console=Console(quiet=True), resume=True) == 0
    assert all(torch.equal(v, alone[k]) for k, v in state(tmp_path / "run").items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init_from": "RUN", "init_take": ["generaator.*"]}, r"init_take: no weight of .* is called 'generaator\.\*'"),
        ({"init_from": "nowhere"}, r"init_from: nowhere: there is no such checkpoint"),
        (
            {"init_from": "RUN", "model": {"d_width": 8}},
            r"init_from=.*is \(.*\) there and \(.*\) here \(and \d+ more\)",
        ),
        ({"freeze": ["discriminator.bodi.*"]}, r"freeze: no parameter of these networks is called"),
        ({"freeze": ["generator.*"]}, r"freeze: leaves the generator nothing to learn"),
    ],
)
def test_what_cannot_be_taken_or_frozen_is_said_before_anything_is_written(
    trained: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    if options.get("init_from") == "RUN":
        options = {**options, "init_from": str(trained)}
    with pytest.raises(ConfigError, match=said):
        run(small(**options), tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()
