"""What makes training in float16 possible: an objective scaled up before it is differentiated, and moves skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class LossScale(nn.Module):
    """g = ∇(s·L) / s: gradients too small for float16 are differentiated s times as large   (arXiv 1710.03740).

    A move whose gradients are not finite is skipped and s halved, though not below 1; after `patience` good moves s
    doubles. A skipped move says nothing about the run, unless s was 1 already: then the run itself has diverged.
    All of it stays on the device. `accepted` and `counted` are 1 or 0: whether the last move was made, and whether
    its numbers are the run's.
    """

    scale: Tensor
    good: Tensor
    accepted: Tensor
    counted: Tensor

    def __init__(self, first: float = 2.0**16, patience: int = 2000):
        super().__init__()
        self.patience = patience
        for name, value in (("scale", first), ("good", 0.0), ("accepted", 1.0), ("counted", 1.0)):
            self.register_buffer(name, torch.tensor(value))

    @torch.no_grad()
    def admits(self, gradients: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer is to step along these (unscaled) gradients, whose finiteness moves the scale.

        A fused optimizer reads the answer on the device and skips by itself; for any other the host waits for it.
        """
        finite = torch.isfinite(torch.nn.utils.get_total_norm(list(gradients)))
        self.accepted.copy_(finite)
        self.counted.copy_(finite | (self.scale <= 1))
        self.good.copy_(torch.where(finite, self.good + 1, 0.0))
        grown = self.good >= self.patience
        self.scale.mul_(torch.where(finite, torch.where(grown, 2.0, 1.0), 0.5)).clamp_(min=1.0)
        self.good.mul_(~grown)
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.grad_scale, optimizer.found_inf = None, 1 - self.accepted  # type: ignore[attr-defined]
            return True
        return bool(finite)


@contextmanager
def undone_unless(accepted: Tensor | None, modules: Iterable[nn.Module]) -> Iterator[None]:
    """What is written to the modules' buffers inside stays where `accepted` is 1 (or None), else it is undone."""
    if accepted is None:
        yield
        return
    buffers = [buffer for module in modules for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    yield
    for buffer, old in zip(buffers, before, strict=True):
        buffer.copy_(torch.where(accepted > 0, buffer, old))
