"""Whole runs, small: what they leave behind, what they survive, and how they end."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from playing import Game, equal, networks, recipe

from gantrick import checkpoint, registry, sampling
from gantrick import step as step_module
from gantrick.recipe import Recipe, check
from gantrick.stages import Component
from gantrick.tracking import folder as folder_module
from gantrick.tracking.console import Console
from gantrick.tracking.folder import RunFolder
from gantrick.trainer import Diverged, Trainer, run
from gantrick.types import Batch, Figures, GantrickError, Latents, Metric, Stream, Verdict

FID = {"fid": {"name": "fid", "extractor": "digits_cnn", "samples": 100}}


def small(*, metric: dict | None = None, **more) -> Recipe:
    settings = {"steps": 4, "batch_size": 6, "log_every": 2, "eval_every": 2, "sample_every": 2, "checkpoint_every": 2}
    made = recipe(**{**settings, "wandb": {"mode": "disabled"}, **more}).resolved
    return check({**made, "metric": FID if metric is None else metric})


def train(made: Recipe, folder: Path) -> Path:
    assert run(made, folder, console=Console(quiet=True)) == 0
    return folder


def rows(folder: Path, *, clock: bool = True) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = {"seconds", "images_per_second"}
    return found if clock else [{k: v for k, v in row.items() if k not in timed} for row in found]


@pytest.fixture
def registered() -> Iterator[dict]:
    """Classes registered by a test are forgotten after it."""
    before = dict(registry._registered)
    yield registry._registered
    registry._registered.clear()
    registry._registered.update(before)


def test_the_run_folder_is_the_contract(tmp_path: Path) -> None:
    made = small(loss="wgan", regularizer={"gp": {}, "ct": {}}, trick={"cascading": {"scores": 3}, "ema": {}})
    folder = train(made, tmp_path / "run")
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    grids = {f"samples/{step:07d}.png" for step in (0, 2, 4)}
    assert names == grids | {
        "config.yaml", "plan.txt", "status.json", "environment.json", "metrics.jsonl", "evaluation.json",
        "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt",
    }  # fmt: skip
    assert yaml.safe_load((folder / "config.yaml").read_text()) == made.resolved
    assert "trick.cascading" in (folder / "plan.txt").read_text()
    status = json.loads((folder / "status.json").read_text())
    assert (status["status"] if "status" in status else status["state"]) == "finished" and status["step"] == 4
    keys = set().union(*(row.keys() for row in rows(folder)))
    assert keys >= {
        "step", "images", "seconds", "fid/digits_cnn", "loss/d", "loss/d_real", "loss/d_fake", "loss/g", "penalty/gp",
        "penalty/ct", "score/real", "score/fake", "score/real_1", "score/fake_3", "accuracy/d", "grad_norm/d",
        "grad_norm/g", "lr/d", "lr/g", "images_per_second", "wasserstein",
    }  # fmt: skip
    assert [row["step"] for row in rows(folder) if "fid/digits_cnn" in row] == [0, 2, 4]
    report = json.loads((folder / "evaluation.json").read_text())
    protocol = report["last"]["protocol"]["fid/digits_cnn"]
    assert protocol["fakes"] == 100 and protocol["generator"] == "ema" and protocol["fingerprint"]
    assert report["best"]["figures"]["fid/digits_cnn"] <= report["last"]["figures"]["fid/digits_cnn"]
    with Image.open(folder / "samples/0000004.png") as picture:
        assert min(picture.size) >= 200


def test_logged_terms_add_up(tmp_path: Path) -> None:
    made = small(loss="wgan", regularizer={"gp": {}, "r1": {"weight": 0.1}}, metric={}, steps=3, log_every=1)
    for row in (r for r in rows(train(made, tmp_path / "run")) if "loss/d" in r):
        parts = row["loss/d_real"] + row["loss/d_fake"] + row["penalty/gp"] + row["penalty/r1"]
        assert row["loss/d"] == pytest.approx(parts, rel=1e-5)
        assert row["wasserstein"] == pytest.approx(row["score/real"] - row["score/fake"], rel=1e-5)


def test_the_same_seed_repeats_and_evaluation_is_never_noticed(tmp_path: Path) -> None:
    made = small(trick={"instance_noise": {}, "ema": {}})
    first, second = train(made, tmp_path / "a"), train(made, tmp_path / "b")
    assert rows(first, clock=False) == rows(second, clock=False)
    seldom = check({**made.resolved, "eval_every": 0, "sample_every": 0, "checkpoint_every": 0})
    third = train(seldom, tmp_path / "c")
    states = [checkpoint.load(folder / "checkpoints" / "last.pt") for folder in (first, second, third)]
    for state in states[1:]:
        for part in ("generator", "discriminator", "components"):
            assert all(torch.equal(v, state["gan"][part][k]) for k, v in states[0]["gan"][part].items())
    other = train(check({**made.resolved, "seed": 1}), tmp_path / "d")
    assert rows(other, clock=False) != rows(first, clock=False)


def test_a_figure_is_the_same_after_training(tmp_path: Path) -> None:
    made = small(trick={"ema": {}})
    folder = train(made, tmp_path / "run")
    trained = sampling.load(folder, "last")
    trainer = Trainer(made, tmp_path / "again", console=Console(quiet=True))
    trainer.folder.open(made.resolved, "", {})
    trainer._build()
    trainer.gan.load_state_dict(trained.gan.state_dict())
    trainer._evaluate()
    assert trainer.last["figures"] == json.loads((folder / "evaluation.json").read_text())["last"]["figures"]


def test_a_trained_run_draws_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folder = train(small(trick={"ema": {}}), tmp_path / "run")
    trained = sampling.load(folder, "last")
    images = trained.sample(5, seed=3)
    assert images.shape == (5, 1, 8, 8) and images.abs().max() <= 1
    assert torch.equal(images, sampling.load(folder, "last").sample(5, seed=3))
    assert not torch.equal(images, trained.sample(5, seed=4))
    assert not torch.equal(images, trained.sample(5, seed=3, weights="raw"))
    batches = list(sampling.draw(trained.gan, 7, 3, batch_size=2))
    assert [len(b) for b in batches] == [2, 2, 2, 1]
    torch.testing.assert_close(torch.cat(batches), trained.sample(7, seed=3), rtol=0, atol=1e-6)
    with pytest.raises(GantrickError, match="keeps no averaged weights"):
        sampling.load(train(small(), tmp_path / "plain")).sample(1, weights="ema")
    with pytest.raises(GantrickError, match=r"no config\.yaml"):
        sampling.load(tmp_path)


def test_samples_that_are_not_accepted_are_drawn_again(tmp_path: Path, registered: dict) -> None:
    class Picky(Component):
        def accept(self, mask, images, output):
            return mask & (torch.arange(len(images)) % 3 == 0)

    registry.register("trick.picky")(Picky)
    folder = train(small(trick={"picky": {}}, metric={}), tmp_path / "run")
    assert sampling.load(folder).sample(20).shape == (20, 1, 8, 8)


def test_a_metric_that_fails_does_not_end_training(tmp_path: Path, registered: dict) -> None:
    class Broken(Metric):
        primary = "broken"

        def evaluate(self, evaluation):
            raise ZeroDivisionError("no samples")

    class Sound(Metric):
        primary = "sound"

        def evaluate(self, evaluation):
            return Figures({"sound": float(evaluation.step)})

    registry.register("metric.broken")(Broken)
    registry.register("metric.sound")(Sound)
    folder = train(small(metric={"broken": {"name": "broken"}, "sound": {"name": "sound"}}), tmp_path / "run")
    assert [row["sound"] for row in rows(folder) if "sound" in row] == [0.0, 2.0, 4.0]


def test_best_is_by_the_first_metric(tmp_path: Path, registered: dict) -> None:
    class Valley(Metric):
        primary = "valley"

        def evaluate(self, evaluation):
            return Figures({"valley": abs(evaluation.step - 2) if evaluation.step else math.nan})

    registry.register("metric.valley")(Valley)
    folder = train(small(metric={"valley": {"name": "valley"}}), tmp_path / "run")
    assert checkpoint.load(folder / "checkpoints" / "best.pt")["step"] == 2
    assert checkpoint.load(folder / "checkpoints" / "last.pt")["step"] == 4


def test_a_value_that_is_not_finite_stops_the_run_and_names_itself(tmp_path: Path, registered: dict) -> None:
    class Poison(Component):
        step = 0

        def schedule(self, step):
            self.step = step

        def d_penalty(self, inputs):
            return inputs.fake.scores.sum() * (math.nan if self.step == 5 else 0.0)

    registry.register("trick.poison")(Poison)
    made = small(trick={"poison": {}}, steps=20, metric={})
    with pytest.raises(Diverged, match=r"step 5: penalty/poison is not finite.*lower optimizer\.lr"):
        run(made, tmp_path / "run", console=Console(quiet=True))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert "failed" in status.values() and "penalty/poison" in status["reason"]
    kept = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert kept["step"] == 4 and all(torch.isfinite(v).all() for v in kept["gan"]["generator"].values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_first(tmp_path: Path, registered: dict, number: int) -> None:
    class Visitor(Component):
        def schedule(self, step):
            if step == 2:
                os.kill(os.getpid(), number)

    registry.register("trick.visitor")(Visitor)
    before = signal.getsignal(number)
    code = run(small(trick={"visitor": {}}, steps=50), tmp_path / "run", console=Console(quiet=True))
    assert code == 128 + number and signal.getsignal(number) is before
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert "preempted" in status.values() and status["step"] == 3
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 3


def test_a_watching_component_may_stop_the_run(tmp_path: Path, registered: dict) -> None:
    class Watcher(Component):
        def watch(self, row):
            return Verdict("stop", "seen enough") if row["step"] >= 4 and row["fid/digits_cnn"] > 0 else None

    registry.register("trick.watcher")(Watcher)
    folder = train(small(trick={"watcher": {}}, steps=50), tmp_path / "run")
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "finished" and status["reason"] == "stopped at step 4 by trick.watcher: seen enough"
    assert status["acts"] == [{"step": 4, "act": "stop", "reason": "trick.watcher: seen enough", "by": "trick.watcher"}]
    assert checkpoint.load(folder / "checkpoints" / "last.pt")["step"] == 4


def test_extra_streams_reach_the_component(tmp_path: Path, registered: dict) -> None:
    seen = []

    class Second(Component):
        def streams(self):
            return {"second": Stream(3)}

        def d_penalty(self, inputs):
            seen.append(inputs.real.batch.extra["second"].images.shape)
            return inputs.fake.scores.sum() * 0

    registry.register("trick.second")(Second)
    train(small(trick={"second": {}}, steps=2, metric={}), tmp_path / "run")
    assert set(seen) == {(3, 1, 8, 8)} and len(seen) >= 2


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_learning_rates_follow_their_schedule(tmp_path: Path, schedule: str) -> None:
    made = small(metric={}, steps=8, log_every=1)
    optimizer = {**made.resolved["optimizer"], "schedule": schedule, "decay_from": 2, "final": 0.1}
    folder = train(check({**made.resolved, "optimizer": optimizer}), tmp_path / "run")
    for row in (r for r in rows(folder) if "lr/g" in r):
        t = max(0, row["step"] - 1 - 2) / 6  # the rate of the step just made
        shape = (1 - math.cos(math.pi * t)) / 2 if schedule == "cosine" else t
        assert row["lr/g"] == pytest.approx(1e-3 * (1 - 0.9 * shape))


def test_accumulated_batches_make_the_gradient_of_their_union() -> None:
    """Two batches of 6 accumulated move as one of 12: no part of this run depends on the batch but through its mean."""
    sgd = {"name": "sgd", "lr": 1.0}
    made = recipe(model={"g_norm": "none", "d_norm": "none"}).resolved
    made = check({**made, "optimizer": {"generator": sgd, "discriminator": sgd}})
    whole, parts = Game(made), Game(made)
    before = whole.state()
    batch, z = whole.feed.next(12), whole.gan.latents(12, torch.Generator().manual_seed(0)).z
    halves = [(Batch(batch.images[i : i + 6]), Latents(z[i : i + 6])) for i in (0, 6)]
    for player in ("discriminator", "generator"):
        whole.play.move(player, [whole.play.evaluate(player, Batch(batch.images), Latents(z))])
        parts.play.move(player, [parts.play.evaluate(player, *half) for half in halves])
    moved = 0.0
    for name, value in networks(whole.state()).items():
        torch.testing.assert_close(value, parts.state()[name], rtol=1e-5, atol=1e-6)
        moved = max(moved, (value - before[name]).abs().max().item())
    assert moved > 1e-3


def test_a_failing_evaluation_leaves_training_as_it_was(tmp_path: Path, registered: dict) -> None:
    class Fails(Metric):
        primary = "fails"

        def evaluate(self, evaluation):
            self.kept = evaluation.fakes(50, 10)  # and never finished
            next(self.kept)
            raise MemoryError("no room")

    registry.register("metric.fails")(Fails)
    noise = {"instance_noise": {}}  # training draws random numbers
    broken = train(small(metric={"fails": {"name": "fails"}}, trick=noise), tmp_path / "a")
    sound = train(small(metric={}, trick=noise), tmp_path / "b")
    one, two = (checkpoint.load(f / "checkpoints" / "last.pt")["gan"]["generator"] for f in (broken, sound))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_figures_of_any_number_type_go_into_a_readable_checkpoint(tmp_path: Path, registered: dict) -> None:
    class Numpy(Metric):
        primary = "numpy"

        def evaluate(self, evaluation):
            return Figures({"numpy": np.float64(1.5)}, {"path": tmp_path, "count": np.int64(3)})

    registry.register("metric.numpy")(Numpy)
    folder = train(small(metric={"numpy": {"name": "numpy"}}), tmp_path / "run")
    assert checkpoint.load(folder / "checkpoints" / "best.pt")["best"]["value"] == 1.5


def test_drawing_ends_where_nothing_is_accepted(tmp_path: Path, registered: dict) -> None:
    class Never(Component):
        def accept(self, mask, images, output):
            return mask & False

    registry.register("trick.never")(Never)
    with pytest.raises(GantrickError, match="every sample was refused"):
        Game(recipe(trick={"never": {}})).samples()


def test_an_update_rule_of_evaluations_prepares_its_moves(registered: dict) -> None:
    """Spectral norm is iterated also under a rule that does not call `turn`, and frozen parameters stay."""

    class Simultaneous(Component):
        def begin(self, generator, discriminator):
            discriminator.body.downs[0].requires_grad_(False)

        def update_rule(self, play):
            drawn = {p: play.draw(p) for p in ("discriminator", "generator")}
            for player in drawn:
                play.prepare(player)
            records = {p: play.evaluate(p, *drawn[p]) for p in drawn}
            for player, record in records.items():
                play.move(player, [record])

    registry.register("trick.simultaneous")(Simultaneous)
    game = Game(recipe(loss="hinge", trick={"spectral_norm": {}, "simultaneous": {}}))
    before = game.state()
    game.rounds(2)
    after = game.state()
    moved = {name for name, value in networks(after).items() if not torch.equal(value, before[name])}
    assert any(name.endswith(".u") for name in moved)
    first = next(name for name in after if "downs.0" in name and name.endswith("original"))
    assert first not in moved and any("downs.1" in name for name in moved)


def test_bf16_trains_with_float32_losses(tmp_path: Path) -> None:
    made = small(loss="wgan", regularizer={"gp": {}}, precision="bf16")
    trainer = Trainer(made, tmp_path / "run", console=Console(quiet=True))
    trainer.folder.open(made.resolved, "", {})
    trainer._build()
    record = trainer.play.evaluate("discriminator", *trainer.play.draw("discriminator"))
    assert record.fake.scores.dtype == torch.float32 and all(v.dtype == torch.float32 for v in record.terms.values())
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in record.gradients.values())
    assert trainer.run() == 0


STATEFUL = [
    {"loss": "wgan", "regularizer": {"gp": {}, "ct": {}}, "trick": {"cascading": {}, "ema": {"start": 2}}},
    {"loss": "hinge", "regularizer": {"r1": {"interval": 3}}, "trick": {"spectral_norm": {"network": "both"}}},
    {"trick": {"instance_noise": {"anneal": 9}, "label_smoothing": {}}, "d_steps": 2, "accumulate": 2},
    {
        "trick": {
            "diffaugment": {},
            "latent_optimization": {"beta": 0.1, "weight": 1.0},
            "rejection_sampling": {"samples": 40},
            "standing_statistics": {"batches": 2},
            "ema": {},
        }
    },
]


@pytest.mark.parametrize("settings", STATEFUL, ids=["wgan_ct", "sngan", "noise", "drawing"])
@pytest.mark.parametrize("crash", [3, 5, 8])
def test_a_run_that_was_cut_off_ends_in_the_same_bits(
    tmp_path: Path, registered: dict, settings: dict, crash: int
) -> None:
    """Networks, optimizers, components and every row but the clock's fields, as of the run that was left alone."""

    class Cut(Component):
        armed = True

        def schedule(self, step):
            if Cut.armed and step == crash:
                raise KeyboardInterrupt

    registry.register("trick.cut")(Cut)
    more = {**settings, "trick": {**settings["trick"], "cut": {}}}
    made = small(**more, steps=10, log_every=3, eval_every=4, checkpoint_every=2)
    optimizer = {**made.resolved["optimizer"], "schedule": "linear"}
    made = check({**made.resolved, "optimizer": optimizer})
    Cut.armed = False
    alone = train(made, tmp_path / "alone")
    Cut.armed = True
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "cut", console=Console(quiet=True))
    Cut.armed = False
    assert run(made, tmp_path / "cut", console=Console(quiet=True), resume=True) == 0
    assert rows(tmp_path / "cut", clock=False) == rows(alone, clock=False)
    states = [checkpoint.load(folder / "checkpoints" / "last.pt") for folder in (alone, tmp_path / "cut")]
    flat: list[dict[str, torch.Tensor]] = []
    for state in states:
        parts = {
            f"{p}.{k}": v for p in ("generator", "discriminator", "components") for k, v in state["gan"][p].items()
        }
        for player, saved in state["gan"]["optimizers"].items():
            parts |= {f"{player}.{i}.{k}": v for i, slots in saved["state"].items() for k, v in slots.items()}
        flat.append({**parts, "cpu": state["random"]["cpu"], "latents": state["latents"]})
    assert equal(*flat)
    assert states[0]["feed"] == states[1]["feed"] and states[0]["best"] == states[1]["best"]


def test_a_finished_run_is_taken_further_only_with_more_steps(tmp_path: Path) -> None:
    made = small(metric={})
    folder = train(made, tmp_path / "run")
    with pytest.raises(GantrickError, match=r"is at step 4, its last; give a larger steps="):
        run(made, folder, console=Console(quiet=True), resume=True)
    with pytest.raises(GantrickError, match="already holds a run"):
        run(made, folder, console=Console(quiet=True))
    assert run(check({**made.resolved, "steps": 6}), folder, console=Console(quiet=True), resume=True) == 0
    assert [row["step"] for row in rows(folder)] == [2, 4, 6]


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The trainer's clock: a step takes a second, and nothing else takes any."""
    now, round_ = [0.0], step_module.Play.round

    def slow(self: step_module.Play, number: int) -> None:
        now[0] += 1.0
        round_(self, number)

    monkeypatch.setattr(step_module.Play, "round", slow)
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr("gantrick.trainer.time", clock)
    return now


def test_seconds_end_a_run_and_more_of_them_take_it_further(tmp_path: Path, clocked: list[float]) -> None:
    made = small(steps=9, max_seconds=3.0)
    folder = train(made, tmp_path / "run")
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "finished" and status["step"] == 3 and status["reason"] == "max_seconds=3 ended it"
    assert [row["step"] for row in rows(folder) if "fid/digits_cnn" in row] == [0, 2, 3], "it is judged where it ends"
    with pytest.raises(GantrickError, match="trained for 3 s, its last; give a larger max_seconds="):
        run(made, folder, console=Console(quiet=True), resume=True)
    # Cut off after two seconds it goes on for one; with six it takes six steps, and has the bits of an undisturbed run.
    cut = tmp_path / "cut"
    train(check({**made.resolved, "max_seconds": 2.0}), cut)
    assert run(made, cut, console=Console(quiet=True), resume=True) == 0
    states = [checkpoint.load(each / "checkpoints" / "last.pt") for each in (folder, cut)]
    assert states[0]["step"] == states[1]["step"] == 3
    assert all(equal(states[0]["gan"][part], states[1]["gan"][part]) for part in ("generator", "discriminator"))
    assert run(check({**made.resolved, "max_seconds": 6.0}), cut, console=Console(quiet=True), resume=True) == 0
    assert json.loads((cut / "status.json").read_text())["step"] == 6


def test_a_run_killed_after_its_seconds_were_saved_is_only_closed(tmp_path: Path, clocked: list[float]) -> None:
    made = small(steps=9, max_seconds=3.0)
    folder = train(made, tmp_path / "run")
    before = rows(folder)
    RunFolder(folder).status("running", 3)
    assert run(made, folder, console=Console(quiet=True), resume=True) == 0
    assert rows(folder) == before and RunFolder(folder).state() == "finished"


def test_what_a_run_cost_stands_in_its_folder(tmp_path: Path) -> None:
    folder = train(small(metric={}), tmp_path / "run")
    counts = json.loads((folder / "environment.json").read_text())["parameters"]
    state = checkpoint.load(folder / "checkpoints" / "last.pt")["gan"]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    for player in ("generator", "discriminator"):
        weights = [v for k, v in state[player].items() if not k.endswith(buffers)]
        assert counts[player] == sum(v.numel() for v in weights) > 100
    assert 2**26 < json.loads((folder / "status.json").read_text())["peak_memory"] < 2**36  # torch alone has 100 MB


def test_a_run_killed_after_its_last_checkpoint_is_only_closed(tmp_path: Path) -> None:
    made = small(metric={})
    folder = train(made, tmp_path / "run")
    before = rows(folder)
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "running"}))
    assert run(made, folder, console=Console(quiet=True), resume=True) == 0
    assert json.loads((folder / "status.json").read_text())["state"] == "finished" and rows(folder) == before


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_a_count_of_samples_is_checked(tmp_path: Path, count: object) -> None:
    trained = sampling.load(train(small(metric={}, steps=1), tmp_path / "run"))
    with pytest.raises(GantrickError, match="at least 1"):
        trained.sample(count)


# --- faults ----------------------------------------------------------------------------------------------------------

FULL = OSError(28, "No space left on device")


def state_of(folder: Path) -> dict:
    return checkpoint.load(folder / "checkpoints" / "last.pt")["gan"]["generator"]


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every write from step 3 to 6 fails: rows wait, no checkpoint claims rows that are not there, then all is well."""
    made = small(steps=9, log_every=1, checkpoint_every=1, metric={})
    alone = train(made, tmp_path / "alone")
    trainer = Trainer(made, tmp_path / "run")
    real_row, real_save, real_text = RunFolder.row, torch.save, folder_module.write_atomically

    def full() -> bool:
        return 3 <= trainer.step <= 6

    def row(self, values):
        if full():
            raise FULL
        real_row(self, values)

    def save(*arguments):
        if full():
            raise FULL
        real_save(*arguments)

    def text(*arguments):
        if full():
            raise FULL
        real_text(*arguments)

    monkeypatch.setattr(RunFolder, "row", row)
    monkeypatch.setattr(torch, "save", save)
    monkeypatch.setattr(folder_module, "write_atomically", text)
    assert trainer.run() == 0
    assert rows(tmp_path / "run", clock=False) == rows(alone, clock=False)
    told = capsys.readouterr().out
    assert told.count("metrics.jsonl could not be written at step 3 (No space left on device)") == 1
    assert "metrics.jsonl could be written again at step 7" in told


def test_a_disk_that_stays_full_is_told_and_the_good_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small(steps=6, checkpoint_every=1, metric={})
    trainer = Trainer(made, tmp_path / "run", console=Console(quiet=True))
    real = torch.save

    def save(*arguments):
        if trainer.step > 3:
            raise FULL
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(GantrickError, match=r"came to step 6, but it could not be saved \(checkpoints: No space"):
            trainer.run()
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "failed"
    assert checkpoint.load(tmp_path / "run/checkpoints/last.pt")["step"] == 3
    alone = train(made, tmp_path / "alone")
    assert run(made, tmp_path / "run", console=Console(quiet=True), resume=True) == 0
    assert equal(state_of(tmp_path / "run"), state_of(alone))
    assert rows(tmp_path / "run", clock=False) == rows(alone, clock=False)


@pytest.mark.parametrize("what", ["moved", "checkpoints", "samples", "metrics.jsonl", "status.json"])
def test_a_folder_that_loses_something_while_it_is_trained(tmp_path: Path, registered: dict, what: str) -> None:
    folder = tmp_path / "run"

    class Vandal(Component):
        def schedule(self, step):
            if step == 3 and what == "moved":
                folder.rename(tmp_path / "elsewhere")
            elif step == 3:
                (shutil.rmtree if (folder / what).is_dir() else os.remove)(folder / what)

    registry.register("trick.vandal")(Vandal)
    made = small(trick={"vandal": {}}, steps=6, log_every=1)
    if what == "moved":
        with pytest.raises(GantrickError, match=r"the run folder is gone; training stopped at step 4; put it back"):
            run(made, folder, console=Console(quiet=True))
        assert not folder.exists()
        registry._registered.clear()
        registry.register("trick.vandal")(type("Vandal", (Component,), {"schedule": lambda self, step: None}))
        folder = tmp_path / "elsewhere"
        assert run(made, folder, console=Console(quiet=True), resume=True) == 0
    else:
        assert run(made, folder, console=Console(quiet=True)) == 0
    assert checkpoint.load(folder / "checkpoints" / "last.pt")["step"] == 6
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"


def test_a_run_without_a_checkpoint_yet_begins_again(tmp_path: Path) -> None:
    made = small()
    alone = train(made, tmp_path / "run")
    wanted = rows(alone, clock=False)
    shutil.rmtree(alone / "checkpoints")
    assert run(made, alone, console=Console(quiet=True), resume=True) == 0
    assert rows(alone, clock=False) == wanted


def test_a_checkpoint_of_another_network_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = train(small(metric={}), tmp_path / "run")
    wider = small(metric={}, model={"d_width": 8}, steps=9)
    with pytest.raises(GantrickError, match=r"its checkpoint does not fit its config \(RuntimeError: size mismatch"):
        run(wider, folder, console=Console(quiet=True), resume=True)


def test_checkpoints_that_stay(tmp_path: Path) -> None:
    made = small(metric={}, steps=9, keep_every=2, keep_limit=3)
    folder = train(made, tmp_path / "run")
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert kept == ["0000004.pt", "0000006.pt", "0000008.pt", "last.pt", "previous.pt"]
    assert checkpoint.load(folder / "checkpoints/0000006.pt")["step"] == 6


def test_two_processes_do_not_train_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train(small(metric={}), tmp_path / "run")
    monkeypatch.setattr(folder_module, "WAIT", 1)
    more = small(metric={}, steps=6)
    with RunFolder(folder).claimed(), pytest.raises(GantrickError, match="another process is training this run"):
        run(more, folder, console=Console(quiet=True), resume=True)
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert run(more, folder, console=Console(quiet=True), resume=True) == 0


def test_the_scheduler_that_wants_its_machine_back_gets_the_job_back(
    tmp_path: Path, registered: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Visitor(Component):
        def schedule(self, step):
            if step == 2:
                os.kill(os.getpid(), signal.SIGUSR1)

    registry.register("trick.visitor")(Visitor)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tmp_path / "bin/scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    made = small(trick={"visitor": {}}, steps=50, metric={})
    code = run(made, tmp_path / "run", console=Console(quiet=True))
    assert code == 128 + signal.SIGUSR1 and (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert checkpoint.load(tmp_path / "run/checkpoints/last.pt")["step"] == 3
    called = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: called.append(number))  # as a launcher's own
    try:
        (tmp_path / "asked").unlink()
        run(made, tmp_path / "other", console=Console(quiet=True))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert called == [signal.SIGUSR1] and not (tmp_path / "asked").exists()
