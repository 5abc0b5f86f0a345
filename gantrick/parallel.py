"""The processes of one run: who this one is, its share of a batch, and what they tell one another.

A run with n processes is the run with one. `batch_size` is the whole batch; process r has the rows
[r·B/n, (r+1)·B/n) of it. Every process holds the same weights and the same random streams: per-sample random numbers
are drawn for the whole batch everywhere, and each process takes its rows, so the streams stay equal and are saved once.
The gradient of the whole batch is the mean of the processes' gradients. What couples the samples of a batch (batch
statistics, relativistic means) goes through `mean` and `gather`, which can be differentiated any number of times.

With one process every function here is the plain torch call or hands back its argument.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from math import prod
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.overrides import TorchFunctionMode

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)  # for one exchange: an evaluation or a download of one process lies within
PATIENCE = 3.0  # seconds in which a process that failed has said why
ANSWER = timedelta(minutes=1)  # for the processes' store
FAILURE = "gantrick/failure"  # the key in it of the first failure

_rank, _world = 0, 1
_alone = 0  # how many `alone` are open
_sections: tuple[int, ...] = ()
_store: Any = None
_parent = 0


class Lost(Exception):
    """Another process of the run has ended or does not answer."""


class Elsewhere(Exception):
    """A piece of work failed in another process; the text is its reason."""


# --- who we are ------------------------------------------------------------------------------------------------------


def rank() -> int:
    """The number of this process among those that share the present work, 0 … world − 1."""
    return 0 if _alone else _rank


def world() -> int:
    """How many processes share the present work."""
    return 1 if _alone else _world


def writes() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return _rank == 0


def started(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun, or whoever set its variables, has started for this run."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        return 1
    return int(environment["WORLD_SIZE"])


def local_rank() -> int:
    """The number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", _rank)) if _world > 1 else 0


def start() -> None:
    """Joins the processes that were started together; nothing is done in a process alone or for a second time.

    Tensors on a GPU travel by NCCL, everything on the CPU by gloo, which notices at once when a process has ended.
    """
    global _rank, _world, _store, _parent
    if _world > 1 or started() == 1:
        return
    store, number, count = next(rendezvous("env://", timeout=TIMEOUT))
    own_gpu = dist.is_nccl_available() and int(os.environ.get("LOCAL_RANK", number)) < torch.cuda.device_count()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if own_gpu else "gloo", store=store, rank=number, world_size=count, timeout=TIMEOUT
    )
    # A connection of our own: what torch puts before the keys of its own is another in each of its versions.
    _store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=ANSWER)
    _rank, _world, _parent = number, count, os.getppid()


def stop() -> None:
    """Leaves the others."""
    global _rank, _world, _store
    if _world > 1:
        _rank, _world, _store = 0, 1, None
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process does a work of its own, as if there were no other: no exchange, whole batches."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def _exchanged(act: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    try:
        act(*arguments, **options)
    except (RuntimeError, ValueError) as error:  # gloo and NCCL have no error of their own
        said = re.sub(r"\[/[^]]*\] ?", "", " ".join(str(error).split()))  # without gloo's own source files
        raise Lost(said.partition(". ")[0][:120]) from error


# --- sums over processes ---------------------------------------------------------------------------------------------


class _Mean(torch.autograd.Function):
    """y = Σ_r x_r / n; its adjoint is itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        _exchanged(dist.all_reduce, total)
        return total.div_(_world)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        out: Tensor = _Mean.apply(gradients[0])  # type: ignore[no-untyped-call]
        return out


class _Gather(torch.autograd.Function):
    """y = (x_0, …, x_{n−1}), on every process; the adjoint is the sum over processes of this process's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        own = x.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(_world)]
        _exchanged(dist.all_gather, parts, own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        out: Tensor = _SumOfRows.apply(gradients[0])  # type: ignore[no-untyped-call]
        return out


class _SumOfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        total = y.detach().clone(memory_format=torch.contiguous_format)
        _exchanged(dist.all_reduce, total)
        size = len(total) // _world
        return total[_rank * size : (_rank + 1) * size].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        out: Tensor = _Gather.apply(gradients[0])  # type: ignore[no-untyped-call]
        return out


def mean(x: Tensor) -> Tensor:
    """The mean over processes, element by element, differentiable: `mean(x.mean(0))` is that of the whole batch.

    Every process hands in a tensor of the same shape. In the gradient, as in the objective, processes are averaged:
    the mean over processes of what they find is the gradient of the mean of their objectives.
    """
    if world() == 1:
        return x
    out: Tensor = _Mean.apply(x)  # type: ignore[no-untyped-call]
    return out


def gather(x: Tensor) -> Tensor:
    """The rows `(B, …)` of the whole batch, from the `(B/n, …)` of each process, in order and differentiable."""
    if world() == 1:
        return x
    whole: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    sizes = _sizes(len(x))
    if len(sizes) == 1:
        return whole
    of_process = [torch.split(part, list(sizes)) for part in torch.split(whole, len(x))]
    return torch.cat([parts[i] for i in range(len(sizes)) for parts in of_process])


def average(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The means over processes by name, in one exchange per type: gradients of shares -> that of the whole batch."""
    out = dict(tensors)
    if world() == 1:
        return out
    for dtype in dict.fromkeys(t.dtype for t in tensors.values()):
        names = [name for name, t in tensors.items() if t.dtype == dtype]
        parts = [tensors[name] for name in names]
        flat = torch.split(mean(torch.cat([part.reshape(-1) for part in parts])), [part.numel() for part in parts])
        out |= {name: new.view(old.shape) for name, new, old in zip(names, flat, parts, strict=True)}
    return out


@torch.no_grad()
def least(x: Tensor) -> Tensor:
    """The smallest over processes, element by element."""
    if world() == 1:
        return x
    x = x.clone()
    _exchanged(dist.all_reduce, x, op=dist.ReduceOp.MIN)
    return x


# --- a process's share -----------------------------------------------------------------------------------------------


@contextmanager
def sections(*sizes: int) -> Iterator[None]:
    """Inside, a batch of Σ sizes rows is made of parts, of this many rows each, that are batches of their own.

    So reals and fakes that are judged in one forward find the random numbers that they have in the whole forward.
    """
    global _sections
    before, _sections = _sections, sizes
    try:
        yield
    finally:
        _sections = before


def _sizes(rows: int) -> tuple[int, ...]:
    return _sections if sum(_sections) == rows else (rows,)


def _own(whole: Tensor, sizes: Sequence[int]) -> Tensor:
    """This process's rows of a whole batch whose parts have `sizes` rows on each process."""
    parts, offset = [], 0
    for size in sizes:
        parts.append(whole[offset + _rank * size : offset + (_rank + 1) * size])
        offset += size * _world
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def rows(whole: Tensor) -> Tensor:
    """This process's rows of a whole batch `(B, …)`; n divides B."""
    return whole if world() == 1 else _own(whole, (len(whole) // _world,))


def whole_like(x: Tensor) -> Tensor:
    """An empty tensor of the whole batch, in memory like this process's rows `(B/n, …)`."""
    strides = (prod(x.shape[1:]), *torch.empty_like(x).stride()[1:])
    return torch.empty_strided((len(x) * _world, *x.shape[1:]), strides, dtype=x.dtype, device=x.device)


def of_whole(draw: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """draw(x) for an x whose values do not matter, with random numbers that belong to rows of the whole batch."""
    if world() == 1:
        return draw(x)
    with torch._C.DisableTorchFunction():  # `Strays` is not meant
        return _own(draw(whole_like(x)), _sizes(len(x)))


def rand(*size: int, device: torch.device | None = None) -> Tensor:
    """torch.rand of `size`, whose first entry counts this process's samples."""
    if world() == 1:
        return torch.rand(size, device=device)
    return of_whole(lambda like: torch.rand(like.shape, device=device), torch.empty(size, device=device))


class Strays(TorchFunctionMode):
    """Notes, inside, the functions of torch that drew random numbers for `rows` samples: the same in every process."""

    RANDOM = frozenset({"rand", "randn", "rand_like", "randn_like", "bernoulli", "bernoulli_", "normal_", "uniform_"})

    def __init__(self, rows: int):
        super().__init__()
        self.rows = rows
        self.found: set[str] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        drawn = name in self.RANDOM or (name == "dropout" and not torch.equal(out, args[0]))
        if drawn and out.ndim and len(out) in (self.rows, 2 * self.rows):
            self.found.add(name)
        return out


def rand_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """torch.rand_like of this process's samples `(B/n, …)`."""
    return of_whole(lambda like: torch.rand_like(like, dtype=dtype), x)


def randn_like(x: Tensor) -> Tensor:
    """torch.randn_like of this process's samples `(B/n, …)`."""
    return of_whole(torch.randn_like, x)


# --- work that is shared ---------------------------------------------------------------------------------------------


def exchange(value: T) -> list[T]:
    """The values of all processes, in their order. Slow: pickled, through the CPU."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * _world
    _exchanged(dist.all_gather_object, found, value)
    return found


def agree(signal: int | None) -> int | None:
    """What a process was told to stop by, the same on all: the largest number that one of them has; None: go on.

    A process whose parent has ended, be it torchrun or gantrick, has been told too.
    """
    if world() == 1:
        return signal
    if signal is None and os.getppid() != _parent:
        signal = 15
    told = torch.tensor([signal or 0])
    _exchanged(dist.all_reduce, told, op=dist.ReduceOp.MAX)
    return int(told) or None


def barrier() -> None:
    """Waits for all."""
    agree(None)


@contextmanager
def first() -> Iterator[None]:
    """The writer goes through it before the others do: what it fetches they find."""
    if not writes():
        barrier()
    yield
    if writes():
        barrier()


@contextmanager
def together() -> Iterator[None]:
    """A work that fails on all processes where it fails on one: with the error there, with Elsewhere on the others."""
    if world() == 1:
        yield
        return
    try:
        yield
    except (Lost, Elsewhere):
        raise
    except Exception as error:
        if not getattr(error, "exchanged", False):
            exchange(_Failure(error))
        raise
    _look(exchange(None))


class _Failure:
    def __init__(self, error: Exception):
        self.text = f"{type(error).__name__}: {error}"


def _look(found: Iterable[Any]) -> None:
    for number, value in enumerate(found):
        if isinstance(value, _Failure):
            raise Elsewhere(f"{value.text} (process {number})")


def in_shares(function: Callable[[T], Tensor], items: Iterable[T]) -> Iterator[Tensor]:
    """function(item) of each item, in order and on every process, each process computing every n-th.

    Each is computed as by a process alone. Where one process fails all do: see `together`, which it needs around it.
    """
    if world() == 1:
        yield from map(function, items)
        return
    queue = iter(items)
    while batch := list(islice(queue, _world)):
        mine: Any = None
        device = torch.device("cpu")
        if _rank < len(batch):
            try:
                with alone():
                    result = function(batch[_rank])
                mine, device = result.detach().cpu(), result.device
            except Exception as error:
                exchange(_Failure(error))
                error.exchanged = True  # type: ignore[attr-defined]
                raise
        found = exchange((mine, device.type))
        _look(found)
        for result, place in found[: len(batch)]:
            yield result if place == "cpu" else result.to(_device(place))


def _device(kind: str) -> torch.device:
    return torch.device(kind, local_rank())


@torch.no_grad()
def drifted(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor whose bits are not the same on all processes, or None."""
    if world() == 1:
        return None
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [t.detach().contiguous().view(integers[t.element_size()]).sum(dtype=torch.int64) for t in tensors.values()]
    own = torch.stack([s.cpu() for s in sums]) if sums else torch.zeros(0, dtype=torch.int64)
    apart = least(own) != -least(-own)
    return next((name for name, differs in zip(tensors, apart.tolist(), strict=True) if differs), None)


# --- how it ends -----------------------------------------------------------------------------------------------------


def report(reason: str, code: int = 1) -> bool:
    """Leaves why this process fails where the others and gantrick.launch find it; whether it is the first to fail."""
    if _world == 1:
        return True
    mine = json.dumps({"process": _rank, "reason": reason, "code": code})
    with suppress(RuntimeError):  # the store has gone with who held it
        return bool(json.loads(_store.compare_set(FAILURE, "", mine))["process"] == _rank)
    return True


def cause(default: str) -> str:
    """Why the others have gone: what the first of them to fail has left, or else `default`."""
    until = time.monotonic() + PATIENCE
    with suppress(RuntimeError):
        while _store is not None and time.monotonic() < until:
            if _store.check([FAILURE]):
                return str(json.loads(_store.get(FAILURE))["reason"])
            time.sleep(0.05)
    return default
