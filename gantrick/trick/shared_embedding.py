from __future__ import annotations

from dataclasses import replace

from gantrick import papers
from gantrick.layers.conditional import VectorConditions
from gantrick.stages import Component
from gantrick.types import ConfigError, Count, NetworkSpec


class SharedEmbedding(Component):
    """h ← (1 + W_γ E(y)) (h − μ) / √(σ² + ε) + W_β E(y) in the norms of G's blocks, one embedding E for all of them.

    E(y) is `(B, size)`; only the linear maps belong to a layer, where trick=[conditional_batch_norm] has a gain and a
    shift for each class in each layer. first: E(y) also goes beside z into the first layer, as in BigGAN-deep. With
    trick=[skip_z] a block's condition is [E(y), z_i]. E starts orthogonal and is not spectrally normalised, as in
    BigGAN-PyTorch. Source: Brock et al., arXiv 1809.11096, section 3 and appendix B.
    """

    paper = papers.BIGGAN
    joins = frozenset({"g.norm", "g.condition"})
    needs = frozenset({"labels", "d.labels"})
    provides = frozenset({"g.labels", "g.batch_statistics"})

    def __init__(self, size: Count = 128, first: bool = False):
        super().__init__()
        self.size, self.first = size, first

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None
        if not spec.g_blocks:
            raise ConfigError(f"{self.label}: this model does not say how many blocks its G has; leave it out")
        conditions = replace(VectorConditions.of(spec), embedding=(classes, self.size), embedding_first=self.first)
        note = f"G norm: batch normalisation with gain and shift linear in a shared embedding of {classes} classes"
        return conditions.put_into(spec, note)
