"""Self-attention over the positions of a map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """y = x + γ W_o Σ_j β_ij g_j, β_i = softmax_j ⟨θ_i, φ_j⟩   (Zhang et al., arXiv 1805.08318).

    θ = W_θ x at every position i, φ = pool(W_φ x) and g = pool(W_g x) at those of a map half as high and wide: as in
    the official code, where W_θ and W_φ have C/8 channels, W_g has C/2, none a bias, pool is the largest of 2x2, and no
    √d divides the products. γ starts at 0, so that the layer begins as the identity. `(B, C, H, W)` -> the same.

    Plain products and a softmax, which can be differentiated any number of times; fused attention kernels cannot.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.theta = nn.Conv2d(channels, narrow, 1, bias=False)
        self.phi = nn.Conv2d(channels, narrow, 1, bias=False)
        self.g = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x).flatten(2)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        beta = torch.softmax(theta.transpose(1, 2) @ phi, -1)  # (B, HW, HW/4)
        seen = (g @ beta.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
        attended: Tensor = x + self.gamma.to(x.dtype) * self.out(seen)
        return attended
