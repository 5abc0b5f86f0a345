"""Initial weights: each function takes one module of a network, as `nn.Module.apply` hands it over.

Linear layers, convolutions and embeddings are drawn anew and lose their biases to zero. A layer that sets
`own_init = True` is left as its maker made it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from gantrick.layers.normalization import BatchNorm
from gantrick.layers.resampling import SubpixelConv

Init = Literal["normal", "xavier", "orthogonal", "default"]
Layer = TypeVar("Layer", bound=nn.Module)


def residual(layer: Layer) -> Layer:
    """Marks a convolution of a residual branch: Xavier's rule draws it √2 wider."""
    layer.gain = math.sqrt(2.0)  # type: ignore[assignment]
    return layer


@torch.no_grad()
def _draw(module: nn.Module, rule: Callable[[Tensor], object]) -> None:
    """Fills a kernel (out, in, h, w), whatever order its layer keeps it in, by a rule that acts in place."""
    drawn_anew = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
    if not isinstance(module, drawn_anew) or getattr(module, "own_init", False):
        return
    kernel = module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else module.weight
    copies = 4 if isinstance(module, SubpixelConv) else 1
    drawn = kernel.new_empty((len(kernel) // copies, *kernel.shape[1:]))
    rule(drawn)
    kernel.copy_(drawn.repeat_interleave(copies, 0))
    if not isinstance(module, nn.Embedding) and module.bias is not None:
        module.bias.zero_()


def normal(module: nn.Module) -> None:
    """w ~ N(0, 0.02²), gains of batch normalisation ~ N(1, 0.02²)   (DCGAN, arXiv 1511.06434)."""
    _draw(module, lambda kernel: nn.init.normal_(kernel, 0.0, 0.02))
    if isinstance(module, BatchNorm) and module.weight is not None:
        nn.init.normal_(module.weight, 1.0, 0.02)


def xavier(module: nn.Module) -> None:
    """w ~ U(−a, a), a = g √(6 / (fan_in + fan_out)); g is √2 in residual branches, else 1   (SNGAN, 1802.05957)."""
    gain = getattr(module, "gain", 1.0)
    _draw(module, lambda kernel: nn.init.xavier_uniform_(kernel, gain))


def orthogonal(module: nn.Module, gain: float = 1.0) -> None:
    """W Wᵀ = g² or Wᵀ W = g², with W the kernel as (out, in·h·w), an embedding as (classes, F), and g the gain.

    arXiv 1312.6120; of embeddings too as in BigGAN's code.
    """
    _draw(module, lambda kernel: nn.init.orthogonal_(kernel, gain))


def default(module: nn.Module) -> None:
    """What torch drew when the layer was made."""


def initialisation(kind: Init) -> Callable[[nn.Module], None]:
    return {"normal": normal, "xavier": xavier, "orthogonal": orthogonal, "default": default}[kind]
