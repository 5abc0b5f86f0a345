"""The cascading-rejection head, usable outside GANs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.layers.heads import Direction, full


class CascadingHead(nn.Module):
    """s_i = ⟨v_i, w_i⟩ + b_i;  v_1 = v,  v_{i+1} = v_i − (⟨v_i, w_i⟩ / ‖w_i‖²) w_i   (Shin et al., arXiv 1911.10979).

    Features (B, F) -> scores (B, K): each score judges what is left of the features once the directions of the earlier
    ones are taken out. The bias belongs to the score only, never to the rejection. Each w_i is a layer of its own, so
    that spectral normalisation acts on each. Where a direction depends on the label, w_i(y), the rejection is along
    w_i(y) too: the conditional form, which the article leaves open. At least float32 throughout.
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
        rest, scores = full(features), []
        last = len(self.directions) - 1
        for i, direction in enumerate(self.directions):
            assert isinstance(direction, Direction)
            score = direction(rest, labels)[:, 0]
            scores.append(score)
            if i < last:
                w = direction.vector(labels)
                projection = score if direction.bias is None else score - direction.bias
                along = projection / (w.square().sum(-1) + self.epsilon)
                rest = rest - (torch.outer(along, w) if w.ndim == 1 else along[:, None] * w)
        return torch.stack(scores, 1)


class CascadingClassifier(nn.Module):
    """The same for K classes: l_ik = ⟨v_i^k, w_ik⟩ + b_ik;  v_{i+1}^k = v_i^k − (⟨v_i^k, w_ik⟩ / ‖w_ik‖²) w_ik.

    Features (B, F) -> logits (B, N, K), N cascades of which each class has its own; N = 1 is a linear layer. Train on
    the mean over i of CE(l_i, y), predict by the mean of softmax(l_i) (`loss`, `probabilities`). The article tried such
    a head in an ordinary classifier and gives no formula; this is the project's reading of it.
    """

    def __init__(self, features: int, classes: int, cascades: int = 4, epsilon: float = 1e-12):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cascades, classes, features))
        self.bias = nn.Parameter(torch.zeros(cascades, classes))
        nn.init.kaiming_uniform_(self.weight.view(-1, features), a=5**0.5)  # as torch draws a linear layer's
        self.epsilon = epsilon

    def forward(self, features: Tensor) -> Tensor:
        rest = features.float()[:, None].expand(-1, self.weight.shape[1], -1)
        logits = []
        for w, bias in zip(self.weight.float(), self.bias, strict=True):
            projection = (rest * w).sum(2)
            logits.append(projection + bias)
            rest = rest - (projection / (w.square().sum(1) + self.epsilon))[..., None] * w
        return torch.stack(logits, 1)

    @staticmethod
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over cascades and samples of the cross entropy: a scalar."""
        return F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))

    @staticmethod
    def probabilities(logits: Tensor) -> Tensor:
        """(B, N, K) -> (B, K)."""
        return logits.softmax(2).mean(1)
