"""The feed of pictures that are read ahead by processes: the same batches as from memory, and how it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gantrick.dataset.image_folder import ImageFolder
from gantrick.feed import Feed
from gantrick.types import Batch, GantrickError, Pictures, Samples

CPU = torch.device("cpu")


class Numbers(Pictures):
    """Picture n says n in its first pixel, and what it is else follows from n."""

    def __init__(self, count: int):
        super().__init__((3, 2, 4), count)

    def decode(self, number: int) -> np.ndarray:
        return (number + np.arange(24).reshape(3, 2, 4)).astype(np.uint8)

    def name(self, number: int) -> str:
        return f"picture {number}"


def samples(count: int, workers: int, weights: Tensor | None = None) -> Samples:
    pictures = Numbers(count)
    pictures.workers = workers
    return Samples(pictures, torch.arange(count), weights)


@pytest.fixture
def feeds() -> Iterator[list[Feed]]:
    opened: list[Feed] = []
    yield opened
    for feed in opened:
        feed.close()


def equal(a: Batch, b: Batch) -> bool:
    assert a.labels is not None and b.labels is not None
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


COUNTS = (8, 8, 3, 8, 40, 1, 17, 8, 8, 5, 60)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("share", [(0, 1), (1, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_ways_give_the_same_batches(
    workers: int, share: tuple[int, int], weighted: bool, feeds: list[Feed]
) -> None:
    """Of counts that jump about, over several epochs of 23 samples, flips included; also after a peek and a rewind."""
    weights = torch.arange(23, dtype=torch.float64) if weighted else None
    streamed = samples(23, workers, weights)
    resident = Samples(streamed.images[:], streamed.labels, weights)
    feeds += [Feed(s, CPU, 5, flip=True, share=share) for s in (streamed, resident)]
    a, b = feeds
    for count in COUNTS:
        assert equal(a.next(count), b.next(count))
        assert a.state_dict() == b.state_dict()
    assert equal(a.peek(9), b.peek(9)) and equal(a.next(9), b.next(9))
    for state in ({"epoch": 0, "position": 20}, {"epoch": 7, "position": 0}, {"epoch": 1, "position": 23}):
        a.load_state_dict(state)
        b.load_state_dict(state)
        for count in (4, 4, 30, 4):
            assert equal(a.next(count), b.next(count))


@pytest.mark.parametrize("workers", [None, 2])
def test_shares_are_the_parts_of_the_whole(workers: int | None, feeds: list[Feed]) -> None:
    """Three processes of batches of 7, 2 and 31, in memory and streamed: rows r·c//3 to (r+1)·c//3, together all."""
    source = samples(50, workers or 0)
    if workers is None:
        source = Samples(source.images[:], source.labels)
    whole = Feed(Samples(source.images[:], source.labels), CPU, 1, flip=True)
    feeds += [Feed(source, CPU, 1, flip=True, share=(rank, 3)) for rank in range(3)]
    for count in (7, 7, 2, 31, 7, 31):
        expected = whole.next(count)
        parts = [feed.next(count) for feed in feeds]
        assert [len(part) for part in parts] == [(r + 1) * count // 3 - r * count // 3 for r in range(3)]
        assert torch.equal(torch.cat([part.images for part in parts]), expected.images)
        assert {str(feed.state_dict()) for feed in feeds} == {str(whole.state_dict())}


def test_a_share_reads_its_own_rows_alone() -> None:
    """Of two processes each decodes half of the pictures of an epoch, and none twice."""

    class Counted(Numbers):
        seen: list[int] = []

        def decode(self, number: int) -> np.ndarray:
            self.seen.append(number)
            return super().decode(number)

    halves = []
    for rank in range(2):
        pictures = Counted(24)
        pictures.workers, Counted.seen = 0, []
        feed = Feed(Samples(pictures), CPU, 0, share=(rank, 2))
        for _ in range(3):
            feed.next(8)
        halves.append(sorted(Counted.seen))
    assert len(halves[0]) == len(halves[1]) == 12 and sorted(halves[0] + halves[1]) == list(range(24))


def test_weights_are_the_rates_of_drawing() -> None:
    """40,000 draws of 4 samples, one of weight 0: each count within 4.9 σ of n p, and an epoch is N draws."""
    weights = torch.tensor([1.0, 0.0, 2.0, 5.0], dtype=torch.float64).repeat(25)
    pictures = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1)
    feed = Feed(Samples(pictures, torch.arange(100), weights), CPU, 3)
    labels = feed.next(40_000).labels
    assert labels is not None and feed.epoch == 399
    found = np.bincount(labels.numpy() % 4, minlength=4)
    for count, p in zip(found, (1 / 8, 0, 2 / 8, 5 / 8), strict=True):
        assert abs(count - 40_000 * p) <= 4.9 * np.sqrt(40_000 * p * (1 - p))
    again = Feed(Samples(pictures, torch.arange(100), weights), CPU, 3)
    again.load_state_dict({"epoch": 2, "position": 50})
    assert torch.equal(again.next(75).labels, labels[250:325])  # type: ignore[arg-type]


def test_reading_ahead_draws_from_no_stream_but_its_own(feeds: list[Feed]) -> None:
    state, handler = torch.get_rng_state(), signal.getsignal(signal.SIGCHLD)
    feeds.append(Feed(samples(9, 2), CPU, 0, flip=True))
    feeds[0].next(30)
    assert torch.equal(torch.get_rng_state(), state)
    assert signal.getsignal(signal.SIGCHLD) == handler, "torch's would raise in the middle of a step"


# --- how it ends -----------------------------------------------------------------------------------------------------


def folder_of(path: Path, count: int) -> Pictures:
    path.mkdir(exist_ok=True)
    for n in range(count):
        Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(path / f"{n:03}.png")
    pictures = ImageFolder(str(path), 8).load().images
    assert isinstance(pictures, Pictures)
    pictures.workers = 2
    return pictures


@pytest.mark.parametrize("harm", ["vanishes", "breaks"])
def test_a_file_that_fails_late_is_named(tmp_path: Path, harm: str, feeds: list[Feed]) -> None:
    pictures = folder_of(tmp_path, 40)
    feeds.append(Feed(Samples(pictures), CPU, 0))
    feeds[0].next(4)
    number = int(feeds[0]._at(36, 37)[0][0])
    if harm == "vanishes":
        (tmp_path / f"{number:03}.png").unlink()
    else:
        (tmp_path / f"{number:03}.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(GantrickError) as raised:
        for _ in range(9):
            feeds[0].next(4)
    reason = "No such file or directory" if harm == "vanishes" else "not a picture"
    assert str(raised.value) == (
        f"dataset.path: cannot read 1 of 4 pictures in {tmp_path}: {number:03}.png ({reason}); "
        "mend or remove them, or set dataset.skip_corrupt=true"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_killed_process_is_a_sentence(tmp_path: Path, feeds: list[Feed]) -> None:
    pictures = folder_of(tmp_path, 12)
    feeds.append(Feed(Samples(pictures), CPU, 0))
    feeds[0].next(4)
    ahead = feeds[0]._ahead
    assert ahead is not None
    os.kill(ahead.iterator._workers[0].pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(GantrickError) as raised:
        for _ in range(20):
            feeds[0].next(4)
    assert time.monotonic() - started < 30
    said = str(raised.value)
    assert said.startswith("dataset: a process that reads pictures has ended (") and "\n" not in said
    assert ".png; was there too little memory?" in said
    batch = feeds[0].next(4)  # and it can go on
    assert batch.images.shape == (4, 3, 8, 8)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_processes_obey_the_run_alone(feeds: list[Feed]) -> None:
    """Control-C and a scheduler's SIGTERM reach every process of a group; the run still needs its batches then."""
    feeds.append(Feed(samples(30, 2), CPU, 0))
    for _ in range(5):  # at once after their start, too
        feeds[0].next(1)
        ahead = feeds[0]._ahead
        assert ahead is not None
        workers = list(ahead.iterator._workers)
        for worker in workers:
            os.kill(worker.pid, signal.SIGINT)
            os.kill(worker.pid, signal.SIGTERM)
        for _ in range(10):
            feeds[0].next(4)
        feeds[0].close()
        assert not any(worker.is_alive() for worker in workers)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}, "the run itself hears"


def test_a_forgotten_feed_ends_its_processes() -> None:
    feed = Feed(samples(30, 2), CPU, 0)
    feed.next(4)
    assert feed._ahead is not None
    workers = list(feed._ahead.iterator._workers)
    assert all(worker.is_alive() for worker in workers)
    del feed
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)


PROGRAM = """
    import signal, sys, time
    import torch
    from gantrick.dataset.image_folder import ImageFolder
    from gantrick.feed import Feed
    from gantrick.types import Samples

    pictures = ImageFolder(sys.argv[1], 8).load().images
    pictures.workers = 2
    feed = Feed(Samples(pictures), torch.device("cpu"), 0)
    feed.next(4)
    print(*[w.pid for w in feed._ahead.iterator._workers], flush=True)
    {ending}
"""


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", ["feed.next(4)", "raise KeyboardInterrupt", "time.sleep(60)"])
def test_no_process_outlives_the_run(tmp_path: Path, ending: str) -> None:
    """At its regular end, after an exception, and after a SIGKILL."""
    folder_of(tmp_path, 12)
    program = textwrap.dedent(PROGRAM).format(ending=ending)
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout is not None
    pids = [int(word) for word in run.stdout.readline().split()]
    assert len(pids) == 2
    if "sleep" in ending:
        assert all(map(alive, pids))
        run.kill()
    run.communicate(timeout=60)
    until = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, pids))
