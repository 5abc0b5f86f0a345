"""A run of two processes is the run of one: the same numbers, one writer, and one end."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from playing import ADAM, recipe
from processes import Pool
from torch import Tensor, nn

from gantrick import checkpoint, launch, parallel, registry
from gantrick.cli import main
from gantrick.feed import Feed
from gantrick.gan import plan, preflight
from gantrick.recipe import Recipe, check
from gantrick.types import ConfigError, GantrickError, Samples, Scored

F64 = torch.float64
NO_NORM = {"g_norm": "none", "d_norm": "none"}
SGD = {"name": "sgd", "lr": 0.01}
FID = {"fid": {"name": "fid", "extractor": "digits_cnn", "samples": 100, "batch_size": 32}}


@pytest.fixture(scope="module")
def two() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Classes registered by a test are forgotten after it."""
    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


# --- what is exchanged -----------------------------------------------------------------------------------------------


def test_one_process_is_plain_torch() -> None:
    x = torch.randn(4, 3)
    for own, torchs in ((parallel.rand_like, torch.rand_like), (parallel.randn_like, torch.randn_like)):
        torch.manual_seed(1)
        expected = torchs(x)
        torch.manual_seed(1)
        assert torch.equal(own(x), expected)
    torch.manual_seed(1)
    expected = torch.rand(4, 1)
    torch.manual_seed(1)
    assert torch.equal(parallel.rand(4, 1), expected)
    assert all(f(x) is x for f in (parallel.mean, parallel.gather, parallel.rows, parallel.least))
    assert parallel.agree(None) is None and parallel.agree(15) == 15 and parallel.exchange(x)[0] is x
    assert (parallel.rank(), parallel.world(), parallel.writes()) == (0, 1, True)


def test_derivatives_through_mean_and_gather(two: Pool) -> None:
    """First and second ones of two processes are those of the same objective written down without any exchange."""
    x = torch.randn(6, 3, dtype=F64)
    for found in two(processes.derived, x):
        weight = torch.linspace(-1, 1, 3, dtype=F64).requires_grad_(True)
        points = x.clone().requires_grad_(True)
        s = torch.tanh(points @ weight)
        value = (s * (1 + s.mean()).exp() + (s[:, None] - s[None]).square().mean(1) * s).mean()
        (slope,) = torch.autograd.grad(value * 6, points, create_graph=True)
        penalty = (slope.square().sum(1) - 1).square().mean()
        first, second = (torch.autograd.grad(v, weight, retain_graph=True)[0] for v in (value, penalty))
        expected = {"value": value, "weight": first, "twice": second, "penalty": penalty, "slope": slope}
        for name, number in expected.items():
            torch.testing.assert_close(found[name], number.detach(), rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5, 4)])
def test_batch_statistics_are_those_of_the_whole_batch(two: Pool, shape: tuple[int, ...]) -> None:
    x, direction = torch.randn(shape) * 3 + 5, torch.randn(shape)
    reference = nn.BatchNorm1d(3) if len(shape) == 2 else nn.BatchNorm2d(3)
    reference = reference.double()
    with torch.no_grad():
        reference.weight.copy_(torch.linspace(0.5, 1.5, 3))
        reference.bias.copy_(torch.linspace(-1, 1, 3))
    points = x.double().requires_grad_(True)
    out = reference(points)
    (slope,) = torch.autograd.grad((out * direction).sum(), points, create_graph=True)
    (twice,) = torch.autograd.grad(slope.pow(3).sum(), points)
    places = [0, *range(2, len(shape))]
    for found in two(processes.normalised, x, direction):
        for name, number in {"out": out, "slope": slope, "twice": twice}.items():
            torch.testing.assert_close(found[name].double(), number.detach(), rtol=1e-4, atol=1e-5, msg=name)
        torch.testing.assert_close(found["mean"].double(), x.double().mean(places), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found["var"].double(), x.double().var(places), rtol=1e-5, atol=1e-6)


def test_random_numbers_belong_to_rows_of_the_whole_batch(two: Pool) -> None:
    """Also of a batch of two parts, of samples in another order of memory, and the streams go on equal."""
    torch.manual_seed(0)
    expected = processes.drawn()
    for found in two(processes.drawn):
        assert torch.equal(found.pop("order"), torch.tensor([0, 10, 1, 2, 11, 12]))
        for name, numbers in found.items():
            assert torch.equal(numbers, expected[name]), name
    assert len({float(v) for v in expected["rand plain"].flatten()}) > 380, "no two samples share their numbers"


def test_weights_of_samples_count_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Σ w v / Σ w of the whole batch is the mean over processes of what each makes of its rows and the mean of Σ w."""
    values, weights = torch.randn(6, 2, dtype=F64), torch.rand(6, dtype=F64)
    lam = torch.tensor([0.3, 0.7], dtype=F64)
    whole = float((weights @ (values @ lam)) / weights.sum())
    monkeypatch.setattr(parallel, "mean", lambda x: weights.sum() / 2)
    parts = [Scored({"a": values[i : i + 3]}, {"a": weights[i : i + 3]}).means(lam)["a"] for i in (0, 3)]
    assert float(sum(parts)) / 2 == pytest.approx(whole, rel=1e-12)


def test_a_feed_gives_each_process_its_rows() -> None:
    samples = Samples(torch.randint(0, 256, (10, 1, 2, 2), dtype=torch.uint8), torch.arange(10))
    whole = Feed(samples, torch.device("cpu"), 3, flip=True)
    shares = [Feed(samples, torch.device("cpu"), 3, flip=True, share=(rank, 3)) for rank in range(3)]
    for count in (6, 3, 9):  # the last ones span two epochs
        batch, parts = whole.next(count), [feed.next(count) for feed in shares]
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
        assert all(len(part) == count // 3 for part in parts)
        assert batch.labels is not None
        assert batch.labels.tolist() == [int(n) for part in parts if part.labels is not None for n in part.labels]
        assert all(feed.state_dict() == whole.state_dict() for feed in shares)


def test_shared_work_and_its_failures(two: Pool, tmp_path: Path) -> None:
    """A failure of one is a failure of all, wherever it comes, and nobody waits for ever."""
    first, second = two(processes.shared, str(tmp_path))
    assert first["shares"] == second["shares"] == [0, 1, 4, 9, 16]
    assert first["asked"] == [0, 2, 4] and second["asked"] == [1, 3], "each does its part only"
    for where in ("before", "in a share", "between", "after"):
        assert second[where] == "ValueError: three"
        assert first[where] == "Elsewhere: ValueError: three (process 1)"
    assert first["nowhere"] == second["nowhere"] == "nothing"
    assert first["drift"] == second["drift"] == "other" and first["no drift"] is None
    assert first["agreed"] == second["agreed"] == (15, None)


# --- training --------------------------------------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "non-saturating, r1, accumulated, ema, noise": {
        "regularizer": {"r1": {}},
        "trick": {"ema": {}, "instance_noise": {}},
        "accumulate": 2,
        "model": NO_NORM,
    },
    "hinge, spectral norm": {"loss": "hinge", "trick": {"spectral_norm": {}}},
    "relativistic": {"loss": "relative", "model": NO_NORM},
    "cascading, gathered scores, weighted samples": {
        "loss": "hinge",
        "trick": {"cascading": {}, "deviation": {}, "odd_weights": {}},
        "model": NO_NORM,
    },
    "wgan_ct": {"loss": "wgan", "regularizer": {"gp": {}, "ct": {}}},
    "batch norm in both": {},
    "relativistic average, best fakes, similarities, features, replay": {
        "loss": "ragan",
        "regularizer": {"feature_matching": {}, "pulling_away": {}, "self_orthogonality": {"weight": 1e-6}},
        "trick": {
            "topk": {"gamma": 0.5, "epoch": 20},
            "minibatch_discrimination": {"kernels": 3},
            "minibatch_stddev": {"group": 4},
            "experience_replay": {"size": 20},
        },
        "model": NO_NORM,
    },
    "o_gan, virtual norms, noise inside, history": {
        "loss": "o_gan",
        "regularizer": {"historical_averaging": {}, "spectral_penalty": {}},
        "trick": {"virtual_batch_norm": {"reference": 6}, "layer_noise": {}},
        "model": {"d_norm": "none"},
    },
    "augmented, latents moved, samples refused, standing statistics": {
        "loss": "hinge",
        "trick": {
            "diffaugment": {},
            "latent_optimization": {"beta": 0.1, "weight": 1.0},
            "rejection_sampling": {"samples": 40},
            "standing_statistics": {"batches": 2},
        },
    },
    "both at once, o_gan": {"loss": "o_gan", "trick": {"simultaneous": {}}, "model": {"init": "default"}},
    "what was said before": {
        "regularizer": {"temporal_ensembling": {}},
        "trick": {"layer_noise": {"input_sigma": 0.1}},
    },
    "labels of a few": {
        "loss": "semi_supervised",
        "regularizer": {"feature_matching": {"alone": True}, "ct": {"compare": "classes"}},
        "trick": {"layer_noise": {"input_sigma": 0.1}, "weight_norm": {}, "ema": {"network": "both"}},
    },
    "relativistic average with scores far apart, and codes that differ": {
        "loss": "ragan",
        "regularizer": {"pulling_away": {"weight": 10.0}},
        "model": NO_NORM,
        "steep": 6.0,
    },
    "rotations, masks inside": {"loss": "hinge", "trick": {"rotation": {}, "layer_noise": {"sigma": 0.1}}},
    "fakes replayed in addition, noise on gradients": {
        "loss": "hinge",
        "trick": {
            "experience_replay": {"how": "add", "size": 20},
            "gradient_transform": {"rules": {"generator.*": "noise 0.01", "discriminator.*": "total 0.5"}},
        },
        "model": NO_NORM,
    },
    "unrolled, labels": {
        "trick": {"unrolled": {"steps": 2, "inner": "sgd"}, "label_concat": {}},
        "model": NO_NORM,
    },
    "extragradient, codes": {"trick": {"extragradient": {}, "infogan": {}}, "model": NO_NORM},
    "extragradient from the past": {"trick": {"extragradient": {"from_past": True}}, "model": NO_NORM},
    "classes compared": {
        "loss": "hinge",
        "trick": {"conditional_batch_norm": {}, "projection": {}, "acgan": {}, "contragan": {}, "d2d_ce": {}},
    },
    "dragan, r1, packs, wrong labels": {
        "regularizer": {"dragan": {}, "r1": {}},
        "trick": {"pacgan": {}, "label_flipping": {"probability": 0.2}},
    },
}


CHAOTIC = ("classes compared",)


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in state.values()])


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, SGD) for name in CASES), ("wgan_ct", ADAM), ("batch norm in both", ADAM)]
)
def test_fifty_steps_are_those_of_one_process(two: Pool, name: str, optimizer: dict[str, Any]) -> None:
    """Two processes differ from one by rounding alone, 1e-5 of the largest weight after 50 steps.

    Where a game is chaotic, and a change of 1e-7 in one weight alone grows beyond that, it is ten steps.

    Both hold the same bits, have drawn as many random numbers as the one, and log the same. With Adam one weight is
    left out: no Wasserstein loss depends on the bias of D's head, so its gradient is nothing but rounding, and Adam
    makes a step of full length of it.
    """
    steps = 10 if name in CHAOTIC else 50
    two.begin(processes.played, CASES[name], optimizer, steps)
    one = processes.played(CASES[name], optimizer, steps)
    first, second = two.end()
    assert all(torch.equal(v, second["networks"][k]) for k, v in first["networks"].items())
    assert torch.equal(first["samples"], second["samples"])
    assert torch.equal(first["random"], one["random"]) and torch.equal(second["random"], one["random"])
    assert first["logged"] == second["logged"]
    free = {"discriminator.head.bias"} if optimizer is ADAM and name == "wgan_ct" else set()
    if free:
        for term in ("loss/d", "wasserstein", "penalty/gp", "penalty/ct", "norm/d", "norm/g"):
            assert first["logged"][term] == pytest.approx(one["logged"][term], rel=1e-3, abs=1e-4)
    else:
        assert first["logged"] == pytest.approx(one["logged"], rel=1e-3, abs=1e-4)
    for state in (one["networks"], one["first"], first["networks"]):
        for name in free:
            del state[name]
    weights = flat(one["networks"])
    assert float((weights - flat(one["first"])).abs().max()) > 1e-3, "something has moved"
    assert float((flat(first["networks"]) - weights).abs().max()) <= 1e-5 * float(weights.abs().max())


# --- whole runs ------------------------------------------------------------------------------------------------------


def small(**more: Any) -> dict[str, Any]:
    every = {"log_every": 3, "eval_every": 3, "sample_every": 3, "checkpoint_every": 3}
    made = recipe(**{"steps": 6, "batch_size": 8, **every, "wandb": {"mode": "disabled"}, "device": "cpu", **more})
    return {**dict(made.resolved), "metric": FID, "optimizer": {"generator": SGD, "discriminator": SGD}}


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in found]


def state(folder: Path) -> dict[str, Tensor]:
    found = checkpoint.load(folder / "checkpoints" / "last.pt")["gan"]
    return {f"{part}.{k}": v for part in ("generator", "discriminator", "components") for k, v in found[part].items()}


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_and_its_continuations(two: Pool, tmp_path: Path) -> None:
    """Figures, rows and pictures are one process's; 2 → 2 goes on in the same bits, 2 → 1 and 1 → 2 up to rounding."""
    made = small(trick={"ema": {}, "instance_noise": {}})
    half = {**made, "steps": 3}
    one = processes.trained(made, str(tmp_path / "one"))
    for folder, config in (("two", made), ("half", half), ("other half", half)):
        found = two(processes.trained, config, str(tmp_path / folder))
        assert [f["code"] for f in found] == [one["code"]] * 2 == [0, 0]
    assert names(tmp_path / "two") == names(tmp_path / "one"), "one writer, and nothing but its files"
    mine, theirs = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert len(mine) == len(theirs) == 5
    for row, expected in zip(mine, theirs, strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert mine[0] == theirs[0], "before the first step the figures are the same to the last bit"
    grid = "samples/0000000.png"
    assert (tmp_path / "two" / grid).read_bytes() == (tmp_path / "one" / grid).read_bytes()
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2

    first, second = two(processes.trained, made, str(tmp_path / "half"), "", True)
    assert first["code"] == second["code"] == 0 and first["warnings"] == []
    assert all(torch.equal(v, state(tmp_path / "two")[k]) for k, v in state(tmp_path / "half").items())
    assert rows(tmp_path / "half") == mine

    alone = processes.trained(made, str(tmp_path / "other half"), "", True)
    assert alone["code"] == 0
    assert alone["warnings"] == [
        "resume: the checkpoint is of a run of 2 processes and 1 goes on with it: the same run, but sums are taken in "
        "another order, so it agrees up to rounding"
    ]
    whole = flat(state(tmp_path / "one"))
    for folder in ("two", "other half"):
        assert float((flat(state(tmp_path / folder)) - whole).abs().max()) <= 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("not finite", "Diverged: step 3: loss/d_real is not finite, so training cannot go on"),
        ("drift", "GantrickError: step 6: generator.body.first.weight is no longer the same on all 2 processes"),
    ],
)
def test_trouble_in_one_process_ends_all_with_one_sentence(
    two: Pool, tmp_path: Path, trouble: str, sentence: str
) -> None:
    first, second = two(processes.trained, small(model=NO_NORM), str(tmp_path / "run"), trouble)
    assert first["code"] == second["code"] and str(first["code"]).startswith(sentence)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed" and sentence.partition(": ")[2] in status["reason"]


def test_random_numbers_of_a_share_alone_are_warned_of(two: Pool, tmp_path: Path) -> None:
    processes.register()
    made = small(steps=1, trick={"stray": {}, "instance_noise": {}}, loss="wgan", regularizer={"gp": {}, "ct": {}})
    first, _ = two(processes.trained, {**made, "metric": {}}, str(tmp_path / "run"))
    sentence = (
        "a component draws with torch.randn_like, so every process draws the same numbers for its own samples; "
        "use gantrick.parallel.rand, rand_like or randn_like there, or set devices=1"
    )
    assert first["code"] == 0 and first["warnings"] == [sentence] * 2, "in D's turn and in G's"


def test_a_signal_to_one_process_stops_all_at_one_step(two: Pool, tmp_path: Path) -> None:
    made = small()
    first, second = two(processes.trained, made, str(tmp_path / "run"), "signal")
    assert first["code"] == second["code"] == 128 + signal.SIGTERM
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["step"], status["reason"]) == ("preempted", 4, "stopped by SIGTERM")
    assert [f["code"] for f in two(processes.trained, made, str(tmp_path / "run"), "", True)] == [0, 0]
    two(processes.trained, made, str(tmp_path / "whole"))
    assert all(torch.equal(v, state(tmp_path / "whole")[k]) for k, v in state(tmp_path / "run").items())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_rows_that_cannot_be_written_leave_the_processes_together(two: Pool, tmp_path: Path) -> None:
    """The writer's disk is full where a checkpoint is due, of which the other knows nothing."""
    made = {**small(log_every=1), "metric": {}}
    assert [f["code"] for f in two(processes.trained, made, str(tmp_path / "run"), "full disk")] == [0, 0]
    two(processes.trained, made, str(tmp_path / "whole"))
    assert all(torch.equal(v, state(tmp_path / "whole")[k]) for k, v in state(tmp_path / "run").items())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


# --- refusals --------------------------------------------------------------------------------------------------------


def faults(**settings: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        preflight(recipe(**settings))
    return list(refused.value.faults)


def test_what_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    size = "is not a multiple of 3, the number of processes that share it; choose one that is"
    assert faults(devices=3, batch_size=64, generator_batch_size=32, device="cpu") == [
        f"batch_size: 64 {size}",
        f"generator_batch_size: 32 {size}",
    ]
    assert faults(devices=2, device="cuda:0") == [
        "device: cuda:0 is one device for 2 processes; choose auto, cuda or cpu"
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("auto", "cuda"):
        assert faults(devices=2, device=device) == [
            "devices: 2 processes need a GPU each, and there is 1 on this machine; choose fewer, or device=cpu"
        ]
    preflight(recipe(devices=2, device="cpu"))


def test_devices_do_not_make_another_run() -> None:
    def made(n: int) -> Recipe:
        return check({**recipe().resolved, "devices": n, "device": "cpu"})

    assert made(1).hash == made(2).hash
    assert "shared by 2 processes" in plan(made(2)) and "processes" not in plan(made(1))


# --- started by devices=2 --------------------------------------------------------------------------------------------

TRICK = """
import os, signal
import gantrick
from gantrick import parallel
from gantrick.stages import Component

@gantrick.register("trick.trouble")
class Trouble(Component):
    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def schedule(self, step: int) -> None:
        if step == 5 and parallel.rank() == 1:
            if self.kind == "raises":
                raise OSError("the second process has no more room")
            number = {"killed": "SIGKILL", "stopped": "SIGTERM", "scheduler": "SIGUSR1"}[self.kind]
            os.kill(os.getpid() if self.kind == "killed" else os.getppid(), getattr(signal, number))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["killed", "raises", "stopped", "scheduler"])
def test_however_a_process_ends_all_end_with_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    """The second process is killed or raises an error; or the one that started both is asked to stop."""
    file, folder = tmp_path / "my_trick.py", tmp_path / "run"
    file.write_text(TRICK)
    made = {**small(steps=100_000, devices=2), "metric": {}, "imports": [str(file)]}
    made["trick"] = {"trouble": {"name": "trouble", "kind": kind}}
    started = time.monotonic()
    asked = {"stopped": signal.SIGTERM, "scheduler": signal.SIGUSR1}.get(kind)
    if asked is not None:
        assert launch.run(check(made), folder) == 128 + asked
    else:
        with pytest.raises(GantrickError) as failure:
            launch.run(check(made), folder)
    assert time.monotonic() - started < 100
    status = json.loads((folder / "status.json").read_text())
    assert capfd.readouterr().err == "", "what there is to say is said by whoever started them"
    if asked is not None:
        assert (status["state"], status["reason"]) == ("preempted", f"stopped by {asked.name}")
        return
    assert status["state"] == "failed" and status["reason"] == str(failure.value)
    assert (
        str(failure.value)
        == {
            "killed": f"process 1 of 2 was ended by SIGKILL (out of memory?); go on with: gantrick train resume={folder}",
            "raises": f"{folder}: the second process has no more room; training stopped at step 5; "
            f"mend that, then go on with: gantrick train resume={folder}",
        }[kind]
    )


def test_the_command_line_refuses_before_it_starts_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "devices=2", "device=cpu", "batch_size=7", f"hydra.run.dir={tmp_path}/run"]) == 2
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == (
        "gantrick train: error: batch_size: 7 is not a multiple of 2, the number of processes that share it; "
        "choose one that is\n"
    )
