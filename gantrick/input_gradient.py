"""The only place that differentiates D in its input, or in what its input was made of.

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

from gantrick import parallel
from gantrick.stages import Forbidden
from gantrick.types import PenaltyInputs

# What a penalty on each sample's own gradient forbids.
BATCH_STATISTICS_FORBIDDEN = {
    "d.batch_statistics": Forbidden(
        "the penalty is on each sample's own gradient, and D's batch statistics couple the samples",
        "set model.d_norm to auto, layer, instance or none",
    )
}
# At the samples themselves: D's other sums over a batch are a fault that StyleGAN2 lives with, comparisons are not.
COMPARING_FORBIDDEN = {
    **BATCH_STATISTICS_FORBIDDEN,
    "d.compares": Forbidden(
        "the penalty is on each sample's own gradient, and D scores a sample by its distance from the others",
        "leave one of them out",
    ),
}
# And one whose samples are no batch that D would see: points between samples, or around them.
COUPLING_FORBIDDEN = {
    **BATCH_STATISTICS_FORBIDDEN,
    "d.batch_coupled": Forbidden(
        "the penalty is on each sample's own gradient, and D scores the samples of a batch together",
        "leave one of them out, or use regularizer=[weight_clip] or trick=[spectral_norm] as the bound",
    ),
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


def between(inputs: PenaltyInputs) -> tuple[Tensor, Tensor | None]:
    """x̂ = x + α (G(z) − x), α ~ U[0, 1] per sample, of images as D saw them, and the labels of the x."""
    assert inputs.real is not None
    size = min(len(inputs.real.seen), len(inputs.fake.seen))
    real, fake = inputs.real.seen[:size].detach(), inputs.fake.seen[:size].detach()
    labels = None if inputs.real.batch.labels is None else inputs.real.batch.labels[:size]
    alpha = parallel.rand(size, *[1] * (real.ndim - 1), device=real.device)
    return real + alpha * (fake - real), labels


def input_gradient(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """∇_x Σ_b s(x)_b at `images`: the gradient of each sample's score in that sample, float32.

    It can be differentiated where gradients are taken around it. score: images (B, ...) -> scores (B,), each depending
    on its own sample only. Returns a tensor shaped like `images`.
    """
    points, again = images.detach().requires_grad_(True), torch.is_grad_enabled()
    with torch.enable_grad(), _differentiating_twice():
        gradient: Tensor = torch.autograd.grad(score(points).float().sum(), points, create_graph=again)[0]
    return gradient.float()


def gradient_norm(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇_x s(x)‖₂ of each sample over all its dimensions: (B,)."""
    norm: Tensor = torch.linalg.vector_norm(input_gradient(score, images).flatten(1), dim=1)
    return norm


def squared_gradient_norm(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇_x s(x)‖₂² of each sample over all its dimensions: (B,)."""
    return input_gradient(score, images).flatten(1).square().sum(1)
