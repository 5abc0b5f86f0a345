"""Sweeps by each launcher that is installed here: the same runs as one after another, and what went wrong told."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore

from gantrick import cli, config
from gantrick.types import ConfigError

ROOT = Path(__file__).parents[1]
CLOCKS = {"seconds", "images_per_second"}
LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", []),
    "ray": (
        "hydra_plugins.hydra_ray_launcher",
        ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"],
    ),
}


def there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


EACH = [
    pytest.param(name, marks=[pytest.mark.slow, pytest.mark.skipif(not there(m), reason=f"{m} is not installed")])
    for name, (m, _) in LAUNCHERS.items()
]
SMALL = [
    "dataset=ring", "dataset.samples=500", "steps=4", "batch_size=8", "log_every=1", "eval_every=2", "eval_samples=64",
    "checkpoint_every=1", "sample_every=0", "model.g_width=8", "model.d_width=8", "wandb.mode=disabled", "device=cpu",
]  # fmt: skip


def sweep(cwd: Path, *words: str, launcher: str = "basic") -> subprocess.CompletedProcess[str]:
    how = [f"hydra/launcher={launcher}", *LAUNCHERS.get(launcher, ("", []))[1]]
    command = [sys.executable, "-m", "gantrick", "train", *words]
    if words[0] == "-m":
        command += [*SMALL, *how]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCKS} for line in lines]


@pytest.mark.parametrize("launcher", EACH)
def test_the_same_runs_as_one_after_another(launcher: str, tmp_path: Path) -> None:
    for name in ("basic", launcher):
        done = sweep(tmp_path, "-m", "loss=hinge,wgan_gp", "seed=1", f"hydra.sweep.dir={name}", launcher=name)
        assert done.returncode == 0, done.stderr
    for job in ("0", "1"):
        assert rows(tmp_path / launcher / job) == rows(tmp_path / "basic" / job)
        assert json.loads((tmp_path / launcher / job / "status.json").read_text())["state"] == "finished"
    assert rows(tmp_path / "basic" / "0") != rows(tmp_path / "basic" / "1")


MISCHIEF = """
import os, signal
import gantrick
from gantrick import Component

@gantrick.register("trick.mischief")
class Mischief(Component):
    def __init__(self, how: str = "none"):
        super().__init__()
        self.how = how
    def schedule(self, step):
        if step == 2 and os.path.exists("armed"):
            if self.how == "raise":
                raise RuntimeError("mischief was made")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("launcher", EACH)
def test_what_went_wrong_is_told_and_mended(launcher: str, tmp_path: Path) -> None:
    """One job fails, then one is killed; the sweep is gone on with, and ends as if nothing had been."""
    (tmp_path / "mischief.py").write_text(MISCHIEF)
    (tmp_path / "configs" / "trick").mkdir(parents=True)
    (tmp_path / "configs" / "trick" / "mischief.yaml").write_text("# @package trick.mischief\nname: mischief\n")
    (tmp_path / "armed").touch()
    words = ["--config-dir", "configs", "imports=[mischief.py]", "trick=mischief", "hydra.sweep.dir=sweep"]
    once = ["+hydra.launcher.ray.remote.max_retries=0"] if launcher == "ray" else []
    done = sweep(tmp_path, "-m", *words, "+trick.mischief.how=none,raise,kill", *once, launcher=launcher)
    assert done.returncode == 1, done.stderr
    told = [line.removeprefix("gantrick train: error: ") for line in done.stderr.splitlines() if "train: error" in line]
    assert told[0] == "job 1: RuntimeError: mischief was made (see sweep/1)", done.stderr
    assert "job 2: ended while running (see sweep/2)" in told
    assert any(line.startswith("the sweep broke off (") for line in told), told
    assert told[-1] == "once the cause is mended, go on with: gantrick train resume=sweep"
    (tmp_path / "armed").unlink()
    done = sweep(tmp_path, "resume=sweep")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "sweep" / "0") == rows(tmp_path / "sweep" / "1") == rows(tmp_path / "sweep" / "2")


# --- what needs no launcher ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "extra"),
    [
        ("hydra/launcher=ray", "ray"),
        ("hydra/launcher=submitit_slurm", "slurm"),
        ("hydra/launcher=joblib", "sweep"),
        ("hydra/sweeper=optuna", "sweep"),
        ("hparams_search=optuna_tpe", "sweep"),
    ],
)
def test_a_plugin_that_is_not_there_is_named_with_its_extra(
    word: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with config.composer() as composing:
        composing.options("hydra/launcher")  # by now Hydra has looked for plugins, which it does once
    stored = ConfigStore.instance().repo["hydra"]
    for group, name in (key.removeprefix("hydra/").split("/") for key in config.EXTRAS):
        monkeypatch.delitem(stored[group], f"{name}.yaml", raising=False)
    assert cli.main(["train", "-m", word, "seed=0,1"]) == 2
    err = capsys.readouterr().err
    assert err.endswith(f'is not installed here; pip install "gantrick[{extra}]"\n') and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_launcher_that_cannot_start_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from hydra.core.plugins import Plugins

    class Broken:
        def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
            raise RuntimeError("Traceback (most recent call last):\n  File x\nraylet.NodeError: no node came up\n")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *a, **k: Broken())
    assert cli.main(["train", "-m", "seed=0,1", "hydra.sweep.dir=sweep"]) == 1
    told = [line.removeprefix("gantrick train: error: ") for line in capsys.readouterr().err.splitlines()]
    assert [line for line in told if "HYDRA" not in line] == [
        "2 of 2 jobs were not begun",
        "the sweep broke off (RuntimeError: raylet.NodeError: no node came up)",
        "once the cause is mended, go on with: gantrick train resume=sweep",
    ]


# --- W&B's agent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "scripts").glob("*sweep*.yaml")), ids=lambda f: f.name)
def test_what_wandbs_agent_calls_is_a_run(file: Path) -> None:
    """W&B's own code makes the command line of the example, for the first and the last value of each parameter."""
    import yaml
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    described = yaml.safe_load(file.read_text())
    assert described["command"] == ["${env}", "gantrick", "train", "${args_no_hyphens}"]
    for end in (0, -1):
        values = {
            name: {
                "value": p["value"] if "value" in p else p["values"][end] if "values" in p else p[("min", "max")[end]]
            }
            for name, p in described["parameters"].items()
        }
        made = create_sweep_command_args({"args": values})
        words = [
            w
            for part in create_sweep_command(list(described["command"]))
            for w in ([part] if part != "${args_no_hyphens}" else made["args_no_hyphens"])
        ]
        assert words[:3] == ["${env}", "gantrick", "train"]
        recipe = config.compose(words[3:])
        for name, value in values.items():
            node: Any = recipe.resolved
            for part in name.split("."):
                node = node[part]
            if isinstance(value["value"], (int, float)):
                assert node == value["value"]
        metric = recipe.metrics[0].create()
        assert described["metric"]["name"] == f"best/{metric.primary}"
        assert described["metric"]["goal"] == ("minimize" if metric.lower_is_better else "maximize")


def test_a_name_of_the_agents_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean optimizer"):
        config.compose(["optimiser.lr=0.1"])
