"""Spectral normalisation as a parametrisation of a layer's weight, iterated from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class SpectralNorm(nn.Module):
    """W ← W / σ(W), σ = uᵀ W v, W as a matrix (out, in·kh·kw)   (Miyato et al., arXiv 1802.05957).

    u and v are buffers that `iterate` improves by power iteration, once before each optimizer step and never within a
    forward: reals, fakes and penalties of a turn see one σ. They are constants of the gradient, σ is not.
    exact: σ by singular values at every forward.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, transposed: bool, epsilon: float, exact: bool):
        super().__init__()
        self.transposed, self.epsilon, self.exact = transposed, epsilon, exact
        matrix = self._matrix(weight)
        for name, size in (("u", matrix.shape[0]), ("v", matrix.shape[1])):
            direction = torch.randn(size, device=weight.device)
            self.register_buffer(name, direction / direction.norm())

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)

    @torch.no_grad()
    def iterate(self, weight: Tensor, iterations: int) -> None:
        matrix = self._matrix(weight)
        for _ in range(iterations):
            v = matrix.t() @ self.u
            self.v.copy_(v / v.norm().clamp_min(self.epsilon))
            u = matrix @ self.v
            self.u.copy_(u / u.norm().clamp_min(self.epsilon))

    def sigma(self, weight: Tensor) -> Tensor:
        """The estimate of the largest singular value: a scalar."""
        matrix = self._matrix(weight)
        if weight.is_meta:  # only its shape is asked for
            return weight.new_ones(())
        with torch.autocast(weight.device.type, enabled=False):  # in bf16 σ would be good to two digits
            return torch.linalg.matrix_norm(matrix, 2) if self.exact else torch.dot(self.u, torch.mv(matrix, self.v))

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.sigma(weight)


def spectral_norm(layer: nn.Module, epsilon: float = 1e-12, exact: bool = False) -> nn.Module:
    """The layer, with its weight divided by its spectral norm from now on. Changes the layer in place."""
    transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    weight = layer.weight
    assert isinstance(weight, Tensor)
    parametrize.register_parametrization(layer, "weight", SpectralNorm(weight.detach(), transposed, epsilon, exact))
    return layer


def normalised(network: nn.Module) -> list[tuple[SpectralNorm, nn.Parameter]]:
    """The normalisations of a network, each with the weight it divides."""
    found = []
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            chain: Any = module.parametrizations["weight"]  # type: ignore[index]
            found += [(norm, chain.original) for norm in chain if isinstance(norm, SpectralNorm)]
    return found
