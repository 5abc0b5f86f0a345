"""Whole runs on pictures that are read ahead: the bits of a run from memory, resumed too; and how they fail."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playing import equal

import gantrick
import gantrick.gan
import gantrick.recipe
from gantrick import checkpoint, cli, registry
from gantrick.feed import Feed, stream
from gantrick.recipe import Recipe
from gantrick.stages import Component
from gantrick.tracking.console import Console
from gantrick.trainer import Trainer, run
from gantrick.types import GantrickError, Samples


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of thirty."""
    stream = np.random.default_rng(0)
    for n in range(60):
        at = tmp_path / "pictures" / "ab"[n % 2]
        at.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stream.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(at / f"{n:02}.png")
    return tmp_path / "pictures"


def words(pictures: Path, *more: str) -> list[str]:
    return [
        "dataset=image_folder", f"dataset.path={pictures}", "dataset.size=16", "dataset.flip=true", "steps=9",
        "batch_size=16", "model.g_width=4", "model.d_width=4", "extractor=digits_cnn", "eval_samples=30",
        "log_every=1", "eval_every=4", "sample_every=0", "checkpoint_every=2", "wandb.mode=disabled", "device=cpu", *more,
    ]  # fmt: skip


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in found]


def bits(folder: Path) -> dict[str, torch.Tensor]:
    gan = checkpoint.load(folder / "checkpoints" / "last.pt")["gan"]
    return {f"{p}.{k}": v for p in ("generator", "discriminator") for k, v in gan[p].items()}


@pytest.fixture
def struck() -> Iterator[type[Component]]:
    """A trick that lets a blow fall at a step."""

    class Blow(Component):
        at, fall = -1, staticmethod(lambda: None)

        def schedule(self, step: int) -> None:
            if step == Blow.at:
                Blow.fall()

    before = dict(registry._registered)
    registry.register("trick.blow")(Blow)
    yield Blow
    registry._registered.clear()
    registry._registered.update(before)


def blown(pictures: Path, *more: str) -> Recipe:
    made = gantrick.compose(words(pictures, *more))
    return gantrick.recipe.check({**made.resolved, "trick": {"blow": {"name": "blow"}}})


def test_the_same_bits_from_memory_and_from_files_and_resumed(tmp_path: Path, pictures: Path, struck: Any) -> None:
    """Rows with their figures, and networks; a zip of the same files too. 9 batches of 16 are 2.4 epochs of 60."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    quiet = Console(quiet=True)
    folders = []
    for name, resident in (("memory", "true"), ("files", "false")):
        folders.append(tmp_path / name)
        assert (
            run(blown(pictures, f"dataset.resident={resident}", "dataset.workers=2"), folders[-1], console=quiet) == 0
        )
    struck.at, struck.fall = 5, staticmethod(interrupt)
    made = blown(pictures, "dataset.resident=false", "dataset.workers=1")
    folders.append(tmp_path / "resumed")
    with pytest.raises(KeyboardInterrupt):
        run(made, folders[-1], console=quiet)
    struck.at = -1
    assert run(made, folders[-1], console=quiet, resume=True) == 0
    expected = rows(folders[0])
    assert sum("fid/digits_cnn" in row for row in expected) == 4
    for folder in folders[1:]:
        assert rows(folder) == expected and equal(bits(folder), bits(folders[0]))
    protocols = [json.loads((f / "evaluation.json").read_text())["last"]["protocol"] for f in folders]
    assert protocols[0] == protocols[1] and protocols[0]["fid/digits_cnn"]["reference_count"] == 60


def test_a_limit_is_what_figures_compare_with(tmp_path: Path, pictures: Path) -> None:
    made = gantrick.compose(words(pictures, "dataset.limit=20", "steps=1"))
    assert "20 of its samples" in gantrick.gan.plan(made)
    assert run(made, tmp_path / "run", console=Console(quiet=True)) == 0
    protocol = json.loads((tmp_path / "run" / "evaluation.json").read_text())["last"]["protocol"]["fid/digits_cnn"]
    assert (protocol["reference_count"], protocol["split"]) == (20, "train")
    assert "limit: 20" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_a_killed_reader_ends_the_run_in_a_sentence(tmp_path: Path, pictures: Path, struck: Any) -> None:
    trainer = Trainer(
        blown(pictures, "dataset.resident=false", "dataset.workers=2", "metric=[]"),
        tmp_path / "run",
        console=Console(quiet=True),
    )
    workers: list[Any] = []

    def kill() -> None:
        assert trainer.feed._ahead is not None
        workers.extend(trainer.feed._ahead.iterator._workers)
        os.kill(workers[0].pid, signal.SIGKILL)

    struck.at, struck.fall = 3, staticmethod(kill)
    with pytest.raises(GantrickError, match=r"^dataset: a process that reads pictures has ended .*\.png; was there"):
        trainer.run()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (
        status["state"] == "failed" and status["reason"].startswith("dataset: a process") and "traceback" not in status
    )
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)
    struck.at = -1
    assert run(trainer.recipe, tmp_path / "run", console=Console(quiet=True), resume=True) == 0


def test_a_file_that_is_broken_is_named_by_the_command(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A picture that nobody looked at before the run: exit code 1, one line, and the run can be resumed when mended."""
    order, *_ = Feed(Samples(torch.zeros(60, 1)), torch.device("cpu"), stream(0, "data"))._order(0)
    broken = sorted(pictures.rglob("*.png"))[int(order[50])]  # of the fourth batch
    mended = broken.read_bytes()
    broken.write_bytes(mended[:40])
    more = [
        "dataset.resident=false",
        "dataset.workers=2",
        "checkpoint_every=1",
        "metric=[]",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    assert cli.main(["train", *words(pictures, *more)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if line.startswith("gantrick train: error:")]
    assert f"cannot read 1 of 16 pictures in {pictures}: {broken.relative_to(pictures)} (" in line
    broken.write_bytes(mended)
    assert cli.main(["train", f"resume={tmp_path / 'run'}", "dataset.workers=1"]) == 0
    assert rows(tmp_path / "run")[-1]["step"] == 9


def test_the_workers_end_with_the_run(tmp_path: Path, pictures: Path) -> None:
    made = gantrick.compose(words(pictures, "dataset.resident=false", "dataset.workers=2", "metric=[]", "steps=2"))
    trainer = Trainer(made, tmp_path / "run", console=Console(quiet=True))
    seen: list[Any] = []
    log = trainer._log

    def note(values: dict[str, float]) -> None:
        assert trainer.feed._ahead is not None
        seen.extend(trainer.feed._ahead.iterator._workers)
        log(values)

    trainer._log = note  # type: ignore[method-assign]
    assert trainer.run() == 0
    assert seen and not any(worker.is_alive() for worker in seen)
