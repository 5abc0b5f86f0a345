from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gantrick import papers, parallel
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, PenaltyInputs


class PullingAway(Component):
    """G: λ (1 / (B (B − 1))) Σ_{i≠j} cos²(S_i, S_j): fakes whose features point apart.

    S (B, F) are D's features of the fakes before its head, in EBGAN the code of its autoencoder; i and j run over the
    whole batch. λ is `weight`, 0.1 in EBGAN-PT. Of one fake it is 0. Source: Zhao et al., arXiv 1609.03126, section
    2.4.
    """

    paper = papers.EBGAN
    neutral = {"weight": 0.0}

    def __init__(self, weight: NonNegative = 0.1, interval: Count = 1):
        super().__init__()
        self.weight, self.interval = weight, interval

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        codes = F.normalize(parallel.gather(inputs.fake.output.features), dim=1)
        count = len(codes)
        others = 1 - torch.eye(count, device=codes.device, dtype=codes.dtype)
        return ((codes @ codes.T).square() * others).sum() / max(1, count * (count - 1))
