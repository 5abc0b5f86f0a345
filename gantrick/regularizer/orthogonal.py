from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.matrices import as_matrix, matrices
from gantrick.stages import Component
from gantrick.types import Count, NonNegative, PenaltyInputs


class Orthogonal(Component):
    """β Σ_l ‖W_l W_lᵀ ⊙ (1 − I)‖_F²: rows that are orthogonal, of any length.

    W is each weight of a linear layer or convolution as (out, in·kh·kw), of G as in the paper, of D, or of both; β is
    `weight`. form=original is β ‖W Wᵀ − I‖_F², which also asks for rows of length 1. Source: Brock et al., arXiv
    1809.11096, section 3.1, for β = 1e-4; 1609.07093 for the original. The official code adds 2 β (W Wᵀ ⊙ (1 − I)) W to
    the gradient; that of this formula has a 4 there, so its β is twice this one's.
    """

    paper = papers.BIGGAN
    neutral = {"weight": 0.0}

    def __init__(
        self,
        weight: NonNegative = 1e-4,
        form: Literal["biggan", "original"] = "biggan",
        network: Literal["generator", "discriminator", "both"] = "generator",
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.form, self.interval = weight, form, interval
        self.silent = {
            "generator": frozenset({"d_penalty"}),
            "discriminator": frozenset({"g_penalty"}),
            "both": frozenset[str](),
        }[network]
        self._matrices: dict[str, dict[str, bool]] = {}

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self._matrices = {"generator": matrices(generator), "discriminator": matrices(discriminator)}

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._deviation(inputs)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._deviation(inputs)

    def _deviation(self, inputs: PenaltyInputs) -> Tensor:
        total = inputs.fake.scores.new_zeros(())
        for name, transposed in self._matrices[inputs.player].items():
            if name in inputs.weights:
                rows = as_matrix(inputs.weights[name], transposed)
                gram = rows @ rows.T
                one = torch.eye(len(rows), device=rows.device, dtype=rows.dtype)
                total = total + (gram - one if self.form == "original" else gram * (1 - one)).square().sum()
        return total
