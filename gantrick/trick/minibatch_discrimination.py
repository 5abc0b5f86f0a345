from __future__ import annotations

from torch import nn

from gantrick import papers
from gantrick.layers.minibatch import Similarities
from gantrick.stages import Component, Forbidden
from gantrick.types import Count, NetworkSpec


class MinibatchDiscrimination(Component):
    """D's head sees [f, o], o_ib = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁) + β_b, M = f·T: how near each sample is to the others.

    f (B, F) are D's features, T is (F, kernels, dims) and learned, j runs over the batch; of reals and fakes, which D
    judges apart, over their own. A batch of B equal samples has o = B − 1 + β. Source: Salimans et al., arXiv
    1606.03498, section 3.2; sizes, weight normalisation and first values from the official code.
    """

    paper = papers.IMPROVED
    provides = frozenset({"d.batch_coupled", "d.compares"})
    forbids = {
        "d.more_fakes": Forbidden(
            "it sums over a batch, so that D would tell fakes by how many there are",
            "have fakes replaced and none added, or leave one of them out",
        )
    }

    def __init__(self, kernels: Count = 100, dims: Count = 5):
        super().__init__()
        self.kernels, self.dims = kernels, dims

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def tail() -> nn.Module:
            return Similarities(spec.tail(), self.kernels, self.dims)

        return spec.but(f"D features: and {self.kernels} similarities to the others of the batch", tail=tail)
