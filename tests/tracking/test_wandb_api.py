"""Runs of a W&B project, from answers as its server gives them, read by W&B's own classes; nothing is asked of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playing import recipe
from wandb.apis.public import Run
from wandb.errors import CommError

from gantrick import cli
from gantrick.analysis.compare import Figure, of_records, read, table
from gantrick.recipe import check
from gantrick.tracking import wandb_api
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.types import ConfigError, GantrickError

FID = "fid/digits_cnn"


def node(name: str, state: str, config: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """A run as the server answers: config and summary are text."""
    return {
        "id": f"UnVuOg{name}",
        "name": name,
        "displayName": f"hinge {name}",
        "state": state,
        "config": json.dumps({key: {"value": value, "desc": None} for key, value in config.items()}),
        "summaryMetrics": json.dumps(summary),
        "systemMetrics": None,
        "createdAt": "2026-11-20T10:00:00Z",
        "heartbeatAt": "2026-11-20T10:05:00Z",
        "tags": ["hinge"],
        "group": "sweep-1",
        "sweepName": None,
        "historyKeys": None,
    }


def entry(seed: int, loss: str = "hinge") -> dict[str, Any]:
    whole = {"steps": 100, "seed": seed, "loss": {"name": loss}, "model": {"name": "dcgan"}}
    return {"loss": loss, "seed": seed, "folder": f"runs/{seed}", "gantrick": whole, "_wandb": {"cli_version": "0.31"}}


def figures(best: float, last: float, **more: Any) -> dict[str, Any]:
    named = {f"best/{FID}": best, f"last/{FID}": last, "best/step": 50, "last/step": 100, f"protocol/{FID}": "abc"}
    return {**named, "step": 100, "seconds": 20.0, FID: {"min": best, "last": last}, "_runtime": 21, **more}


RECORDED = [
    node("a1", "finished", entry(0), figures(10.0, 12.0, status="finished")),
    node("a2", "finished", entry(1), figures(11.0, 15.0, status="finished", stopped_early=True, reason="stopped at …")),
    node("b1", "failed", entry(0, "wgan"), figures(8.0, "NaN", status="preempted", reason="stopped by SIGTERM")),
    node("b2", "crashed", entry(1, "wgan"), {"step": 40, "seconds": 8.0}),
    node("c1", "running", {"lr": 0.1}, {}),
]


class Server:
    """What `wandb.Api` is to its callers; the runs are W&B's own objects, made of the answers."""

    def __init__(self, nodes: list[dict[str, Any]]):
        self.nodes, self.asked = nodes, list[Any]()

    def runs(self, path: str, filters: Any = None, order: str = "", lazy: bool = True) -> Iterator[Run]:
        self.asked.append((path, filters))
        for attributes in self.nodes:
            yield Run(None, "lab", path.rpartition("/")[2], attributes["name"], attributes, lazy=lazy)  # type: ignore[arg-type]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server([dict(one) for one in RECORDED])
    monkeypatch.setattr(wandb_api, "_client", lambda: made)
    return made


def test_the_table_of_a_project(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--wandb", "lab/gans", "--filter", "group=sweep-1", "--json", str(tmp_path / "t.json")]
    assert cli.main(["compare", *words]) == 0
    out, err = capsys.readouterr()
    assert err == "gantrick compare: warning: lab/gans/c1: is no run of gantrick's; it is left out\n"
    assert server.asked == [("lab/gans", {"group": "sweep-1"})]
    hinge, wgan = json.loads((tmp_path / "t.json").read_text())
    assert (hinge["loss.name"], hinge["runs"], hinge["finished"], hinge["stopped"]) == ("hinge", 2, 2, 1)
    assert (hinge[f"{FID} best"], hinge[f"{FID} last"], hinge["s/step"]) == (10.5, 13.5, 0.2)
    assert (wgan["finished"], wgan[f"{FID} best"], wgan[f"{FID} last"]) == (0, 8.0, None)
    assert "lab/gans/b1: preempted at step 100, stopped by SIGTERM" in out
    assert "lab/gans/b2: failed at step 40" in out and "2, 1 of them stopped early" in out


def test_a_run_is_the_same_at_wandb_and_in_its_folder(tmp_path: Path) -> None:
    """What a run leaves offline, read by W&B's own tool, makes the row that its folder makes."""
    made = recipe(
        steps=2, log_every=1, eval_every=1, sample_every=0, checkpoint_every=2, batch_size=6, eval_samples=32,
        wandb={"mode": "offline"}, runs_dir=str(tmp_path),
    ).resolved  # fmt: skip
    fid = {"name": "fid", "extractor": "digits_cnn"}
    assert run(check({**made, "metric": {"fid": fid}}), tmp_path / "run", console=Console(quiet=True)) == 0
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "_WANDB"))}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env={**kept, "HOME": str(tmp_path)})
    seen = json.loads(told.stdout)
    record = {"path": "lab/gans/x", "state": "finished", "config": seen["config"], "summary": seen["summary"]}
    [there], [here] = of_records([record]), read([tmp_path / "run"])
    assert len(here.best) == 1 and next(iter(here.best)).fingerprint
    for name in ("best", "last", "seed", "step", "state", "stopped", "reason"):
        assert getattr(there, name) == getattr(here, name), name
    assert there.seconds == pytest.approx(here.seconds)
    assert table([there, here]).numbers[0]["runs"] == 2, "both are one row"


def test_figures_without_a_protocol_are_their_own(server: Server) -> None:
    summary = {k: v for k, v in figures(1.0, 2.0).items() if not k.startswith("protocol/")}
    server.nodes = [node("old", "finished", entry(0), summary)]
    [found] = of_records(wandb_api.records("lab/gans", {}))
    assert found.best == {Figure(FID, ""): 1.0} and found.path == Path("lab/gans/old")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], {}),
        (["tag=wgan_ct"], {"tags": {"$in": ["wgan_ct"]}}),
        (["state=finished", "seed=1"], {"$and": [{"state": "finished"}, {"config.seed": 1}]}),
        (["loss=hinge"], {"config.loss": "hinge"}),
        (['{"config.seed": {"$lt": 3}}'], {"config.seed": {"$lt": 3}}),
    ],
)
def test_filters_are_wandbs(words: list[str], wanted: dict[str, Any]) -> None:
    assert wandb_api.filters(words) == wanted


@pytest.mark.parametrize("word", ["{bad", "hinge", "=3", "seed=[1"])
def test_filters_that_cannot_be_read(word: str) -> None:
    with pytest.raises(ConfigError, match="--filter"):
        wandb_api.filters([word])


@pytest.mark.parametrize(
    "error", [CommError("HTTP 404: no\nsuch"), ValueError("Could not find project gans"), ConnectionError("refused")]
)
def test_no_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    class Silent:
        def runs(self, path: str, filters: Any = None, order: str = "") -> Any:
            raise error

    monkeypatch.setattr(wandb_api, "_client", Silent)
    assert cli.main(["compare", "--wandb", "lab/gans"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("gantrick compare: error: --wandb lab/gans: cannot be read (") and err.count("\n") == 1


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k != "NETRC"}
    environment = {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-m", "gantrick", "compare", "--wandb", "lab/gans"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("gantrick compare: error: --wandb: no key is configured here; use `wandb login`")
    assert done.stderr.count("\n") == 1


def test_folders_and_a_project_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["runs/a", "--wandb", "lab/gans"]):
        assert cli.main(["compare", *words]) == 2
        assert "one of the two" in capsys.readouterr().err
    assert cli.main(["compare", "runs/a", "--filter", "seed=1"]) == 2
    assert "--filter: chooses among the runs of a W&B project" in capsys.readouterr().err


def test_an_error_of_ours_stays_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Any:
        raise GantrickError("--wandb: no key")

    with pytest.raises(GantrickError, match=r"^--wandb: no key$"):
        wandb_api.records("lab/gans", {}, refused)
