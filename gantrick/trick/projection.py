from __future__ import annotations

from gantrick.layers.heads import ProjectedDirection
from gantrick.stages import Component
from gantrick.types import NetworkSpec, Paper


class Projection(Component):
    """s = ⟨v, w⟩ + b + ⟨v, e_y⟩: D's score with the inner product of its features (B, F) and the label's embedding.

    It is the direction w of a score that is given the label, w + e_y, so each score of a cascading head has it too.
    Spectral normalisation of D acts on w and on the embedding. The paper sums the features over positions
    (model.pool=sum). Source: Miyato and Koyama, arXiv 1802.05637.
    """

    paper = Paper(
        "miyato2018cgans",
        "cGANs with Projection Discriminator",
        "Takeru Miyato and Masanori Koyama",
        2018,
        "1802.05637",
        "International Conference on Learning Representations",
    )
    claims = frozenset({"d.direction"})
    needs = frozenset({"labels", "g.labels"})
    provides = frozenset({"d.labels"})

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None
        return spec.but(
            f"D head: projected on an embedding of {classes} labels",
            direction=lambda features: ProjectedDirection(features, classes),
        )
