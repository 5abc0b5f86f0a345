"""The only place that differentiates D in its input.

The gradient, its norm and the penalty are float32. What D's body computes on the way is in the run's precision where
that is bf16: on the CIFAR-10 critic of WGAN-GP its rounding then moves single entries of the gradient by 5 to 10 % at
random, each sample's norm by less than 1 %, the mean norm by less than 0.2 %, and the penalty's gradient in D's weights
by 0.8 %. In float16 the body computes in float32 here, as small gradients would vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gantrick.stages import Forbidden

# What a penalty on each sample's own gradient forbids.
BATCH_STATISTICS_FORBIDDEN = {
    "d.batch_statistics": Forbidden(
        "the penalty is on each sample's own gradient, and D's batch statistics couple the samples",
        "set model.d_norm to auto, layer, instance or none",
    )
}


_twice = False


def differentiated_twice() -> bool:
    """Whether what is computed now will be differentiated twice: not by compiled code, and not in float16."""
    return _twice


@contextmanager
def _differentiating_twice() -> Iterator[None]:
    global _twice
    before, _twice = _twice, True
    try:
        yield
    finally:
        _twice = before


def input_gradient(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """∇_x Σ_b s(x)_b at `images`: the gradient of each sample's score in that sample, differentiable, float32.

    score: images (B, ...) -> scores (B,), each depending on its own sample only. Returns a tensor shaped like `images`.
    """
    points = images.detach().requires_grad_(True)
    with torch.enable_grad(), _differentiating_twice():
        gradient: Tensor = torch.autograd.grad(score(points).float().sum(), points, create_graph=True)[0]
    return gradient.float()


def gradient_norm(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇_x s(x)‖₂ of each sample over all its dimensions: (B,)."""
    norm: Tensor = torch.linalg.vector_norm(input_gradient(score, images).flatten(1), dim=1)
    return norm


def squared_gradient_norm(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇_x s(x)‖₂² of each sample over all its dimensions: (B,)."""
    return input_gradient(score, images).flatten(1).square().sum(1)
