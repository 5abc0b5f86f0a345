from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import ConfigError, Judged, NetworkSpec, NonNegative, Paper, PenaltyInputs

HEAD = "rotation"


class Rotation(Component):
    """D guesses by how many quarter turns an image was rotated: + d_weight · E CE on reals, + g_weight · E CE on fakes.

    Every image is shown in all four rotations; the guess is a linear layer on D's features, logits (B, 4). G plays it
    on its own images too, which it thereby makes easy to tell upright. No labels are needed. Images must be square.
    Source: Chen et al., arXiv 1811.11212 (β = 1 for D, α = 0.2 for G), who show a quarter of the batch in each
    rotation where all of it is shown here.
    """

    paper = Paper(
        "chen2019selfsupervised",
        "Self-Supervised GANs via Auxiliary Rotation Loss",
        "Ting Chen and Xiaohua Zhai and Marvin Ritter and Mario Lucic and Neil Houlsby",
        2019,
        "1811.11212",
        "IEEE Conference on Computer Vision and Pattern Recognition",
    )
    needs = frozenset({"images"})

    def __init__(self, d_weight: NonNegative = 1.0, g_weight: NonNegative = 0.2):
        super().__init__()
        self.d_weight, self.g_weight = d_weight, g_weight

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        height, width = spec.data.shape[1:]
        if height != width:
            raise ConfigError(
                f"{self.label}: a quarter turn makes {width}×{height} pixels of {height}×{width}, and D takes one size;"
                " choose square images, or leave it out"
            )
        heads = {**spec.d_heads, HEAD: lambda features: nn.Linear(features, 4)}
        return spec.but("D: guesses rotations", d_heads=heads)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        return self.d_weight * self._error(inputs, inputs.real)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self.g_weight * self._error(inputs, inputs.fake)

    def _error(self, inputs: PenaltyInputs, judged: Judged) -> Tensor:
        """The upright images have been seen by D already; the other three rotations are shown to it.

        Each as a batch of its own, as large as the first, so that a D that sees how large a batch is cannot tell them
        by it.
        """
        labels = judged.batch.labels
        turned = [torch.rot90(judged.seen, turns, (2, 3)) for turns in (1, 2, 3)]
        logits = [judged.output.extra[HEAD], *(inputs.critic(images, labels).extra[HEAD] for images in turned)]
        aims = torch.arange(4, device=judged.seen.device).repeat_interleave(len(judged.seen))
        return F.cross_entropy(torch.cat(logits), aims)
