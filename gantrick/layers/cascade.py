"""The cascading-rejection head, usable outside GANs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gantrick.layers.heads import Direction


class CascadingHead(nn.Module):
    """s_i = ⟨v_i, w_i⟩ + b_i;  v_1 = v,  v_{i+1} = v_i − (⟨v_i, w_i⟩ / ‖w_i‖²) w_i   (Shin et al., arXiv 1911.10979).

    Features (B, F) -> scores (B, K): each score judges what is left of the features once the directions of the earlier
    ones are taken out. The bias belongs to the score only, never to the rejection. Each w_i is a layer of its own, so
    that spectral normalisation acts on each. Where a direction depends on the label, w_i(y), the rejection is along
    w_i(y) too: the conditional form, which the article leaves open. Float32 throughout.
    """

    def __init__(
        self,
        features: int,
        scores: int,
        bias: bool = True,
        epsilon: float = 1e-12,
        direction: Callable[[int], nn.Module] | None = None,
    ):
        super().__init__()
        make = direction or (lambda features: Direction(features, bias))
        self.directions = nn.ModuleList(make(features) for _ in range(scores))
        self.epsilon = epsilon

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        rest, scores = features.float(), []
        last = len(self.directions) - 1
        for i, direction in enumerate(self.directions):
            assert isinstance(direction, Direction)
            w = direction.vector(labels)
            projection = rest @ w if w.ndim == 1 else (rest * w).sum(1)
            scores.append(projection if direction.bias is None else projection + direction.bias)
            if i < last:
                along = projection / (w.square().sum(-1) + self.epsilon)
                rest = rest - (torch.outer(along, w) if w.ndim == 1 else along[:, None] * w)
        return torch.stack(scores, 1)
