"""D as an encoder."""

from __future__ import annotations

from torch import Tensor, nn


class MeanOfCode(nn.Module):
    """s = −mean_j E_j of the code E = W f + b: (B, F) -> (B, 1), with `code` the layer that others read too."""

    def __init__(self, code: nn.Linear):
        super().__init__()
        self.code = code

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = -self.code(features).mean(1, keepdim=True)
        return score


class CodeOf(nn.Module):
    """The code (B, Z) of a `MeanOfCode`, read from its own layer, whose weights so have one name."""

    def __init__(self, head: MeanOfCode):
        super().__init__()
        self._head = (head,)  # not a part of this module

    def forward(self, features: Tensor) -> Tensor:
        code: Tensor = self._head[0].code(features)
        return code


def standardised(code: Tensor, epsilon: float = 1e-12) -> Tensor:
    """N(v) = (v − mean v) / std v of each row, over its dimensions: (B, Z) -> (B, Z).

    epsilon: the least that the variance, of all Z and not of Z − 1, counts for.
    """
    centred = code - code.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).clamp_min(epsilon).sqrt()


def correlation(a: Tensor, b: Tensor, epsilon: float = 1e-12) -> Tensor:
    """Pearson's correlation of each pair of rows, over their dimensions: (B, Z), (B, Z) -> (B,).

    epsilon: the least that a squared length counts for.
    """
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    lengths = a.square().sum(1).clamp_min(epsilon).sqrt() * b.square().sum(1).clamp_min(epsilon).sqrt()
    return (a * b).sum(1) / lengths
