"""What lets D see how much the samples of a batch differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gantrick import parallel

EPSILON = 1e-8  # under the root of a variance


class L1Distances(torch.autograd.Function):
    """Σ_d |x_dki − y_dkj|: x (D, K, B) and y (D, K, N) -> (K, B, N), any number of times differentiable.

    One dimension at a time, so that nothing of size D · K · B · N is held but the signs, for second derivatives.
    Against torch's own operations on all at once, 100 kernels of 5 dimensions take a quarter of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        total = x.new_zeros(x.shape[1], x.shape[2], y.shape[2])
        for of_x, of_y in zip(x, y, strict=True):
            total += (of_x.unsqueeze(2) - of_y.unsqueeze(1)).abs_()
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, y = ctx.saved_tensors
        to_x, to_y = [], []
        for of_x, of_y in zip(x, y, strict=True):
            signed = (of_x.detach().unsqueeze(2) - of_y.detach().unsqueeze(1)).sgn_() * gradient
            to_x.append(signed.sum(2))
            to_y.append(-signed.sum(1))
        return torch.stack(to_x), torch.stack(to_y)


class Similarities(nn.Module):
    """f ↦ [f, o], o_ib = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁) + β_b, M = f·T: (B, F) -> (B, F + kernels) after a tail.

    T is (F, kernels, dims) with columns of length e^s: T ~ N(0, 0.05²), s = 0 and β = −1 at first (arXiv 1606.03498,
    section 3.2, and its code). j runs over the whole batch. F is found at the first call, which the network's maker
    does.
    """

    theta: nn.Parameter | None

    def __init__(self, tail: nn.Module, kernels: int, dims: int):
        super().__init__()
        self.tail, self.kernels, self.dims = tail, kernels, dims
        self.register_parameter("theta", None)
        self.log_scale = nn.Parameter(torch.zeros(kernels * dims))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))

    def forward(self, h: Tensor) -> Tensor:
        features = self.tail(h).float()
        if self.theta is None:
            self.theta = nn.Parameter(0.05 * torch.randn(features.shape[1], self.kernels * self.dims))
            return torch.cat([features, features.new_zeros(len(features), self.kernels)], 1)  # only its width is asked
        with torch.autocast(h.device.type, enabled=False):
            columns = self.theta * (self.log_scale.exp() / torch.linalg.vector_norm(self.theta, dim=0))
            own = features @ columns
            everyone = parallel.gather(own)
            distances = L1Distances.apply(self._by_dimension(own), self._by_dimension(everyone))
            similarities = torch.exp(-distances).sum(2).t() - 1  # without the sample itself
            return torch.cat([features, similarities + self.bias], 1)

    def _by_dimension(self, m: Tensor) -> Tensor:
        """(B, kernels · dims) -> (dims, kernels, B)."""
        return m.view(-1, self.kernels, self.dims).permute(2, 1, 0).contiguous()


def append_deviation(h: Tensor, group: int | None) -> Tensor:
    """A further channel with the standard deviation over a group of samples, averaged over channels and positions.

    (B, C, ...) -> (B, C + 1, ...). group: samples in one, at most; the largest number that divides the batch is taken,
    and the whole batch where none but 1 does, which would leave nothing to see. None: the whole batch.
    """
    whole = parallel.gather(h.float())
    count = len(whole)
    size = next((n for n in range(min(group or count, count), 1, -1) if count % n == 0), count)
    groups = whole.reshape(size, count // size, *h.shape[1:])  # sample n is in group n mod (count / size)
    deviation = (groups.var(0, correction=0) + EPSILON).sqrt().flatten(1).mean(1)
    own = parallel.rows(deviation.repeat(size)).to(h.dtype)
    return torch.cat([h, own.view(-1, *[1] * (h.ndim - 1)).expand(-1, 1, *h.shape[2:])], 1)


def with_deviation(tail: nn.Module, group: int | None) -> nn.Module:
    """The tail, from now on given a map with the further channel; its parameters keep their names."""

    def see(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor]:
        return (append_deviation(arguments[0], group),)

    tail.register_forward_pre_hook(see)
    return tail
