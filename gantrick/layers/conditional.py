"""What labels and latents do to the layers of a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.normalization import BatchNorm
from gantrick.types import Latents, ModuleFactory, NetworkSpec


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


class LinearBatchNorm(nn.Module):
    """(1 + W_γ c) (h − μ) / √(σ² + ε) + W_β c, no biases; the condition is a vector c `(B, E)` (arXiv 1809.11096)."""

    def __init__(self, channels: int, size: int):
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.gamma = nn.Linear(size, channels, bias=False)
        self.beta = nn.Linear(size, channels, bias=False)

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        return modulated(self.norm(h), 1 + self.gamma(condition), self.beta(condition))


@dataclass(frozen=True)
class VectorConditions:
    """The condition that each block of G is handed as a vector: c_i = [E(y), z_i], either part or both.

    What a spec holds as `g_condition`; components that join it give it their part (`of(spec)`, `put_into`).
    """

    z_size: int
    blocks: int
    z: Literal["no", "chunks", "whole"] = "no"
    embedding: tuple[int, int] | None = None  # classes, entries
    embedding_first: bool = False  # E(y) beside the z of the first layer too

    @classmethod
    def of(cls, spec: NetworkSpec) -> VectorConditions:
        found = spec.g_condition
        return found if isinstance(found, cls) else cls(spec.z_size, spec.g_blocks)

    def put_into(self, spec: NetworkSpec, note: str) -> NetworkSpec:
        size = self.size
        norm: ModuleFactory = lambda channels: LinearBatchNorm(channels, size)  # noqa: E731
        return spec.but(note, g_condition=self, g_norm=norm)

    @property
    def chunk(self) -> int:
        return self.z_size // (self.blocks + 1)

    @property
    def first_size(self) -> int:
        z = self.z_size - self.blocks * self.chunk if self.z == "chunks" else self.z_size
        return z + (self.embedding[1] if self.embedding and self.embedding_first else 0)

    @property
    def size(self) -> int:
        z = {"no": 0, "chunks": self.chunk, "whole": self.z_size}[self.z]
        return z + (self.embedding[1] if self.embedding else 0)

    def __call__(self, blocks: int) -> nn.Module:
        assert blocks == self.blocks, (blocks, self.blocks)
        return _Conditions(self)


class _Conditions(nn.Module):
    """Latents -> (first, [c_1 …]). E starts orthogonal, and is no layer that spectral normalisation would wrap.

    (BigGAN-PyTorch found that it cripples G there.)
    """

    def __init__(self, plan: VectorConditions):
        super().__init__()
        self.plan = plan
        self.table = nn.Parameter(nn.init.orthogonal_(torch.empty(plan.embedding))) if plan.embedding else None

    def forward(self, latents: Latents) -> tuple[Tensor, list[Tensor | None]]:
        plan, first, parts = self.plan, latents.z, [latents.z] * self.plan.blocks
        if plan.z == "chunks":
            first = latents.z[:, : latents.z.shape[1] - plan.blocks * plan.chunk]
            parts = list(latents.z[:, first.shape[1] :].chunk(plan.blocks, 1))
        if self.table is None:
            return first, [*parts]
        assert latents.labels is not None
        embedded = F.embedding(latents.labels, self.table)
        if plan.embedding_first:
            first = torch.cat([embedded, first], 1)
        return first, [embedded if plan.z == "no" else torch.cat([embedded, part], 1) for part in parts]


class SelfModulatedBatchNorm(nn.Module):
    """(1 + W_γ a + b_γ) (h − μ) / √(σ² + ε) + W_β a + b_β, a = relu(W c + b); the condition is a vector c `(B, E)`.

    hidden: entries of a; 0 leaves a = c. Source: Chen et al., arXiv 1810.01365, where b_γ starts at 1.
    """

    def __init__(self, channels: int, size: int, hidden: int):
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.hidden = nn.Linear(size, hidden) if hidden else None
        self.gamma = nn.Linear(hidden or size, channels)
        self.beta = nn.Linear(hidden or size, channels)

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        a = condition if self.hidden is None else F.relu(self.hidden(condition))
        return modulated(self.norm(h), 1 + self.gamma(a), self.beta(a))
