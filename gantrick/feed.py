"""Real batches from samples held in memory, in an order that two numbers restore."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from gantrick.types import Batch, Samples


def stream(seed: int, name: str) -> int:
    """A seed of its own for each use of randomness: the same for the same seed and name, unrelated otherwise."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") >> 1


class Feed:
    """Batches of reals without replacement, epoch after epoch; a batch may span two epochs.

    uint8 images (N, C, H, W) stay as they are in memory, on the device; a batch is one gather, scaled to [-1, 1] there.
    The order of an epoch follows from seed and epoch alone, so (epoch, position) is all the state there is.
    share: (rank, n) of a process of n; it gets the rows [rank·count/n, (rank+1)·count/n) of each batch of all of them.
    """

    def __init__(
        self,
        samples: Samples,
        device: torch.device,
        seed: int,
        flip: bool = False,
        share: tuple[int, int] = (0, 1),
    ):
        self.images = samples.images.to(device)
        self.labels = None if samples.labels is None else samples.labels.to(device)
        self.samples = Samples(self.images, self.labels)  # for another feed of the same, without another copy
        self.device, self.seed, self.flip, self.share = device, seed, flip, share
        self.epoch, self.position = 0, 0
        self._shuffle()

    def _shuffle(self) -> None:
        generator = torch.Generator().manual_seed(stream(self.seed, f"epoch {self.epoch}"))
        self.order = torch.randperm(len(self.images), generator=generator).to(self.device)
        self.flips = (torch.rand(len(self.images), generator=generator) < 0.5).to(self.device) if self.flip else None

    def next(self, count: int) -> Batch:
        """The next `count` samples, or this process's share of them."""
        rank, processes = self.share
        own = slice(rank * count // processes, (rank + 1) * count // processes)
        chosen, flips = [], []
        while count > 0:
            if self.position == len(self.order):
                self.epoch, self.position = self.epoch + 1, 0
                self._shuffle()
            part = slice(self.position, self.position + count)
            chosen.append(self.order[part])
            if self.flips is not None:
                flips.append(self.flips[part])
            count -= len(chosen[-1])
            self.position += len(chosen[-1])
        index = (chosen[0] if len(chosen) == 1 else torch.cat(chosen))[own]
        images = to_float(self.images[index])
        if flips:
            mask = torch.cat(flips)[own][:, None, None, None]
            images = torch.where(mask, images.flip(-1), images)
        return Batch(images, None if self.labels is None else self.labels[index])

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
        self._shuffle()


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
