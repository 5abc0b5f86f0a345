from __future__ import annotations

from typing import Annotated

from torch import nn

from gantrick.layers.minibatch import with_deviation
from gantrick.stages import Component
from gantrick.types import Bound, NetworkSpec, Paper


class MinibatchStddev(Component):
    """D's last map has one more channel: mean over channels and positions of the standard deviation over the batch.

    One number for all positions and all samples of a `group` (at most so many; null is the whole batch, as in the
    paper; StyleGAN has 4). It enters before the tail: (B, C, h, w) -> (B, C + 1, h, w), of points (B, F) -> (B, F + 1).
    Reals and fakes are judged apart. The root is of the variance + 1e-8, as in StyleGAN2's code, where the channel
    enters before the last convolution instead. Source: Karras et al., arXiv 1710.10196, section 3.
    """

    paper = Paper(
        "karras2018progressive",
        "Progressive Growing of GANs for Improved Quality, Stability, and Variation",
        "Karras, Tero and Aila, Timo and Laine, Samuli and Lehtinen, Jaakko",
        2018,
        "1710.10196",
        "International Conference on Learning Representations",
    )
    provides = frozenset({"d.batch_coupled"})

    def __init__(self, group: Annotated[int, Bound(ge=2)] | None = None):
        super().__init__()
        self.group = group

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def tail() -> nn.Module:
            return with_deviation(spec.tail(), self.group)

        return spec.but("D's last map: and a channel with the batch's standard deviation", tail=tail)
