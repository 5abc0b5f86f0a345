"""Virtual batch normalisation: statistics of a fixed batch that goes through the network with every other one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 1e-5


class VirtualBatchNorm(nn.Module):
    """γ (h − μ) / √(σ² + ε) + β per channel; the first `reference` rows of h are R, the fixed batch.

    μ and σ² are those of R. combined: of sample i outside R they are of R and i, each of these |R| + 1 with the same
    weight: μ_i = c mean(h_i) + (1 − c) μ_R, likewise the mean square, c = 1 / (|R| + 1). The same in training and
    evaluation; gradients flow through the statistics (Salimans et al., arXiv 1606.03498, section 3.5).
    """

    def __init__(self, channels: int, reference: int, combined: bool):
        super().__init__()
        self.reference, self.combined = reference, combined
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        x, n = h.float(), self.reference
        places = list(range(2, h.ndim))
        own = torch.stack([x.mean(places), x.square().mean(places)]) if places else torch.stack([x, x.square()])
        of_reference = own[:, :n].mean(1, keepdim=True)
        moments = of_reference.expand_as(own)
        if self.combined:
            c = 1 / (n + 1)
            moments = torch.cat([moments[:, :n], c * own[:, n:] + (1 - c) * of_reference], 1)
        mean, square = moments
        scale = torch.rsqrt((square - mean.square()).clamp_min(0) + EPS) * self.weight
        shift = self.bias - mean * scale
        shape = (*scale.shape, *[1] * len(places))
        out: Tensor = torch.addcmul(shift.view(shape), x, scale.view(shape))
        return out.to(h.dtype)
