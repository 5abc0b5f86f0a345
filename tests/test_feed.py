"""The feed: every sample once an epoch, an order that two numbers restore, and the scale [-1, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gantrick.feed import Feed, stream, to_float, to_uint8
from gantrick.types import Samples

CPU = torch.device("cpu")


def numbered(count: int) -> Samples:
    """Images whose one pixel is their number; the label says it again."""
    numbers = torch.arange(count)
    return Samples(numbers.to(torch.uint8).view(count, 1, 1, 1), numbers)


def taken(feed: Feed, *counts: int) -> list[int]:
    labels = [feed.next(count).labels for count in counts]
    return [int(n) for part in labels if part is not None for n in part]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.lists(st.integers(1, 70), min_size=1, max_size=8), st.integers(0, 2**62))
def test_every_sample_once_an_epoch(size: int, counts: list[int], seed: int) -> None:
    """Whatever the batch sizes: cut the stream into pieces of one epoch and each is a permutation of the data."""
    numbers = taken(Feed(numbered(size), CPU, seed), *counts)
    assert len(numbers) == sum(counts)
    for start in range(0, len(numbers), size):
        epoch = numbers[start : start + size]
        assert len(set(epoch)) == len(epoch) and set(epoch) <= set(range(size))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.lists(st.integers(1, 40), max_size=5), st.integers(1, 40))
def test_two_numbers_restore_it(size: int, before: list[int], count: int) -> None:
    """The batches do not change the order, and a fresh feed with the state of another goes on as that one does."""
    feed = Feed(numbered(size), CPU, 3)
    first = taken(feed, *before)
    assert first == taken(Feed(numbered(size), CPU, 3), *[1] * sum(before))
    other = Feed(numbered(size), CPU, 3)
    other.load_state_dict(feed.state_dict())
    assert taken(other, count, 5) == taken(feed, count, 5)
    assert set(feed.state_dict()) == {"epoch", "position"}


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    feed = Feed(numbered(100), CPU, 1)
    first, second = taken(feed, 100), taken(feed, 100)
    assert first != second and first != sorted(first)
    assert taken(Feed(numbered(100), CPU, 1), 100) == first
    assert taken(Feed(numbered(100), CPU, 2), 100) not in (first, second)


def test_every_place_is_as_likely() -> None:
    """The first of 10 samples over 2000 seeds: χ² with 9 degrees of freedom, false alarm 1e-5, seeds fixed."""
    first = [taken(Feed(numbered(10), CPU, seed), 1)[0] for seed in range(2000)]
    assert stats.chisquare(np.bincount(first, minlength=10)).pvalue > 1e-5


def test_images_labels_and_scale_belong_together() -> None:
    batch = Feed(numbered(256), CPU, 0).next(256)
    assert batch.labels is not None and batch.images.dtype == torch.float32
    expected = batch.labels.numpy() / 127.5 - 1
    np.testing.assert_allclose(batch.images[:, 0, 0, 0], expected, atol=1e-6, rtol=0)
    assert batch.images.min() == -1 and batch.images.max() == 1
    assert batch.index is not None and torch.equal(batch.index, batch.labels) and batch.population == 256
    assert torch.equal(to_uint8(batch.images)[:, 0, 0, 0].long(), batch.labels), "0 … 255 there and back"


def test_points_pass_as_they_are() -> None:
    points = torch.randn(20, 2)
    batch = Feed(Samples(points), CPU, 0).next(20)
    assert batch.labels is None
    rows = {tuple(row) for row in batch.images.tolist()}
    assert rows == {tuple(row) for row in points.tolist()}
    assert torch.equal(to_float(points), points) and torch.equal(to_uint8(points), points)


def test_to_uint8_rounds_and_clamps() -> None:
    """n ± 0.4 steps round to n, and what is beyond [-1, 1] is cut off, not wrapped around."""
    n = torch.arange(256.0).view(1, 1, 16, 16)
    for off in (-0.4, 0.0, 0.4):
        expected = (n + off).round().clamp(0, 255).to(torch.uint8)
        assert torch.equal(to_uint8((n + off) / 127.5 - 1), expected)
    assert to_uint8(torch.tensor([-7.0, -1.001, 1.001, 7.0]).view(1, 1, 2, 2)).flatten().tolist() == [0, 0, 255, 255]


def test_flips() -> None:
    """About half of the samples, decided anew each epoch and the same for the same seed: 2000 of them within 4.9 σ."""
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).repeat(2000, 1, 1, 1)
    samples = Samples(images)
    straight = to_float(images[:1])[0]

    def flipped(feed: Feed, count: int) -> list[bool]:
        found = []
        for image in feed.next(count).images:
            assert torch.equal(image, straight) or torch.equal(image, straight.flip(-1))
            found.append(not torch.equal(image, straight))
        return found

    feed = Feed(samples, CPU, 0, flip=True)
    first, second = flipped(feed, 2000), flipped(feed, 2000)
    for found in (first, second):
        assert abs(sum(found) - 1000) < 4.9 * np.sqrt(500)
    assert first != second
    halves = Feed(samples, CPU, 0, flip=True)
    assert flipped(halves, 700) + flipped(halves, 1300) == first
    assert not any(flipped(Feed(samples, CPU, 0), 2000))


def test_peek_does_not_move_on() -> None:
    feed = Feed(numbered(7), CPU, 0)
    taken(feed, 5)
    ahead = feed.peek(6).labels
    assert ahead is not None
    assert [int(n) for n in ahead] == taken(feed, 6)


def test_the_feed_draws_from_no_stream_but_its_own() -> None:
    state = torch.get_rng_state()
    feed = Feed(numbered(9), CPU, 0, flip=True)
    feed.next(30)
    assert torch.equal(torch.get_rng_state(), state)


def test_streams() -> None:
    """A seed for each name: the same again, unlike others, and of a size that torch takes."""
    found = {stream(seed, name) for seed in range(50) for name in ("data", "latents", "epoch 1", "epoch 11")}
    assert len(found) == 200 and all(0 <= seed < 2**63 for seed in found)
    assert stream(1, "data") == stream(1, "data")
    assert stream(1, "1 x") != stream(11, " x") and stream(1, "1") != stream(11, "")


@pytest.mark.parametrize("count", [1, 3, 7, 8, 21])
def test_a_batch_may_span_epochs(count: int) -> None:
    feed = Feed(numbered(7), CPU, 0)
    one_by_one = taken(Feed(numbered(7), CPU, 0), *[1] * (2 * count))
    assert taken(feed, count) + taken(feed, count) == one_by_one
    assert (feed.epoch, feed.position) == ((2 * count - 1) // 7, (2 * count - 1) % 7 + 1)


@pytest.mark.parametrize("shape", [(3, 9, 6), (1, 4, 4)])
def test_images_are_moved_and_mirrored_at_their_edges(shape: tuple[int, ...]) -> None:
    """Each is one of the (2·3 + 1)² crops of numpy's reflected padding, all of which come, and the epochs differ.

    Of 7·7 crops none is missing among 1,000 images but with probability 49 · (48/49)^1000 = 5e-8.
    """
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    samples = Samples(torch.from_numpy(images)[None].repeat(1000, 1, 1, 1))
    feed, plain = Feed(samples, CPU, 0, shift=3), Feed(samples, CPU, 0)
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)), "reflect")
    crops = {
        padded[:, y : y + shape[1], x : x + shape[2]].tobytes(): (y, x) for y in range(7) for x in range(7)
    }  # fmt: skip
    first, second = (to_uint8(feed.next(1000).images).numpy() for _ in range(2))
    found = [crops[image.tobytes()] for image in first]
    assert set(found) == set(crops.values()) and not np.array_equal(first, second)
    assert np.array_equal(to_uint8(plain.next(1000).images[:1]).numpy()[0], images)


def test_moves_are_restored_and_shared_as_the_order_is() -> None:
    """A feed that goes on, and the rows of two processes, have the images that a feed alone has; flips stay."""
    samples = Samples(torch.randint(0, 256, (11, 2, 5, 5), dtype=torch.uint8), torch.arange(11))
    one = Feed(samples, CPU, 4, flip=True, shift=2)
    whole = torch.cat([one.next(6).images for _ in range(4)])
    other = Feed(samples, CPU, 4, flip=True, shift=2)
    other.load_state_dict({"epoch": 0, "position": 6})
    assert torch.equal(torch.cat([other.next(6).images for _ in range(3)]), whole[6:])
    shares = [Feed(samples, CPU, 4, flip=True, shift=2, share=(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([feed.next(24).images for feed in shares]), whole)
    labels = [Feed(samples, CPU, 4, flip=True, shift=shift).next(6).labels for shift in (0, 2)]
    assert torch.equal(*labels)
