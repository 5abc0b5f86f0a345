"""What the relativistic losses share: how a score compares with the mean score of the other kind."""

from __future__ import annotations

from torch import Tensor

from gantrick import parallel
from gantrick.types import Judged, Paper

PAPER = Paper(
    "jolicoeur2019relativistic",
    "The Relativistic Discriminator: a Key Element Missing from Standard GAN",
    "Jolicoeur-Martineau, Alexia",
    2019,
    "1807.00734",
    "International Conference on Learning Representations",
)


def against_means(real: Judged, fake: Judged) -> tuple[Tensor, Tensor]:
    """(r − f̄, f − r̄) of scores (B, K), r̄ and f̄ the means of the whole batch; gradients flow through the means."""
    r, f = real.scores, fake.scores
    return r - parallel.mean(f.mean(0)), f - parallel.mean(r.mean(0))


def differences(real: Judged, fake: Judged) -> Tensor:
    """r − f (B, K), pair by pair; of batches of unlike size as far as both go."""
    size = min(len(real.scores), len(fake.scores))
    return real.scores[:size] - fake.scores[:size]
