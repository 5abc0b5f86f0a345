from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from gantrick import parallel
from gantrick.stages import Component, Forbidden
from gantrick.types import Batch, Count, NetworkSpec, Paper, Rate, Record


class ExperienceReplay(Component):
    """D's fakes are in part those of earlier turns, drawn from a store of `size`, so that D does not forget them.

    how=replace puts old fakes in the place of `share` of the batch, how=add appends so many (rounded down). After each
    move of D the batch's new fakes go into the store: in order until it is full, then in the place of others drawn at
    random. They are stored as G made them, before augmentation and packing, with their labels, on the device. The store
    is in the checkpoint. Source: Shrivastava et al., arXiv 1612.07828, section 2.3; that half of the batch is old and
    that as many entries change in a step is what its public implementations do; size 512 is this project's choice
    (CycleGAN: 50).
    """

    paper = Paper(
        "shrivastava2017learning",
        "Learning from Simulated and Unsupervised Images through Adversarial Training",
        "Shrivastava, Ashish and Pfister, Tomas and Tuzel, Oncel and Susskind, Josh and Wang, Wenda and Webb, Russ",
        2017,
        "1612.07828",
        "Computer Vision and Pattern Recognition",
    )
    forbids = {
        "paired_loss": Forbidden(
            "the loss compares each real with the fake of its own turn, and an old one would take its place",
            "choose another loss, or leave trick.experience_replay out",
        ),
        "z.codes": Forbidden(
            "D is to tell the codes of this turn's fakes, and old ones were made of others", "leave one of them out"
        ),
    }
    neutral = {"share": 0.0}
    images: Tensor
    labels: Tensor
    stored: Tensor

    def __init__(self, size: Count = 512, share: Rate = 0.5, how: Literal["replace", "add"] = "replace"):
        super().__init__()
        self.size, self.share, self.how = size, share, how
        self.adds = share if how == "add" else 0.0
        self.provides = frozenset({"d.more_fakes"} if self.adds else ())
        self._shape: tuple[int, ...] = ()

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        self._shape = spec.data.shape
        return spec

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        device = next(generator.parameters()).device
        self.register_buffer("images", torch.zeros(self.size, *self._shape, device=device))
        self.register_buffer("labels", torch.zeros(self.size, dtype=torch.int64, device=device))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64, device=device))  # since the start

    def mix(self, real: Batch, fake: Batch) -> tuple[Batch, Batch]:
        count, whole = len(fake), len(fake) * parallel.world()
        filled = self.stored.clamp(max=self.size)
        old_ones = count if self.how == "replace" else int(self.share * count)
        place = (parallel.rand(old_ones, device=self.images.device) * filled).long().clamp(max=self.size - 1)
        if self.how == "replace":
            number = parallel.rows(torch.arange(whole, device=self.images.device))
            old = (number >= whole - int(self.share * whole)) & (filled > 0)
            images = torch.where(old.view(-1, *[1] * len(self._shape)), self.images[place], fake.images)
            labels = None if fake.labels is None else torch.where(old, self.labels[place], fake.labels)
        else:
            any_old = filled > 0  # else new ones stand there twice, evenly out of every process's share
            twice = torch.arange(old_ones, device=place.device) * count // max(1, old_ones)
            images = torch.cat([fake.images, torch.where(any_old, self.images[place], fake.images[twice])])
            labels = fake.labels
            if labels is not None:
                labels = torch.cat([labels, torch.where(any_old, self.labels[place], labels[twice])])
        return real, replace(fake, images=images, labels=labels)

    @torch.no_grad()
    def adapt(self, records: list[Record]) -> None:
        for record in records:
            if record.player == "discriminator":
                self._store(record.fake.batch)

    def _store(self, fake: Batch) -> None:
        count = len(fake)
        if self.how == "add":  # what was added stands at the end
            count = next(n for n in range(count + 1) if n + int(self.share * n) == count)
        images = parallel.gather(fake.images[:count])
        labels = None if fake.labels is None else parallel.gather(fake.labels[:count])
        if self.how == "replace":
            images = images[: len(images) - int(self.share * len(images))]
        images = images[: self.size]
        order = torch.arange(len(images), device=images.device)
        anywhere = torch.randperm(self.size, device=images.device)[: len(images)]
        place = torch.where(self.stored < self.size, (self.stored + order) % self.size, anywhere)
        self.images.index_copy_(0, place, images.detach())
        if labels is not None:
            self.labels.index_copy_(0, place, labels[: len(images)])
        self.stored += len(images)
