from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import NetworkSpec, NonNegative, Paper, PenaltyInputs, Rate

HEAD = "acgan"


class Acgan(Component):
    """d_weight · E CE(C(x), y) is added to D's loss, g_weight · E CE(C(G(z, y)), y) to G's: the auxiliary classifier.

    C is a linear layer on D's features, logits (B, classes). images: which of them D learns C on: `both` reals and
    fakes, each a mean of its own and added, as in the paper; `real` alone, as in the code of WGAN-GP and WGAN-CT (there
    with g_weight 0.1) and in StudioGAN. label_smoothing ε aims at (1 − ε) · one-hot + ε / classes.
    Source: Odena et al., arXiv 1610.09585.
    """

    paper = Paper(
        "odena2017conditional",
        "Conditional Image Synthesis with Auxiliary Classifier GANs",
        "Augustus Odena and Christopher Olah and Jonathon Shlens",
        2017,
        "1610.09585",
        "International Conference on Machine Learning",
    )
    needs = frozenset({"labels", "g.labels"})
    provides = frozenset({"d.labels", "d.finds_labels"})
    neutral = None

    def __init__(
        self,
        d_weight: NonNegative = 1.0,
        g_weight: NonNegative = 1.0,
        images: Literal["both", "real"] = "both",
        label_smoothing: Rate = 0.0,
    ):
        super().__init__()
        self.d_weight, self.g_weight, self.images, self.smoothing = d_weight, g_weight, images, label_smoothing

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None
        heads = {**spec.d_heads, HEAD: lambda features: nn.Linear(features, classes)}
        return spec.but(f"D: an auxiliary classifier of {classes} classes", d_heads=heads)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None and inputs.real.batch.labels is not None
        loss = self._error(inputs.real.output.extra[HEAD], inputs.real.batch.labels)
        if self.images == "both":
            loss = loss + self._error(inputs.fake.output.extra[HEAD], inputs.fake.batch.labels)
        return self.d_weight * loss

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self.g_weight * self._error(inputs.fake.output.extra[HEAD], inputs.fake.batch.labels)

    def _error(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        return F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
