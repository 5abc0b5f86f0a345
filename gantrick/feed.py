"""Real batches from samples held in memory or read ahead by processes, in an order that two numbers restore."""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gantrick.dataset._reading import read
from gantrick.types import Batch, Dataset, GantrickError, Pictures, Samples

MOST_WORKERS = 8
AHEAD = 2  # batches in work or waiting, per worker


def stream(seed: int, name: str) -> int:
    """A seed of its own for each use of randomness: the same for the same seed and name, unrelated otherwise."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") >> 1


class Reals:
    """The splits of a data set, each read once."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self._samples: dict[str, Samples] = {}

    def __call__(self, split: Literal["train", "test"] = "train") -> Samples:
        if split not in self._samples:
            self._samples[split] = read(self.dataset, split)
        return self._samples[split]


class Feed:
    """Batches of reals without replacement, epoch after epoch; a batch may span two epochs.

    uint8 images (N, C, H, W) stay as they are in memory, on the device where they take no more than half of what is
    free there; a batch is one gather, scaled to [-1, 1] on the device. `Pictures` are read ahead by processes, and the
    batches are the same. Where the samples have weights w, each place of an epoch is an independent draw with
    probability w_i / Σ w. The order of an epoch follows from seed and epoch alone, so (epoch, position) is all the
    state there is.

    flip: half of the images mirrored, by chance. shift: each moved by up to so many pixels down and to the right, or up
    and to the left, by chance; what comes in at an edge is the image's own mirrored inside.

    `share` (r, n) is for process r of n: every `next(count)` moves on by the whole count, and gives the rows from
    r·count//n to (r+1)·count//n of it alone.
    """

    def __init__(
        self,
        samples: Samples,
        device: torch.device,
        seed: int,
        flip: bool = False,
        share: tuple[int, int] = (0, 1),
        shift: int = 0,
    ):
        self.images = samples.images
        if isinstance(self.images, Tensor) and _fits(self.images, device):
            self.images = self.images.to(device)
        self.home = self.images.device if isinstance(self.images, Tensor) else torch.device("cpu")
        self.labels = None if samples.labels is None else samples.labels.to(self.home)
        self.samples = Samples(self.images, self.labels, samples.weights)  # for another feed, without another copy
        self.device, self.seed, self.flip, self.share, self.shift = device, seed, flip, share, shift
        self.epoch, self.position = 0, 0
        self._orders: dict[int, tuple[Tensor, Tensor | None, Tensor | None]] = {}
        self._ahead: _Ahead | None = None

    def _order(self, epoch: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The samples in the order of an epoch (N,), which of them are flipped (N,), and by how much shifted (N, 2)."""
        if epoch not in self._orders:
            count, weights = len(self.images), self.samples.weights
            generator = torch.Generator().manual_seed(stream(self.seed, f"epoch {epoch}"))
            if weights is None:
                order = torch.randperm(count, generator=generator)
            else:
                reach = weights.double().cumsum(0)
                drawn = torch.rand(count, generator=generator, dtype=torch.float64)
                order = torch.searchsorted(reach / reach[-1], drawn, right=True)
            flips = (torch.rand(count, generator=generator) < 0.5).to(self.home) if self.flip else None
            most = self.shift
            moves = torch.randint(-most, most + 1, (count, 2), generator=generator).to(self.home) if most else None
            for old in [e for e in self._orders if not self.epoch <= e <= self.epoch + 1]:
                del self._orders[old]
            self._orders[epoch] = order.to(self.home), flips, moves
        return self._orders[epoch]

    def _at(self, start: int, stop: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What `_order` says of place `start` to `stop` of the endless row of epochs."""
        size = len(self.images)
        parts: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
        while start < stop or not parts:
            epoch, first = divmod(start, size)
            part = slice(first, first + stop - start)
            order, flips, moves = self._order(epoch)
            parts.append((order[part], None if flips is None else flips[part], None if moves is None else moves[part]))
            start += max(len(parts[-1][0]), 1)
        chosen, flipped, moved = ([x for x in column if x is not None] for column in zip(*parts, strict=True))
        return torch.cat(chosen), torch.cat(flipped) if flipped else None, torch.cat(moved) if moved else None

    def next(self, count: int) -> Batch:
        """The next `count` samples, or this process's share of them. Raises GantrickError where one cannot be read."""
        size, (rank, processes) = len(self.images), self.share
        begin = self.epoch * size + self.position
        end = begin + count
        self.epoch, self.position = (end - 1) // size, (end - 1) % size + 1  # at its end, not at the start of the next
        start, stop = begin + rank * count // processes, begin + (rank + 1) * count // processes
        index, flips, moves = self._at(start, stop)
        if isinstance(self.images, Tensor):
            found = self.images[index]
        else:
            if self._ahead is None:
                self._ahead = _Ahead(self, self.images)
            found = self._ahead.rows(begin, count, start, stop)
        found = found.to(self.device, non_blocking=True)
        if flips is not None:  # before there are four bytes to move for each
            found = torch.where(flips.to(self.device)[:, None, None, None], found.flip(-1), found)
        if moves is not None:
            found = _moved(found, moves.to(self.device))
        labels = None if self.labels is None else self.labels[index].to(self.device)
        return Batch(to_float(found), labels, index=index.to(self.device), population=size)

    def peek(self, count: int) -> Batch:
        """What `next` would give, without moving on."""
        state = self.state_dict()
        batch = self.next(count)
        self.load_state_dict(state)
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]

    def close(self) -> None:
        """Ends the processes that read ahead; a later `next` starts them anew."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None


class _Ahead:
    """The rows of a feed's pictures, read by processes before they are asked for. torch's DataLoader moves them."""

    def __init__(self, feed: Feed, pictures: Pictures):
        from torch.utils.data import DataLoader  # slow to import

        free = max(1, min(MOST_WORKERS, _cpus() // feed.share[1]))
        workers: int = free if pictures.workers == "auto" else pictures.workers
        self.pictures, self.guess = pictures, _Guess(feed)
        self.held: tuple[int, Tensor] | None = None  # what came last: the first place, and the rows
        with _unwarned():
            self.loader: Any = DataLoader(
                _Rows(pictures),  # type: ignore[arg-type]
                batch_size=None,
                sampler=self.guess,  # type: ignore[arg-type]
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=_deaf,
                prefetch_factor=AHEAD if workers else None,
                pin_memory=feed.device.type == "cuda",
                generator=torch.Generator(),  # or it would draw a seed from everyone's
            )
        self.iterator: Any = None

    def rows(self, begin: int, count: int, start: int, stop: int) -> Tensor:
        """uint8 (stop - start, C, H, W). Raises GantrickError naming what cannot be read."""
        self.guess.learn(count)
        parts: list[Tensor] = []
        place = start
        while place < stop:
            first, rows = self.held or (0, None)
            if rows is not None and first <= place < first + len(rows):
                parts.append(rows[place - first : stop - first])
                place += len(parts[-1])
                continue
            if not any(a <= place < b for a, b in self.guess.sent):
                self.guess.following = (begin, count, place, stop)
            self.held = self._receive()
        if not parts:  # a share of fewer samples than there are processes
            return torch.empty((0, *self.pictures.shape_of_one), dtype=torch.uint8)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _receive(self) -> tuple[int, Tensor]:
        if self.iterator is None:
            before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
            with _unwarned(), _undisturbed():
                self.iterator = iter(self.loader)
            _running.add(self)
            atexit.unregister(_close_all)
            atexit.register(_close_all)  # runs before multiprocessing's own, which waits for processes deaf to signals
            if before is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, before)  # torch's would raise anywhere in a step
        due = self.guess.sent[0][0] if self.guess.sent else 0
        try:
            found = next(self.iterator)
        except (RuntimeError, OSError, EOFError) as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            row = int(self.guess.feed._at(due, due + 1)[0][0])
            name = self.pictures.name(int(self.pictures.numbers[row]))
            self.close()
            raise GantrickError(
                f"dataset: a process that reads pictures has ended ({reason}) where a batch was due whose first is "
                f"{name}; was there too little memory? lower dataset.workers or batch_size, and go on with resume="
            ) from error
        start, _ = self.guess.sent.popleft()
        if isinstance(found, str):
            raise GantrickError(found)
        return start, found

    def close(self) -> None:
        _running.discard(self)
        shut = getattr(self.iterator, "_shutdown_workers", None)
        self.iterator, self.held = None, None
        self.guess.sent.clear()
        if shut is not None:
            shut()


class _Guess:
    """What a feed will ask for: that counts go on to follow one another as they did last. It is the loader's sampler.

    A guess that fails costs time and nothing else. It holds no reference that would keep a forgotten feed alive.
    """

    def __init__(self, feed: Feed):
        self.feed: Feed = weakref.proxy(feed)
        self.followed: dict[int, int] = {}  # count -> the one after it
        self.last = 0
        self.following = (0, 0, 0, 0)  # begin, count, start, stop: the next batch that a process is sent for
        self.sent: deque[tuple[int, int]] = deque()  # places that were sent for and have not come yet

    def learn(self, count: int) -> None:
        if self.last:
            self.followed[self.last] = count
        self.last = count

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            begin, count, start, stop = self.following
            self.sent.append((start, stop))
            rank, processes = self.feed.share
            begin, count = begin + count, self.followed.get(count, count)
            self.following = (begin, count, begin + rank * count // processes, begin + (rank + 1) * count // processes)
            yield self.feed._at(start, stop)[0].numpy() if stop > start else np.empty(0, dtype=np.int64)


_running: weakref.WeakSet[_Ahead] = weakref.WeakSet()


def _close_all() -> None:
    for ahead in list(_running):
        ahead.close()


class _Rows:
    """What a process reads: rows by their numbers, or the sentence that says why not."""

    def __init__(self, pictures: Pictures):
        self.pictures = pictures

    def __getitem__(self, rows: np.ndarray) -> Tensor | str:
        threads = 1 if torch.utils.data.get_worker_info() else os.cpu_count() or 1
        try:
            return self.pictures.read(rows, threads)
        except GantrickError as error:
            return str(error)


@contextmanager
def _unwarned() -> Iterator[None]:
    """torch warns of more processes than CPUs, even where they were asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Processes started inside are deaf from birth, not only from `_deaf` on; the run hears what came afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_it_is(found: Any) -> Any:
    return found


def _deaf(worker: int) -> None:
    """A stop is the run's to obey: it ends its step, and then these processes."""
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether images may lie on the device; a GPU has to hold the networks too."""
    if device.type != "cuda" or images.device == device:
        return True
    return images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2


def _moved(images: Tensor, moves: Tensor) -> Tensor:
    """Each image (B, C, H, W) moved by its own (down, right), (B, 2); beyond an edge it is mirrored at it."""
    for dim, by in ((2, moves[:, 0]), (3, moves[:, 1])):
        size = images.shape[dim]
        place = (torch.arange(size, device=images.device) - by[:, None]).abs()  # (B, size)
        place = (size - 1) - ((size - 1) - place).abs()
        shape = (len(images), 1, size, 1) if dim == 2 else (len(images), 1, 1, size)
        images = images.gather(dim, place.view(shape).expand_as(images))
    return images


def to_float(images: Tensor) -> Tensor:
    """uint8 (B, C, H, W) -> [-1, 1] float32, channels last; points pass."""
    if images.dtype != torch.uint8:
        return images
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] (B, C, H, W) -> uint8, rounded and clamped; points (B, D) pass as they are."""
    if images.ndim == 2:
        return images.float()
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
