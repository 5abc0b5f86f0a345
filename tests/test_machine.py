"""Types, memory and compiling: that compiling changes nothing but rounding, and what happens where it cannot be had."""

from __future__ import annotations

import ctypes
import platform
import shutil
from pathlib import Path

import pytest
import torch
from playing import Game, equal, recipe

from gantrick import machine
from gantrick.gan import GAN, preflight
from gantrick.recipe import Recipe
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.types import ConfigError

CPU = torch.device("cpu")
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has another libc")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", None), ("float32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_types_on_a_cpu(precision: str, dtype: torch.dtype | None) -> None:
    assert machine.compute_type(precision, CPU) is dtype


# --- memory ----------------------------------------------------------------------------------------------------------


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]  # fmt: skip


@glibc
def test_large_blocks_are_no_longer_mapped_on_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo
    assert machine.keep_freed_memory()
    before = mallinfo2()
    block = torch.ones(2**24)  # 64 MiB
    assert mallinfo2().hblks == before.hblks
    del block
    assert mallinfo2().fordblks >= 2**26  # free, and still the process's


@pytest.mark.parametrize("library", ["libjemalloc.so.2", "/usr/lib/libtcmalloc_minimal.so.4"])
def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setenv("LD_PRELOAD", library)
    assert machine.keep_freed_memory() is False


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is not reset on this system")
def test_peak_memory_counts_from_its_reset() -> None:
    held = torch.ones(2**25)  # 128 MiB
    machine.reset_peak_memory(CPU)
    before = machine.peak_memory(CPU)
    more = torch.ones(2**26)  # 256 MiB
    assert 2**28 <= machine.peak_memory(CPU) - before + 2**24 <= 2**29
    del held, more


# --- refusals and memory formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"device": "cpu", "cuda_graphs": True},
            "cuda_graphs: there are none on cpu; leave it out, or choose device=cuda",
        ),
        (
            {"dataset": {"name": "ring"}, "model": {"name": "mlp"}, "channels_last": True},
            "channels_last: the data are points, which have no channels; leave it at auto",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(settings: dict, message: str) -> None:
    model = settings.pop("model", None)
    made = recipe(**settings)
    if model is not None:
        made = points(**settings)
    with pytest.raises(ConfigError) as refusal:
        preflight(made)
    assert refusal.value.faults == (message,)


def points(**settings: object) -> Recipe:
    from gantrick.recipe import check

    base = dict(recipe(**settings).resolved)
    return check({**base, "model": {"name": "mlp", "g_width": 8, "d_width": 8, "z_size": 4}})


@pytest.mark.parametrize(("asked", "last"), [("auto", True), (True, True), (False, False)])
def test_channels_last_is_the_layout_of_weights_and_images(asked: str | bool, last: bool) -> None:
    gan = GAN(preflight(recipe(channels_last=asked)), CPU)
    seen = []
    gan.discriminator.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images = torch.randn(2, 3, 8, 8)[:, :1]
    gan.discriminator(torch.cat([images, images]).repeat(1, 1, 1, 1))
    kernels = [p for p in gan.discriminator.parameters() if p.ndim == 4 and p.shape[1] > 1]
    wanted = torch.channels_last if last else torch.contiguous_format
    assert kernels and all(t.is_contiguous(memory_format=wanted) for t in (*kernels, *seen))


def test_layouts_train_the_same() -> None:
    states = [Game(recipe(channels_last=last, trick={"ema": {}})).rounds(3).state() for last in (True, False)]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


# --- compiling -------------------------------------------------------------------------------------------------------


def small(**more: object) -> Recipe:
    settings = {"steps": 4, "batch_size": 6, "log_every": 1, "eval_every": 0, "sample_every": 0, "checkpoint_every": 2}
    return recipe(**{**settings, "device": "cpu", "wandb": {"mode": "disabled"}, **more})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here")
@pytest.mark.filterwarnings("ignore")
def test_compiling_changes_rounding_alone_and_no_name(tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    parts = {"regularizer": {"gp": {}, "ct": {}}, "trick": {"spectral_norm": {}, "ema": {}}}
    whole = small(**parts)
    assert run(whole, tmp_path / "eager", console=Console(quiet=True)) == 0
    assert counters["stats"]["unique_graphs"] == 0
    assert run(small(**parts, compile=True, steps=2), tmp_path / "compiled", console=Console(quiet=True)) == 0
    assert counters["stats"]["unique_graphs"] >= 3 and not counters["graph_break"]  # G twice, D in both turns
    states = [
        torch.load(tmp_path / n / "checkpoints" / "last.pt", weights_only=True)["gan"] for n in ("eager", "compiled")
    ]
    assert [list(states[0][p]) for p in states[0]] == [list(states[1][p]) for p in states[1]]
    assert run(whole, tmp_path / "compiled", console=Console(quiet=True), resume=True) == 0  # the rest uncompiled
    eager, compiled = (
        torch.load(tmp_path / n / "checkpoints" / "last.pt", weights_only=True)["gan"] for n in ("eager", "compiled")
    )
    for part in ("generator", "discriminator", "components"):
        for name, value in eager[part].items():
            torch.testing.assert_close(compiled[part][name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.filterwarnings("ignore")
def test_every_run_of_a_sweep_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch gives up a function of more than eight shapes; each run has its own."""
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        compiled.append(1)
        return graph.forward

    monkeypatch.setattr(machine, "compiled", lambda f, graphs: torch.compile(f, dynamic=False, backend=backend))
    for width in range(1, 13):
        game = Game(recipe(model={"g_width": width, "d_width": width}))
        game.gan.compile()
        before = len(compiled)
        game.play.turn("discriminator")
        assert len(compiled) >= before + 2, width


def test_where_compiling_fails_a_run_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(function: object, cuda_graphs: bool = False) -> object:
        def fails(*_: object) -> None:
            raise RuntimeError("there is no compiler\nand much more")

        return fails

    monkeypatch.setattr(machine, "compiled", compiled)
    told = []
    console = Console(quiet=True)
    monkeypatch.setattr(console, "warn", told.append)
    run(small(compile=True), tmp_path / "run", console=console)
    run(small(), tmp_path / "eager", console=Console(quiet=True))
    assert told == ["compile: torch.compile fails here, so this run goes on without (there is no compiler)"]
    states = [torch.load(tmp_path / n / "checkpoints" / "last.pt", weights_only=True)["gan"] for n in ("run", "eager")]
    assert equal(states[0]["generator"], states[1]["generator"])


def test_what_is_differentiated_twice_and_what_is_drawn_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    game = Game(recipe(loss="wgan", regularizer={"gp": {}}))
    calls = []
    for name, network in (("g", game.gan.generator), ("d", game.gan.discriminator)):

        def body(*inputs: object, name: str = name, network: object = network) -> object:
            calls.append(name)
            return network.body(*inputs)

        network.compiled = body
    game.play.turn("discriminator")
    assert calls == ["g", "d"]  # the penalty's forward is not among them
    calls.clear()
    game.samples()
    latents = game.gan.latents(4, torch.Generator().manual_seed(0))
    parameters = {p: {n: w + 0 for n, w in own.items()} for p, own in game.gan.parameters.items()}
    game.play.evaluate("generator", None, latents, parameters)
    game.play.evaluate("generator", None, latents, create_graph=True)
    assert calls == []
