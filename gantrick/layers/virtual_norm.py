"""Virtual batch normalisation: statistics of a fixed batch that goes through the network with every other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        mean, square = moments.view(*moments.shape, *[1] * len(places))
        shape = (1, -1, *[1] * len(places))
        scale = torch.rsqrt((square - mean.square()).clamp_min(0) + EPS) * self.weight.view(shape)
        out: Tensor = (x - mean) * scale + self.bias.view(shape)
        return out.to(h.dtype)


def with_reference(
    draw: Callable[[int, torch.Generator], Tensor],
) -> tuple[Callable[[], None], Callable[[nn.Module], nn.Module]]:
    """(begin, wrap): wrap, called with each layer of a network in order, lets R in at the first and out at the last.

    begin says that a new network follows that has virtual norms; none is touched before it. draw: (input size of the
    first layer, a source of random numbers) -> R, a buffer of that layer. The source is seeded by `begin`, so that R
    does not depend on what other wrappers draw.
    """
    layers: list[nn.Module] = []
    begun: list[bool] = []
    source = torch.Generator()

    def begin() -> None:
        layers.clear()
        begun.append(True)
        seed = torch.randint(2**62, ())
        if not seed.is_meta:  # where only shapes are asked for, nothing is drawn
            source.manual_seed(int(seed))

    def enter(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor]:
        return (torch.cat([layer.get_buffer("reference").to(arguments[0].dtype), arguments[0]]),)

    def leave(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return output[layer.reference_rows :] if layer.is_last else None  # type: ignore[misc]

    def wrap(layer: nn.Module) -> nn.Module:
        if not begun:
            return layer
        if not layers:
            reference = draw(int(layer.in_features), source).to(layer.weight.device)  # type: ignore[arg-type]
            layer.register_buffer("reference", reference)
            layer.register_forward_pre_hook(enter)
            layer.reference_rows = len(reference)  # type: ignore[assignment]
        else:
            layers[-1].is_last = False  # type: ignore[assignment]
            layer.reference_rows = layers[0].reference_rows
        layer.is_last = True  # type: ignore[assignment]
        layer.register_forward_hook(leave)
        layers.append(layer)
        return layer

    return begin, wrap
