from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated

from torch import nn

from gantrick import papers
from gantrick.layers.normalization import commit, take
from gantrick.stages import Component, Forbidden
from gantrick.types import Bound, Latents, Whole


class StandingStatistics(Component):
    """Before drawing, each batch norm of G takes the plain mean over N batches of the statistics that it sees of them.

    μ = (1/N) Σ_n μ_n, σ² = (1/N) Σ_n σ_n² (unbiased), n over `batches` forwards in training mode of `batch_size` fresh
    latents, drawn as samples are, truncated and moved. They take the place of the running means in a copy of G; neither
    training nor its checkpoints see them. They are of G at its present weights and of the latents that are drawn,
    which matters most for averaged weights and for truncation. A G without batch statistics has nothing to measure.
    Source: Brock et al., arXiv 1809.11096, section 4; N = 16 as in BigGAN-PyTorch.
    """

    paper = papers.BIGGAN
    needs = frozenset({"g.batch_statistics"})
    forbids = {
        "g.reference_statistics": Forbidden(
            "G's statistics are those of its fixed batch, in drawing too", "leave one of them out"
        )
    }
    neutral = {"batches": 0}
    exercise = {"batches": 2}

    def __init__(self, batches: Whole = 16, batch_size: Annotated[int, Bound(ge=2)] = 64):
        super().__init__()
        self.batches, self.batch_size = batches, batch_size

    def settle(self, generator: nn.Module, latents: Callable[[int], Latents]) -> nn.Module:
        if not self.batches:
            return generator
        standing = copy.deepcopy(generator).train()
        take(standing)
        for n in range(1, self.batches + 1):
            standing(latents(self.batch_size))
            commit(take(standing), 1 / n)
        return standing.eval()
