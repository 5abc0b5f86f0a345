"""Studies as files: what they sweep over, and that what is drawn is drawn as they say."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from gantrick import cli, config
from gantrick.recipe import Recipe, check
from gantrick.types import ConfigError

FOLDER = config.config_dir() / "hparams_search"
SEARCHES = sorted(file.stem for file in FOLDER.glob("large_scale*.yaml"))


def jobs(*words: str) -> list[list[str]]:
    with config.composer() as composing:
        return composing.jobs(list(words), multirun=True).each


def recipe(*words: str) -> Recipe:
    with config.composer() as composing:
        return check(composing.resolved(list(words)))


def test_fifty_seeds_differ_in_nothing_else() -> None:
    found = jobs("hparams_search=seeds_50", "loss=hinge")
    assert [next(text for text in job if text.startswith("seed=")) for job in found] == [f"seed={k}" for k in range(50)]
    one, other = (recipe(*found[k]).resolved for k in (0, 49))
    assert {**one, "seed": 49} == other


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_a_hundred_runs_in_its_ranges(name: str) -> None:
    found = jobs(f"hparams_search={name}")
    assert len(found) == 100
    rates, settings = set(), set()
    for job in found[:5]:
        made = recipe(*job)
        adam = made.optimizers.discriminator
        assert adam.name == "adam" and adam == made.optimizers.generator
        assert 1e-5 <= adam.options["lr"] <= 1e-2 and 0 <= adam.options["betas"][0] < 1
        assert made.settings.d_steps in (1, 5) and made.settings.batch_size == 64
        rates.add(adam.options["lr"])
        options = {part.key: part.options for part in (*made.regularizers, made.loss)}
        assert made.optimizers.schedule == "constant"
        own = {
            "gp": {"weight": (0.1, 100)},
            "dragan": {"weight": (0.1, 100)},
            "weight_clip": {"bound": (1e-3, 1)},
            "loss": {"diversity": (0, 1), "k_rate": (1e-4, 1e-2)},
        }  # params.py of google/compare_gan, its wide ranges
        drawn = [options[k][s] for k, ranges in own.items() for s in ranges if s in options.get(k, {})]
        for key, ranges in own.items():
            for setting, (low, high) in ranges.items():
                assert low <= options.get(key, {}).get(setting, low) <= high
        assert len(drawn) == {"large_scale": 0, "large_scale_began": 2}.get(name, 1)
        settings.add(tuple(drawn))
        assert made.model.options["d_norm"] == "auto" or name not in ("large_scale_gp", "large_scale_dragan")
    assert len(rates) == 5 and len(settings) == (1 if name == "large_scale" else 5)


def test_what_is_drawn_is_distributed_as_said() -> None:
    """Kolmogorov and Smirnov, wrong in 1 of 10,000 each; the seeds are fixed."""
    lr = np.array([config._drawn(seed, "lr", "log", 1e-5, 1e-2) for seed in range(2000)])
    beta = np.array([config._drawn(seed, "beta1", "uniform", 0, 1) for seed in range(2000)])
    assert kstest(np.log10(lr), "uniform", (-5, 3)).pvalue > 1e-4
    assert kstest(beta, "uniform").pvalue > 1e-4
    steps = [config._drawn(seed, "d_steps", "of", 1, 5) for seed in range(2000)]
    assert abs(steps.count(5) - 1000) < 3.9 * math.sqrt(500)
    assert abs(np.corrcoef(np.log(lr), beta)[0, 1]) < 3.9 / math.sqrt(2000), "each name has a stream of its own"
    assert lr[3] == config._drawn(3, "lr", "log", 1e-5, 1e-2)


@pytest.mark.parametrize("how", [("log", 0, 1), ("log", 2, 1), ("of",), ("normal", 0, 1), ("uniform", 1)])
def test_a_draw_that_makes_no_sense_is_refused(how: tuple[object, ...]) -> None:
    with pytest.raises(ConfigError, match=r"gantrick\.drawn:lr: is drawn"):
        config._drawn(0, "lr", *how)  # type: ignore[arg-type]


def test_the_command_line_wins_over_the_file() -> None:
    assert len(jobs("hparams_search=large_scale", "seed=range(0,3)")) == 3
    found = jobs("hparams_search=large_scale", "loss=hinge,lsgan", "seed=5")
    assert [[text for text in job if text.startswith("seed=")] for job in found] == [["seed=5"]] * 2
    assert recipe("hparams_search=large_scale", "optimizer.lr=0.1").optimizers.generator.options["lr"] == 0.1


def test_what_only_some_runs_would_refuse_is_found_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A penalty rules batch normalisation in D out, which some seeds draw."""
    monkeypatch.chdir(tmp_path)
    norms = [recipe("hparams_search=large_scale", f"seed={seed}").model.options["d_norm"] for seed in range(4)]
    assert set(norms) == {"batch", "none"}
    assert cli.main(["train", "hparams_search=large_scale", "loss=wgan_gp", "seed=range(0,4)"]) == 2
    err = capsys.readouterr().err
    named = [k for k, norm in enumerate(norms) if norm == "batch"]
    assert f"job{'s' * (len(named) > 1)} {', '.join(map(str, named))} (" in err and not list(tmp_path.iterdir())


def test_a_small_search_runs_with_the_basic_sweeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["hparams_search=large_scale_clip", "seed=range(0,2)", "dataset=ring", "debug=fast", "wandb.mode=disabled"]
    assert cli.main(["train", "-m", *words, "dataset.samples=200", "hydra.sweep.dir=s"]) == 0
    states = [json.loads((tmp_path / "s" / str(k) / "status.json").read_text())["state"] for k in (0, 1)]
    assert states == ["finished"] * 2


def test_a_sweeper_that_looks_for_the_best_is_told_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's random sampler; its best value is the best of the runs' own."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install gantrick[sweep] brings it")
    import yaml

    monkeypatch.chdir(tmp_path)
    how = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    how += ["hydra.sweeper.direction=maximize", "hydra.sweep.dir=s", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sqlalchemy's, of optuna
        assert cli.main(["train", "-m", *how, "dataset=ring", "debug=fast", "wandb.mode=disabled"]) == 0
    best = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())["best_value"]
    own = [json.loads(f.read_text())["best"]["figures"] for f in (tmp_path / "s").glob("*/evaluation.json")]
    assert best == max(figures["modes/score"] for figures in own) and len(own) == 2
