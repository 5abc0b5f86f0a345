from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from gantrick import papers
from gantrick.layers.initialisation import orthogonal
from gantrick.stages import Component
from gantrick.types import NetworkSpec, Positive


class OrthogonalInit(Component):
    """W Wᵀ = g² or Wᵀ W = g² at first, W each weight of G, D or both as (out, in·kh·kw); biases begin at 0.

    An embedding, as of a projection, is W as (classes, F).
    g is `gain`. Source: Saxe et al., arXiv 1312.6120; for GANs Brock et al., 1809.11096, with gain 1.
    """

    paper = papers.BIGGAN

    def __init__(self, network: Literal["both", "generator", "discriminator"] = "both", gain: Positive = 1.0):
        super().__init__()
        self.gain = gain
        self.fields = {"both": ("g_init", "d_init"), "generator": ("g_init",), "discriminator": ("d_init",)}[network]
        self.claims = frozenset(field.replace("_", ".") for field in self.fields)

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def draw(module: nn.Module) -> None:
            orthogonal(module, self.gain)

        changes: dict[str, Callable[[nn.Module], None]] = {field: draw for field in self.fields}
        return spec.but(f"initial weights: orthogonal, gain {self.gain:g}, by trick.orthogonal_init", **changes)
