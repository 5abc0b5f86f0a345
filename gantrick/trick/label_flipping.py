from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gantrick import parallel
from gantrick.stages import Component
from gantrick.types import Fraction, Paper, Targets


class LabelFlipping(Component):
    """t ← 1 − t with probability p for each sample of D's turn, real and fake: D is told wrong now and then.

    A flipped real then has the target of fakes, smoothed or not. G's targets stay. Needs a loss that has targets.
    Source: Chintala et al., "How to Train a GAN?" (ganhacks), number 6, which leaves p open: 0.05 is this project's
    choice.
    """

    paper = Paper(
        "chintala2016train",
        "How to Train a GAN? Tips and tricks to make GANs work",
        "Chintala, Soumith and Denton, Emily and Arjovsky, Martin and Mathieu, Michael",
        2016,
        url="https://github.com/soumith/ganhacks",
    )
    needs = frozenset({"targets"})
    neutral = {"probability": 0.0}
    exercise = {"probability": 0.5}

    def __init__(self, probability: Fraction = 0.05):
        super().__init__()
        self.probability = probability

    def mislabel(self, targets: Targets) -> Targets:
        return replace(targets, real=self._flip(targets.real), fake=self._flip(targets.fake))

    def _flip(self, target: Tensor | None) -> Tensor | None:
        if target is None:
            return None
        return torch.where(parallel.rand_like(target) < self.probability, 1 - target, target)
