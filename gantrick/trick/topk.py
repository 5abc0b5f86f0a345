from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from gantrick import parallel
from gantrick.stages import Component
from gantrick.types import Count, Fraction, Judged, Paper, Player, Scored, Whole


class Topk(Component):
    """G learns from the k fakes with the highest scores only, k = max(⌈γ^e B⌉, ⌈ν B⌉) in epoch e: the others weigh 0.

    B is the whole batch; of several scores the weighted mean counts, of packs the pack's. Only the mean of G's loss is
    taken over fewer: the means of relativistic losses are of all, and their term of the reals has all. γ = 0.99, ν =
    0.5 as published. An epoch is `epoch` steps, and e is 0 up to step `start`: both are this project's choice.
    Source: Sinha et al., arXiv 2002.06224.
    """

    paper = Paper(
        "sinha2020top",
        "Top-k Training of GANs: Improving GAN Performance by Throwing Away Bad Samples",
        "Sinha, Samarth and Zhao, Zhengli and Goyal, Anirudh and Raffel, Colin and Odena, Augustus",
        2020,
        "2002.06224",
        "Advances in Neural Information Processing Systems",
    )
    neutral = {"gamma": 1.0}
    exercise = {"gamma": 0.1, "epoch": 1}

    def __init__(self, gamma: Fraction = 0.99, nu: Fraction = 0.5, epoch: Count = 1000, start: Whole = 0):
        super().__init__()
        self.gamma, self.nu, self.epoch, self.start = gamma, nu, epoch, start
        self._share = 1.0
        self._score_weights = torch.ones(1)

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self._score_weights = discriminator.get_buffer("score_weights")

    def schedule(self, step: int) -> None:
        self._share = self.gamma ** (max(0, step - self.start) // self.epoch)

    def weigh(self, scored: Scored, player: Player, real: Judged | None, fake: Judged) -> Scored:
        if player == "discriminator" or self._share == 1:
            return scored
        weight = self._best(fake.scores.detach() @ self._score_weights)
        found = {name: weight[: len(value)] for name, value in scored.values.items() if name != "real"}
        return replace(scored, weights={n: w * scored.weights.get(n, 1.0) for n, w in found.items()})

    def _best(self, scores: Tensor) -> Tensor:
        """1 for the k highest of the whole batch, 0 for the others."""
        whole = parallel.gather(scores)
        shares = (round(share * len(whole), 9) for share in (self._share, self.nu))  # 0.55 · 100 is above 55 in binary
        k = max(1, *map(math.ceil, shares))
        weight = torch.zeros_like(whole).index_fill_(0, whole.topk(k).indices, 1.0)
        return parallel.rows(weight)
