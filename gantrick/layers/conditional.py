"""What labels do to layers of a generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.normalization import BatchNorm
from gantrick.types import Latents


class ConditionalBatchNorm(nn.Module):
    """γ_y (h − μ) / √(σ² + ε) + β_y, a row of γ and β for each class, 1 and 0 at first; the condition is y `(B,)`.

    Source: de Vries et al., arXiv 1707.00683; as in Miyato and Koyama, 1802.05637.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.gamma = nn.Parameter(torch.ones(classes, channels))
        self.beta = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        return modulated(self.norm(h), F.embedding(condition, self.gamma), F.embedding(condition, self.beta))


def modulated(h: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """γ h + β with γ and β `(B, C)` for each sample's channels of h, `(B, C)` or `(B, C, H, W)`."""
    shape = (*gamma.shape, *[1] * (h.ndim - 2))
    return h * gamma.to(h.dtype).view(shape) + beta.to(h.dtype).view(shape)


class Labels(nn.Module):
    """(first, conditions) of a generator each of whose blocks is handed the labels: first is z."""

    def __init__(self, blocks: int):
        super().__init__()
        self.blocks = blocks

    def forward(self, latents: Latents) -> tuple[Tensor, list[Tensor | None]]:
        return latents.z, [latents.labels] * self.blocks
