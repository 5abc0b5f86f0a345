"""The cross entropy of logits, which the losses with labels share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gantrick.types import Judged, Scored, Targets


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """t·sp(−s) + (1 − t)·sp(s) of logits s (B, K) at probabilities t (B,), sp the softplus: (B, K).

    In this form and not as sp(s) − t·s, which cancels in float32 once D is sure.
    """
    t = targets[:, None]
    return t * F.softplus(-scores) + (1 - t) * F.softplus(scores)


def judge_by_labels(real: Judged, fake: Judged, targets: Targets) -> Scored:
    """D's loss of the first GAN: the cross entropy of reals and of fakes at their target probabilities."""
    assert targets.real is not None and targets.fake is not None
    return Scored({"real": cross_entropy(real.scores, targets.real), "fake": cross_entropy(fake.scores, targets.fake)})
