"""`gantrick bench` on tiny networks: every figure is there, operations are counted right, and nothing is left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from playing import recipe
from torch import nn

from gantrick import bench
from gantrick.cli import main
from gantrick.types import DataShape

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "EFFORT", 0.0)
    monkeypatch.setattr(bench, "peak_rate", lambda device, precision: 1e11)


def test_the_report_on_a_tiny_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "dataset=digits",
        "device=cpu",
        "model.g_width=4",
        "model.d_width=4",
        "batch_size=4",
        "loss=wgan_gp",
        "d_steps=2",
    ]
    assert main(["bench", *words, "metric.fid.samples=8"]) == 0
    out = capsys.readouterr().out
    assert "2 × D on 4, 1 × G on 4" in out and "wgan_gp with gp" in out
    rows = {line.split(" | ")[0][2:]: [float(v) for v in re.findall(r"[\d.]+(?:e[+-]\d+)?", line.partition(" | ")[2])]
            for line in out.splitlines() if line.startswith("| ")}  # fmt: skip
    for name in ("float32", "bf16"):
        d, g, step, images, *_ = rows[name]
        assert d > 0 and g > 0 and images == pytest.approx(2 * 4 / (step / 1e3), rel=0.01)
    shares = {name: rows[name][1] for name in ("data", "discriminator", "generator", "penalties", "evaluation")}
    assert all(0 <= share <= 100 for share in shares.values())  # single times on a busy machine: no more is certain
    assert sum(shares.values()) + rows["logging, the rest"][1] == pytest.approx(100, abs=0.5)
    assert list(tmp_path.iterdir()) == []


def test_operations_of_a_perceptron_by_hand() -> None:
    made = recipe(
        model={"name": "mlp", "g_width": 8, "d_width": 16, "z_size": 4}, dataset={"name": "ring"}, batch_size=10
    )
    made = bench.made_up(made)
    running = bench.Running(made)
    found = bench.flops(running)
    layers = {
        p: [m for m in net.modules() if isinstance(m, nn.Linear)] for p, net in running.trainer.gan.networks.items()
    }
    g, d = (sum(2 * 10 * m.weight.numel() for m in layers[p]) for p in ("generator", "discriminator"))
    first_g, first_d = (2 * 10 * layers[p][0].weight.numel() for p in ("generator", "discriminator"))
    # D's turn: G forward; reals and fakes forward, to the weights, and to every layer's input but the first's
    assert found["discriminator"] == g + 2 * (3 * d - first_d)
    # G's turn: both forward, through D to its input alone, through G to weights and to every input but the first's
    assert found["generator"] == 2 * d + 3 * g - first_g


def test_operations_of_a_step_are_those_of_its_own_rule_and_of_lazy_penalties() -> None:
    """Extragradient's step is both turns twice; a penalty at every fourth step counts a quarter of one at each."""

    def counted(**parts: Any) -> tuple[dict[Any, float], float]:
        made = recipe(model={"name": "dcgan", "g_width": 4, "d_width": 4, "d_norm": "none"}, batch_size=4, **parts)
        running = bench.Running(bench.made_up(made))
        return bench.flops(running), bench.operations(running)

    turns, step = counted()
    assert step == turns["discriminator"] + turns["generator"]
    assert counted(trick={"extragradient": {}})[1] == 2 * step
    every, fourth = counted(regularizer={"r1": {}})[1], counted(regularizer={"r1": {"interval": 4}})[1]
    assert every > 1.2 * step and fourth - step == pytest.approx((every - step) / 4)


def test_the_report_where_a_rule_makes_the_step(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset=digits", "device=cpu", "model.g_width=4", "model.d_width=4", "batch_size=4", "metric=[]"]
    assert main(["bench", *words, "trick=[extragradient]", "d_steps=3"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| float32")).strip("| ").split(" | ")
    assert row[1:3] == ["–", "–"]
    step, images = float(row[3]) / 1e3, float(row[4])
    assert images == pytest.approx(2 * 4 / step, rel=0.02), "two batches of reals a step, whatever d_steps says"
    assert "| the step, by trick.extragradient |" in out and "GFLOP by trick.extragradient;" in out


def test_bytes_of_tensors_by_hand() -> None:
    """exp keeps its result for the backward pass, and cos its argument: of n such steps all results but one stay."""
    x = torch.randn(1000, requires_grad=True)
    with bench._Memory({"x": x}) as memory:
        assert memory.alive == memory.most == 4000
        y = x
        for _ in range(3):
            y = y.exp()
        assert memory.alive == memory.most == 4000 + 3 * 4000
        y = y.cos()
        assert memory.alive == 4000 + 4 * 4000
        del y  # the arguments of cos and exp's results are the graph's, which is gone with it
        assert memory.alive == 4000 and memory.most == 4000 + 4 * 4000
    others = torch.randn(1000)
    with bench._Memory({}) as memory:
        (others + 1).sum()
        assert memory.alive == 0 and memory.most == 4000 + 4, "those of others are not counted"


def test_memory_of_a_step_by_hand() -> None:
    """What a component keeps is in a step's memory: an average has G's tensors once more, a store its pictures."""
    model = {"name": "dcgan", "g_width": 4, "d_width": 4}
    bare = bench.Running(bench.made_up(recipe(model=model, batch_size=4)))
    bare.advance()
    parameters = [4 * p.numel() for network in bare.trainer.gan.networks.values() for p in network.parameters()]
    kept = sum(t.nbytes for t in bare.trainer.gan.generator.state_dict().values())
    plain = bench.memory(bare)
    assert plain > 4 * sum(parameters), "weights, gradients and Adam's two moments"
    image = 4 * 8 * 8
    for entries, more in (({"ema": {}}, kept), ({"experience_replay": {"size": 50}}, 50 * image)):
        running = bench.Running(bench.made_up(recipe(trick=entries, model=model, batch_size=4)))
        running.advance()
        assert more <= bench.memory(running) - plain <= more + 8 * image, "and the batch of four, mixed"


def test_what_is_measured_is_past_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """critic_schedule makes a hundred D turns in each of its first 25 steps, and as many as without afterwards."""
    tiny = ["model=dcgan", "model.g_width=4", "model.d_width=4", "batch_size=4", "device=cpu"]
    assert main(["bench", "tricks", "--rounds", "1", "critic_schedule", *tiny]) == 0
    [row] = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| trick")]
    assert float(row[6]) == 1.0


def test_made_up_data_have_the_shape_of_the_others() -> None:
    class Like:
        data, flip = DataShape((3, 32, 32), 10), True

    images = bench.MadeUp(Like(), 16)
    samples = images.load()
    assert images.data == DataShape((3, 16, 16), 10) and images.flip
    assert samples.images.shape[1:] == (3, 16, 16) and samples.images.dtype == torch.uint8
    assert samples.labels is not None and set(samples.labels.tolist()) == set(range(10))
    Like.data = DataShape((2,))
    points = bench.MadeUp(Like()).load()
    assert points.images.shape[1:] == (2,) and points.images.dtype == torch.float32 and points.labels is None


def test_contestants_take_turns_and_change_sides() -> None:
    order: list[str] = []

    def contestant(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = bench.alternate({name: lambda name=name: contestant(name) for name in "ab"}, 3)
    assert order == list("abbaab") and found == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_the_cost_of_components(capsys: pytest.CaptureFixture[str]) -> None:
    """Arithmetic by hand: extragradient makes each move twice, label smoothing has none."""
    names = ["regularizer.gp", "label_smoothing", "extragradient", "acgan", "conditional_batch_norm"]
    tiny = ["dataset=digits", "model=dcgan", "model.g_width=4", "model.d_width=4", "batch_size=4", "device=cpu"]
    assert main(["bench", "tricks", "--rounds", "1", *names, *tiny]) == 0
    found = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [(row[0], row[1].partition(":")[0]) for row in found[1:]] == [
        ("regularizer.gp", "hinge"),
        ("trick.label_smoothing", "non_saturating"),
        ("trick.extragradient", "hinge"),
        ("trick.acgan", "hinge, conditional_batch_norm, projection"),
        ("trick.conditional_batch_norm", "trick.conditional_batch_norm"),
    ]
    arithmetic = {row[0]: float(row[6]) for row in found[1:5]}
    memory = {row[0]: float(row[7]) for row in found[1:5]}
    assert memory["trick.label_smoothing"] == 1.0 and memory["regularizer.gp"] > 1.1
    assert arithmetic["trick.extragradient"] == 2.0 and arithmetic["trick.label_smoothing"] == 1.0
    assert 1.2 < arithmetic["regularizer.gp"] < 1.8


def test_what_the_cost_of_components_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tricks", "emma", "loss=wgan"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("emma: there is no such regularizer or trick; did you mean ema?")
    assert "loss=wgan: what is compared chooses it" in said[1] and len(said) == 2
    assert main(["bench", "tricks", "ema", "trick.ema.decay=0.5"]) == 2
    assert "trick.ema.decay=0.5: what is compared chooses it" in capsys.readouterr().err


def test_the_cost_is_against_the_bare_run_whatever_an_experiment_brings(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["model=dcgan", "model.g_width=4", "model.d_width=4", "batch_size=4", "device=cpu", "extractor=cifar10_cnn"]
    found = []
    for more in ([], ["experiment=wgan_gp_cifar10", "d_steps=1", "generator_batch_size=4"]):
        assert main(["bench", "tricks", "--rounds", "1", "r1", "r1", *tiny, *more]) == 0
        [row] = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| reg")]
        found.append(float(row[6]))
    assert found[0] == found[1] > 1.2
