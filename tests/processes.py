"""Two processes that wait for work, and what they are given to do. Started once for all tests of a file."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

COUNT = 2


def serve(rank: int, port: int, pipe: Connection) -> None:
    """Runs (function, arguments) from the pipe until it is closed, and sends back what each returned or raised."""
    import torch

    from gantrick import parallel

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(COUNT)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    torch.set_num_threads(1)
    parallel.start()
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        torch.manual_seed(0)
        try:
            pipe.send((function(*arguments), None))
        except BaseException:
            pipe.send((None, traceback.format_exc()))


class Pool:
    """`pool(function, *arguments)` is what each of the processes returned; the function is importable."""

    def __init__(self) -> None:
        from torch.distributed import TCPStore

        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
        context = get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(COUNT):
            mine, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, self.store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        for pipe in self.pipes:
            pipe.send((function, arguments))

    def end(self) -> list[Any]:
        found = []
        for pipe in self.pipes:
            assert pipe.poll(120), "a process hangs"
            found.append(pipe.recv())
        for _, error in found:
            assert error is None, error
        return [value for value, _ in found]

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        self.begin(function, *arguments)
        return self.end()

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(20)
            process.kill()


# --- components for tests --------------------------------------------------------------------------------------------


def register() -> None:
    """A loss whose samples see each other: the relativistic average GAN of 1807.00734 with hinges, in the test's words."""
    from torch.nn import functional as F

    import gantrick
    from gantrick import parallel, registry
    from gantrick.stages import Component
    from gantrick.types import Judged, Scored, Targets

    if "loss.relative" in registry._registered:
        return

    @gantrick.register("loss.relative")
    class Relative(Component):
        """max(0, 1 − (r − E f)) + max(0, 1 + (f − E r)), and the other way round for G."""

        needs = frozenset({"real_in_g"})

        def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
            r, f = real.scores, fake.scores
            mean_r, mean_f = parallel.mean(r.mean(0)), parallel.mean(f.mean(0))
            return Scored({"real": F.relu(1 - (r - mean_f)), "fake": F.relu(1 + (f - mean_r))})

        def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
            assert real is not None
            found = self.d_loss(fake, real, targets)
            return found

    @gantrick.register("trick.deviation")
    class Deviation(Component):
        """A penalty on the deviation of D's scores over the batch, which is differentiated through a gathering."""

        def d_penalty(self, inputs: Any) -> Any:
            return parallel.gather(inputs.fake.scores).var(0, correction=0).sum()

    @gantrick.register("trick.stray")
    class Stray(Component):
        """Draws as if there were no other process."""

        def augment(self, images: Any) -> Any:
            import torch

            return images + 0.1 * torch.randn_like(images)

    @gantrick.register("trick.odd_weights")
    class OddWeights(Component):
        """Samples weigh unlike one another, and unlike in each process: w = 1 / (1 + s²)."""

        def weigh(self, scored: Scored, player: Any, real: Any, fake: Any) -> Scored:
            weights = {name: 1 / (1 + value.detach().square().sum(1)) for name, value in scored.values.items()}
            return Scored(scored.values, weights, scored.diagnostics)


# --- work ------------------------------------------------------------------------------------------------------------


def played(options: dict[str, Any], optimizer: dict[str, Any], rounds: int, batch_size: int = 8) -> dict[str, Any]:
    """The networks and what is logged after so many rounds; `steep` times the weights that a player starts with."""
    import torch
    from playing import Game, networks, recipe

    from gantrick.recipe import check

    register()
    options = dict(options)
    steep = options.pop("steep", 1.0)
    made = recipe(**options).resolved
    game = Game(
        check({**made, "optimizer": {"generator": optimizer, "discriminator": optimizer}}), batch_size=batch_size
    )
    with torch.no_grad():
        for parameter in game.gan.discriminator.parameters():
            parameter.mul_(steep)
    first = networks(game.state())
    game.rounds(rounds)
    return {
        "first": first,
        "networks": networks(game.state()),
        "logged": game.meter.read(),
        "random": torch.get_rng_state(),
        "samples": game.samples(7),
    }


def coupled(weight: Any, x: Any) -> Any:
    """An objective of which the samples see each other by a mean and by a gathering: this process's part of it."""
    import torch

    from gantrick import parallel

    s = torch.tanh(x @ weight)
    pairs = (s[:, None] - parallel.gather(s)[None]).square().mean(1)
    return (s * (1 + parallel.mean(s.mean(0))).exp() + pairs * s).mean()


def derived(rows: Any) -> dict[str, Any]:
    """Value, first gradients in the samples and in a weight, and the second ones of a penalty on the first."""
    import torch

    from gantrick import parallel

    weight = torch.linspace(-1, 1, 3, dtype=torch.float64).requires_grad_(True)
    x = parallel.rows(rows).clone().requires_grad_(True)
    value = coupled(weight, x)
    # Of the sum over the samples, as a penalty takes it: each process's part is a mean over its own.
    (slope,) = torch.autograd.grad(value * len(x), x, create_graph=True)
    penalty = (slope.square().sum(1) - 1).square().mean()
    first, second = (torch.autograd.grad(v, weight, retain_graph=True)[0] for v in (value, penalty))
    found = parallel.average({"value": value.detach(), "weight": first, "twice": second, "penalty": penalty.detach()})
    return {**found, "slope": parallel.gather(slope.detach())}


def drawn() -> dict[str, Any]:
    """Every helper's random numbers, put together from the processes."""
    import torch

    from gantrick import parallel
    from gantrick.layers.dropout import Dropout

    n, found = parallel.world(), {}
    plain = torch.ones(8 // n, 3, 4, 4)
    for name, x in (
        ("plain", plain),
        ("channels_last", plain.to(memory_format=torch.channels_last)),
        ("points", plain[:, :, 0, 0]),
    ):
        found[f"rand {name}"] = parallel.gather(parallel.rand_like(x))
        found[f"randn {name}"] = parallel.gather(parallel.randn_like(x))
        found[f"dropout {name}"] = parallel.gather(Dropout(0.4)(x))
        with parallel.sections(2 // n, 6 // n):  # two of the one and six of the other, in one forward
            found[f"parts {name}"] = parallel.gather(parallel.randn_like(x))
    found["alpha"] = parallel.gather(parallel.rand(6 // n, 1, 1))
    with parallel.sections(2 // n, 4 // n):
        found["parts alpha"] = parallel.gather(parallel.rand(6 // n, 1))
        found["order"] = parallel.gather(torch.arange(6 // n) + 10 * parallel.rank())
    found["next"] = torch.rand(3)
    return found


def normalised(rows: Any, direction: Any) -> dict[str, Any]:
    """gantrick's batch normalisation of a whole batch, and its first and second derivatives."""
    import torch

    from gantrick import parallel
    from gantrick.layers.normalization import BatchNorm, take

    layer = BatchNorm(rows.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 1.5, rows.shape[1]))
        layer.bias.copy_(torch.linspace(-1, 1, rows.shape[1]))
    x = parallel.rows(rows).clone().requires_grad_(True)
    out = layer(x)
    (slope,) = torch.autograd.grad((out * parallel.rows(direction)).sum(), x, create_graph=True)
    (twice,) = torch.autograd.grad(slope.pow(3).sum(), x)
    ((_, mean, var),) = take(layer)
    gathered = {k: parallel.gather(v.detach()) for k, v in {"out": out, "slope": slope, "twice": twice}.items()}
    return {**gathered, "mean": mean, "var": var}


def shared(folder: str) -> dict[str, Any]:
    """Work in shares, and how failures in it are told."""
    from gantrick import parallel

    me, found = parallel.rank(), {}
    import torch

    found["shares"] = [int(t) for t in parallel.in_shares(lambda i: torch.tensor(i * i), range(5))]
    asked = []
    list(parallel.in_shares(lambda i: asked.append(i) or torch.zeros(i % 2), range(5)))
    found["asked"] = asked

    def fails(where: str) -> str:
        def one(i: int) -> torch.Tensor:
            if where == "in a share" and i == 3:
                raise ValueError("three")
            return torch.tensor(i)

        try:
            with parallel.together():
                if where == "before" and me == 1:
                    raise ValueError("three")
                for i in parallel.in_shares(one, range(6)):
                    if where == "between" and me == 1 and int(i) == 2:
                        raise ValueError("three")
                if where == "after" and me == 1:
                    raise ValueError("three")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    for where in ("before", "in a share", "between", "after", "nowhere"):
        found[where] = fails(where)
    found["drift"] = parallel.drifted(
        {"same": torch.ones(3), "other": torch.tensor([1.0, me]), "last": torch.tensor(me)}
    )
    found["no drift"] = parallel.drifted({"same": torch.ones(3), "flag": torch.tensor(True)})
    found["agreed"] = parallel.agree(15 if me == 1 else None), parallel.agree(None)
    return found


def trained(resolved: dict[str, Any], folder: str, trouble: str = "", resume: bool = False) -> dict[str, Any]:
    """A whole run of all processes in one folder; trouble comes to the second of them at the third step."""
    import os
    import signal
    from pathlib import Path

    import torch

    from gantrick import parallel, step, trainer
    from gantrick.recipe import check
    from gantrick.tracking.console import Console
    from gantrick.tracking.folder import RunFolder

    register()
    second = parallel.rank() == parallel.world() - 1 and parallel.world() > 1
    round_, written = step.Play.round, []

    def troubled(self: Any, number: int) -> None:
        if second and number == 3:
            if trouble == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            elif trouble == "not finite":
                self.gan.discriminator.head.bias.data.fill_(torch.nan)
            elif trouble == "drift":
                next(self.gan.generator.parameters()).data.view(-1)[0] += 1e-3
        round_(self, number)

    row = RunFolder.row

    room = iter(range(4))  # so many writes find none, from the row of step 3 on: it is tried again and again

    def full(self: Any, values: Any) -> None:
        if trouble == "full disk" and parallel.writes() and values["step"] == 3 and next(room, None) is not None:
            raise OSError(28, "No space left on device")
        row(self, values)

    class Notes(Console):
        def warn(self, sentence: str) -> None:
            written.append(sentence)

    step.Play.round, RunFolder.row = troubled, full  # type: ignore[method-assign]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        console = Notes(quiet=True)
        code: Any = trainer.run(check(resolved), Path(folder), console=console, resume=resume)
    except Exception as error:
        code = f"{type(error).__name__}: {error}"
    finally:
        step.Play.round, RunFolder.row = round_, row  # type: ignore[method-assign]
        for number, handler in before.items():
            signal.signal(number, handler)
    return {"code": code, "warnings": written, "threads": torch.get_num_threads()}


def assessed(words: list[str]) -> list[dict[str, float]]:
    from gantrick.assess import Assessor, request

    return [each.taken.figures for each in Assessor(request(words))]
