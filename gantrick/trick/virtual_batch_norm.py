from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from gantrick import papers
from gantrick.layers.virtual_norm import VirtualBatchNorm as Layer
from gantrick.stages import Component
from gantrick.types import Bound, NetworkSpec


class VirtualBatchNorm(Component):
    """G's norms take their statistics from a fixed batch R of latents: no sample depends on the others of its batch.

    R, `reference` latents drawn once, their labels and codes as in any batch, goes through G with every batch and the
    present weights. statistics=reference: μ_R and σ_R for every sample; combined: of sample i, the moments of R and of
    i together, i with weight 1 / (|R| + 1). The same in training and drawing; no running statistics. For G alone, as in
    the official code; γ and β are learned. Source: Salimans et al., arXiv 1606.03498, section 3.5; 64 is this project's
    choice.
    """

    paper = papers.IMPROVED
    claims = frozenset({"g.norm"})
    provides = frozenset({"g.reference_statistics"})

    def __init__(
        self,
        reference: Annotated[int, Bound(ge=2)] = 64,
        statistics: Literal["combined", "reference"] = "combined",
    ):
        super().__init__()
        self.reference, self.combined = reference, statistics == "combined"

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def norm(channels: int) -> nn.Module:
            return Layer(channels, self.reference, self.combined)

        note = f"G norm: virtual batch normalisation by {self.reference} fixed latents"
        return spec.but(note, g_norm=norm, g_last_norm=None, g_reference=self.reference)
