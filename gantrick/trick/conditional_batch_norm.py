from __future__ import annotations

from gantrick.layers.conditional import ConditionalBatchNorm as Layer
from gantrick.layers.conditional import Labels
from gantrick.stages import Component
from gantrick.types import NetworkSpec, Paper


class ConditionalBatchNorm(Component):
    """h ← γ_y (h − μ) / √(σ² + ε) + β_y in every norm slot of G, with a γ and a β for each class y: G is given labels.

    The fakes' labels are drawn evenly over the classes. Source: de Vries et al., arXiv 1707.00683, in a GAN as by
    Miyato and Koyama, 1802.05637 (γ starts at 1, β at 0).
    """

    paper = Paper(
        "devries2017modulating",
        "Modulating Early Visual Processing by Language",
        "Harm de Vries and Florian Strub and J{\\'e}r{\\'e}mie Mary and Hugo Larochelle and Olivier Pietquin and "
        "Aaron C. Courville",
        2017,
        "1707.00683",
        "Advances in Neural Information Processing Systems",
    )
    claims = frozenset({"g.norm", "g.condition"})
    needs = frozenset({"labels", "d.labels"})
    provides = frozenset({"g.labels", "g.batch_statistics"})

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None
        return spec.but(
            f"G norm: batch normalisation with a gain and a shift for each of {classes} classes",
            g_norm=lambda channels: Layer(channels, classes),
            g_condition=Labels,
        )
