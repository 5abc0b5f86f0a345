"""Searches by Optuna, beside a study of Optuna's own; a run is a stand-in whose figure is a formula of its settings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from gantrick import cli, launch
from gantrick.recipe import Recipe
from gantrick.types import GantrickError

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="Optuna's sweeper is not installed")

RING = ["dataset=ring", "wandb.mode=disabled", "device=cpu", "hydra.sweep.dir=search"]
FEW = ["hydra.sweeper.sampler.n_startup_trials=3"]  # TPE's trials that are random


def score(lr: float, d_steps: int) -> float:
    return -((math.log10(lr) + 3) ** 2) - 0.1 * d_steps


class Stand:
    """A trainer that knows the figure at once. It fails, or is interrupted, where it is told to."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str, int]] = []
        self.fails, self.interrupted = set[int](), -1

    def __call__(self, made: Recipe, folder: Path, *, command: Any, sweep: Any, resume: bool) -> int:
        settings, lr = made.settings, float(made.resolved["optimizer"]["generator"]["lr"])
        if int(folder.name) == self.interrupted:
            raise KeyboardInterrupt
        self.seen.append((lr, str(made.resolved["optimizer"]["betas"]), settings.d_steps))
        (folder / "config.yaml").write_text(yaml.safe_dump(dict(made.resolved)))
        failing = int(folder.name) in self.fails
        status = {"state": "failed" if failing else "finished", "step": 0, "reason": "it broke" if failing else None}
        (folder / "status.json").write_text(json.dumps(status))
        if failing:
            raise GantrickError("it broke")
        figures = {"figures": {"modes/score": score(lr, settings.d_steps), "modes/kl": 99.0}}
        (folder / "evaluation.json").write_text(json.dumps({"best": figures, "last": figures}))
        return 0


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    monkeypatch.chdir(tmp_path)
    made = Stand()
    monkeypatch.setattr(launch, "run", made)
    return made


def own_study(sampler: Any, trials: int) -> tuple[list[tuple[float, str, int]], Any]:
    """The same search, written with Optuna alone."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, asked = optuna.create_study(sampler=sampler, direction="maximize"), []
    betas = ["[0.0,0.9]", "[0.0,0.99]", "[0.5,0.9]", "[0.5,0.999]", "[0.9,0.999]"]
    for _ in range(trials):
        trial = study.ask()
        lr = trial.suggest_float("optimizer.generator.lr", 1e-5, 1e-2, log=True)
        trial.suggest_float("optimizer.discriminator.lr", 1e-5, 1e-2, log=True)
        beta = trial.suggest_categorical("optimizer.betas", betas)
        d_steps = trial.suggest_categorical("d_steps", [1, 2, 5])
        study.tell(trial, score(lr, d_steps))
        asked.append((lr, beta.replace(",", ", "), d_steps))
    return asked, study.best_trial


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_it_asks_for_what_optuna_asks_for(name: str, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    """Past TPE's random trials, so that what it is told matters: the figure, and that more of it is better."""
    samplers = optuna.samplers
    sampler = samplers.TPESampler(seed=3, n_startup_trials=3) if name == "tpe" else samplers.RandomSampler(seed=3)
    trials = 8 if name == "tpe" else 3
    asked, best = own_study(sampler, trials)
    words = [*RING, f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.sampler.seed=3", *(FEW if name == "tpe" else [])]
    assert cli.main(["train", "-m", f"hparams_search=optuna_{name}", *words]) == 0
    assert [one[1:] for one in stand.seen] == [one[1:] for one in asked]
    assert [one[0] for one in stand.seen] == pytest.approx([one[0] for one in asked])
    told = yaml.safe_load(Path("search/optimization_results.yaml").read_text())
    assert told["best_value"] == pytest.approx(best.value)
    assert max(score(lr, d) for lr, _, d in stand.seen) == pytest.approx(best.value)


def test_a_trial_that_fails_is_told_and_the_search_goes_on(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    stand.fails = {1}
    assert cli.main(["train", "-m", "hparams_search=optuna_tpe", *RING, "hydra.sweeper.n_trials=4"]) == 1
    assert len(stand.seen) == 4
    err = capsys.readouterr().err
    assert "gantrick train: error: job 1: it broke (see search/1)\n" in err and "not begun" not in err
    assert yaml.safe_load(Path("search/optimization_results.yaml").read_text())["best_value"] < 0


def test_where_all_fail_there_is_no_best(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    stand.fails = {0, 1}
    assert cli.main(["train", "-m", "hparams_search=optuna_tpe", *RING, "hydra.sweeper.n_trials=2"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gantrick train: error: ")]
    assert [line.split(": ")[2] for line in told[:2]] == ["job 0", "job 1"]
    assert "the sweep broke off (ValueError: No trials are completed yet" in told[2]


def test_a_search_that_was_cut_off_asks_for_the_same_again(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["hparams_search=optuna_tpe", *RING[:-1], *FEW, "hydra.sweeper.n_trials=7"]
    assert cli.main(["train", "-m", *words, "hydra.sweep.dir=alone"]) == 0
    alone, stand.seen, stand.interrupted = stand.seen, [], 5
    assert cli.main(["train", "-m", *words, RING[-1]]) == 130
    assert len(stand.seen) == 5
    stand.interrupted = -1
    assert cli.main(["train", "resume=search"]) == 0
    assert stand.seen == alone, "of finished jobs the figure is read, and none runs twice"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["metric=[]"], "metric=[]: a search needs a figure to go by"),
        (["hydra.sweeper.direction=minimize"], "hydra.sweeper.direction=minimize: modes/score asks for maximize"),
        (["dataset.samples=500", "metric=[modes],[modes,prdc]"], "a search goes by one figure of one data set"),
    ],
)
def test_what_is_no_search(words: list[str], message: str, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "-m", "hparams_search=optuna_tpe", *RING, *words]) == 2
    assert message in capsys.readouterr().err and not Path("search").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.sweeper.storage=sqlite:///study.db", "resume: the study is kept in sqlite:///study.db"),
        ("hydra.sweeper.sampler.seed=null", "resume: a search whose hydra.sweeper.sampler.seed is null"),
    ],
)
def test_what_cannot_be_gone_on_with(word: str, message: str, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    stand.interrupted = 0
    assert cli.main(["train", "-m", "hparams_search=optuna_tpe", *RING, word]) == 130
    capsys.readouterr()
    assert cli.main(["train", "resume=search"]) == 2
    assert message in capsys.readouterr().err


def test_a_study_that_is_kept_is_added_to(stand: Stand) -> None:
    words = ["hparams_search=optuna_tpe", *RING[:-1], "hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=s"]
    words += ["hydra.sweeper.storage=sqlite:///study.db"]
    for number in (0, 1):
        assert cli.main(["train", "-m", *words, f"hydra.sweep.dir={number}"]) == 0
    study = optuna.load_study("s", "sqlite:///study.db")
    assert [trial.value for trial in study.trials] == pytest.approx([score(lr, d) for lr, _, d in stand.seen])
    assert len(study.trials) == 4
