"""The cascading-rejection head, usable outside GANs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CascadingHead(nn.Module):
    """s_i = ⟨v_i, w_i⟩ + b_i;  v_1 = v,  v_{i+1} = v_i − (⟨v_i, w_i⟩ / ‖w_i‖²) w_i   (Shin et al., arXiv 1911.10979).

    Features (B, F) -> scores (B, K): each score judges what is left of the features once the directions of the earlier
    ones are taken out. The bias belongs to the score only, never to the rejection. Each w_i is a linear layer of its
    own, so that spectral normalisation acts on each. Float32 throughout.
    """

    def __init__(self, features: int, scores: int, bias: bool = True, epsilon: float = 1e-12):
        super().__init__()
        self.directions = nn.ModuleList(nn.Linear(features, 1, bias=bias) for _ in range(scores))
        self.bias, self.epsilon = bias, epsilon

    def forward(self, features: Tensor) -> Tensor:
        rest, scores = features.float(), []
        last = len(self.directions) - 1
        for i, direction in enumerate(self.directions):
            assert isinstance(direction, nn.Linear)
            w = direction.weight[0].float()
            projection = rest @ w
            scores.append(projection + direction.bias if self.bias else projection)
            if i < last:
                rest = rest - torch.outer(projection / (w @ w + self.epsilon), w)
        return torch.stack(scores, 1)
