"""What a loss and a penalty are handed, made by hand, and a small smooth critic whose derivatives numpy knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantrick.types import Batch, DiscriminatorOutput, Judged, Latents, PenaltyInputs, Player, Targets

Array = NDArray[np.float64]
F64 = torch.float64


def judged(scores: Tensor, images: Tensor | None = None, features: Tensor | None = None) -> Judged:
    """A batch of which D said these scores."""
    images = torch.zeros(len(scores), 2) if images is None else images
    features = scores if features is None else features
    return Judged(Batch(images), images, DiscriminatorOutput(scores, features))


def weighted(scores: int, seed: int = 5) -> Array:
    """Uneven score weights (K,) that sum to 1."""
    raw = np.random.default_rng(seed).uniform(0.2, 1.0, scores)
    return np.asarray(raw / raw.sum())


@dataclass
class Verdict:
    """The terms of a loss through `Scored.means`, and the gradients of their sum in the scores."""

    terms: dict[str, float]
    real: Array | None
    fake: Array | None


def verdict(
    loss: Any,
    player: Player,
    real: Array,
    fake: Array,
    weights: Array,
    targets: tuple[Array, Array] | Array | None = None,
    dtype: torch.dtype = F64,
    real_in_g: bool = False,
) -> Verdict:
    """A loss on raw scores (B, K). targets: (of reals, of fakes) in D's turn, of fakes in G's; else 1, 0 and 1.

    real_in_g: G's loss is given the reals, as it is where a component needs them.
    """
    r, f = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in (real, fake))
    if player == "discriminator":
        t = targets or (np.ones(len(real)), np.zeros(len(fake)))
        scored = loss.d_loss(judged(r), judged(f), Targets(*(torch.tensor(v, dtype=dtype) for v in t)))
    else:
        t = np.ones(len(fake)) if targets is None else targets
        scored = loss.g_loss(
            judged(r) if real_in_g else None, judged(f), Targets(generator=torch.tensor(t, dtype=dtype))
        )
    terms = scored.means(torch.tensor(weights, dtype=dtype))
    found = torch.autograd.grad(sum(terms.values()), [r, f], allow_unused=True)
    gradients = [None if g is None else g.numpy().astype(np.float64) for g in found]
    return Verdict({name: term.item() for name, term in terms.items()}, *gradients)


@dataclass
class Calls:
    """What a penalty asked the critic."""

    images: list[Tensor] = field(default_factory=list)
    raw: list[bool] = field(default_factory=list)


def penalty_inputs(
    critic: Callable[[Tensor], Tensor | DiscriminatorOutput],
    real: Tensor | Judged,
    fake: Tensor | Judged,
    weights: Sequence[float] = (1.0,),
) -> tuple[PenaltyInputs, Calls]:
    """Inputs whose critic is `critic`: images -> scores (B, K) or an output; every call of it is written down."""
    calls = Calls()

    def asked(images: Tensor, labels: Tensor | None = None, *, raw: bool = False) -> DiscriminatorOutput:
        calls.images.append(images.detach().clone())
        calls.raw.append(raw)
        said = critic(images)
        return said if isinstance(said, DiscriminatorOutput) else DiscriminatorOutput(said, said)

    def generate(latents: Latents) -> Tensor:
        raise AssertionError("these penalties draw no fakes")

    a, b = (v if isinstance(v, Judged) else judged(torch.zeros(len(v), len(weights)), v) for v in (real, fake))
    return PenaltyInputs("discriminator", a, b, asked, generate, torch.tensor(weights, dtype=F64), 0), calls


class TanhCritic:
    """s = U tanh(W x + c) + e, scores (B, K) of x flattened: smooth, its gradient written down here in numpy."""

    def __init__(self, inputs: int, hidden: int = 5, scores: int = 1, seed: int = 3):
        rng = np.random.default_rng(seed)
        shapes = {"w": (hidden, inputs), "c": (hidden,), "u": (scores, hidden), "e": (scores,)}
        self.values: dict[str, Array] = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        self.tensors = {name: torch.tensor(v, requires_grad=True) for name, v in self.values.items()}

    def __call__(self, images: Tensor) -> Tensor:
        t = self.tensors
        return torch.tanh(images.to(F64).flatten(1) @ t["w"].T + t["c"]) @ t["u"].T + t["e"]

    @staticmethod
    def gradient(values: dict[str, Array], x: Array, weights: Array) -> Array:
        """∇_x Σ_k λ_k s_k at x (B, D): Wᵀ diag(1 − tanh²) Uᵀ λ."""
        h = np.tanh(x @ values["w"].T + values["c"])
        return np.asarray(((1 - h**2) * (weights @ values["u"])) @ values["w"])

    def gradients(self, value: Tensor) -> dict[str, Array]:
        """d value / d parameter by autograd."""
        found = torch.autograd.grad(value, list(self.tensors.values()), allow_unused=True)
        return {
            name: np.zeros(self.values[name].shape) if g is None else g.numpy()
            for name, g in zip(self.tensors, found, strict=True)
        }


def finite_differences(
    function: Callable[[dict[str, Array]], float], values: dict[str, Array], step: float = 1e-5
) -> dict[str, Array]:
    """(f(θ + h) − f(θ − h)) / 2h for every entry of every array."""
    found = {}
    for name, value in values.items():
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * step
                ends.append(function({**values, name: moved}))
            slope[index] = (ends[0] - ends[1]) / (2 * step)
        found[name] = slope
    return found
