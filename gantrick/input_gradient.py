"""The only place that differentiates D in its input."""

from __future__ import annotations

from collections.abc import Callable

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


def input_gradient(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """∇_x Σ_b s(x)_b at `images`: the gradient of each sample's score in that sample, differentiable, float32.

    score: images (B, ...) -> scores (B,), each depending on its own sample only. Returns a tensor shaped like `images`.
    """
    points = images.detach().requires_grad_(True)
    with torch.enable_grad():
        gradient: Tensor = torch.autograd.grad(score(points).float().sum(), points, create_graph=True)[0]
    return gradient.float()


def gradient_norm(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇_x s(x)‖₂ of each sample over all its dimensions: (B,)."""
    norm: Tensor = torch.linalg.vector_norm(input_gradient(score, images).flatten(1), dim=1)
    return norm


def squared_gradient_norm(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇_x s(x)‖₂² of each sample over all its dimensions: (B,)."""
    return input_gradient(score, images).flatten(1).square().sum(1)
