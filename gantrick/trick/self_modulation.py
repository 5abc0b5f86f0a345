from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.conditional import SelfModulatedBatchNorm
from gantrick.stages import Component
from gantrick.types import Latents, NetworkSpec, Paper, Whole


class SelfModulation(Component):
    """h ← γ(z) (h − μ) / √(σ² + ε) + β(z) in every norm of G; γ = W_γ a + b_γ, β = W_β a + b_β, a = relu(W z + b).

    Each layer has its own a `(B, hidden)`; b_γ starts at 1. hidden=0 leaves a = z, as in the authors' code. labels=true
    puts z' = z + E(y) + E'(y) ⊙ z in the place of z, not in G's first layer: G is then given labels. E and E' start at
    N(0, 0.02²), which is this project's choice. Source: Chen et al., arXiv 1810.01365.
    """

    paper = Paper(
        "chen2019self",
        "On Self Modulation for Generative Adversarial Networks",
        "Ting Chen and Mario Lucic and Neil Houlsby and Sylvain Gelly",
        2019,
        "1810.01365",
        "International Conference on Learning Representations",
    )
    claims = frozenset({"g.norm", "g.condition"})
    provides = frozenset({"g.batch_statistics"})

    def __init__(self, hidden: Whole = 32, labels: bool = False):
        super().__init__()
        self.hidden, self.labels = hidden, labels
        if labels:
            self.needs = frozenset({"labels", "d.labels"})
            self.provides = frozenset({"g.labels", "g.batch_statistics"})

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        hidden, size, classes = self.hidden, spec.z_size, spec.data.classes if self.labels else None
        return spec.but(
            f"G norm: batch normalisation with gain and shift of z{' and the label' if self.labels else ''}",
            g_norm=lambda channels: SelfModulatedBatchNorm(channels, size, hidden),
            g_last_norm=None,
            g_condition=lambda blocks: _Conditions(blocks, size, classes),
        )


class _Conditions(nn.Module):
    """Latents -> (z, [z' …])."""

    def __init__(self, blocks: int, size: int, classes: int | None):
        super().__init__()
        self.blocks = blocks
        self.shift = nn.Parameter(0.02 * torch.randn(classes, size)) if classes else None
        self.scale = nn.Parameter(0.02 * torch.randn(classes, size)) if classes else None

    def forward(self, latents: Latents) -> tuple[Tensor, list[Tensor | None]]:
        z = latents.z
        if self.shift is not None and self.scale is not None:
            assert latents.labels is not None
            z = z + F.embedding(latents.labels, self.shift) + F.embedding(latents.labels, self.scale) * z
        return latents.z, [z] * self.blocks
