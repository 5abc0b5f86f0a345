from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gantrick import papers
from gantrick.layers.conditional import VectorConditions
from gantrick.stages import Component
from gantrick.types import ConfigError, NetworkSpec


class SkipZ(Component):
    """h ← (1 + W_γ z_i) (h − μ) / √(σ² + ε) + W_β z_i in the norms of G's block i: latents that skip to every block.

    z: `chunks` cuts z `(B, Z)` into one equal chunk for the first layer and one for each block, as BigGAN does (what
    does not divide goes to the first layer, with 120 and five blocks 20 each); `whole` gives all of z to each, as
    BigGAN-deep does. With trick=[shared_embedding] a block's condition is [E(y), z_i]. Source: Brock et al., arXiv
    1809.11096, section 3 and appendix B.
    """

    paper = papers.BIGGAN
    joins = frozenset({"g.norm", "g.condition"})
    provides = frozenset({"g.batch_statistics"})

    def __init__(self, z: Literal["chunks", "whole"] = "chunks"):
        super().__init__()
        self.z = z

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        blocks = spec.g_blocks
        if not blocks:
            raise ConfigError(f"{self.label}: this model does not say how many blocks its G has; leave it out")
        if self.z == "chunks" and spec.z_size <= blocks:
            raise ConfigError(
                f"{self.label}: {spec.z_size} latent dimensions cannot be cut into {blocks + 1} chunks, one for the "
                f"first layer and one for each of {blocks} blocks; set model.z_size to {blocks + 1} or more, or "
                "z to whole"
            )
        conditions = replace(VectorConditions.of(spec), z=self.z)
        what = f"{conditions.chunk} of z's dimensions" if self.z == "chunks" else "all of z"
        return conditions.put_into(spec, f"G norm: batch normalisation with gain and shift linear in {what}")
