"""The cross entropy of logits, which the losses with labels share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """t·sp(−s) + (1 − t)·sp(s) of logits s (B, K) at probabilities t (B,), sp the softplus: (B, K).

    In this form and not as sp(s) − t·s, which cancels in float32 once D is sure.
    """
    t = targets[:, None]
    return t * F.softplus(-scores) + (1 - t) * F.softplus(scores)
