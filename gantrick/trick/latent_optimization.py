from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from gantrick import parallel
from gantrick.input_gradient import input_gradient
from gantrick.stages import Component, Forbidden
from gantrick.types import Fraction, Latents, NetworkSpec, NonNegative, Paper, PenaltyInputs, Positive


class LatentOptimization(Component):
    """z' = clip(z + m ⊙ Δz): G is asked for a z that D likes better, in both turns and when drawing (LOGAN).

    natural   Δz = α g / (β + ‖g‖²), which is α (g gᵀ + β I)⁻¹ g, a damped natural gradient step
    gradient  Δz = α g

    with g = ∂f/∂z (B, Z) and f(z) = Σ_k λ_k D_k(G(z)), of images as they are, neither augmented nor packed. m keeps a
    share `keep` of each z's entries, or of the `samples` of a batch, drawn anew each time. What a uniform z leaves
    [−1, 1] by is clipped; a normal z has no bounds (the paper's is uniform: model.z_distribution). Both losses are of
    G(z'), their gradients flow through Δz, which takes second derivatives of both networks, and weight · E ‖Δz‖² is
    added to each.

    Source: Wu et al., arXiv 1912.00953, whose BigGAN-deep has α = 0.9, β = 5, weight 300, z of 256 entries and moves
    half of them (keep=0.5). StudioGAN's CIFAR-10 run has α = 0.9, β = 0.1, weight 0.1 and keeps 0.8 of the samples;
    that the paper's smaller models keep 0.8 of the entries is recalled, not checked.
    """

    paper = Paper(
        "wu2019logan",
        "LOGAN: Latent Optimisation for Generative Adversarial Networks",
        "Yan Wu and Jeff Donahue and David Balduzzi and Karen Simonyan and Timothy Lillicrap",
        2019,
        "1912.00953",
    )
    needs = frozenset({"second_order"})
    forbids = {
        "unrolled_steps": Forbidden(
            "third derivatives would be taken of G, and batch normalization has two",
            "set trick.unrolled.first_order=true",
        ),
        "z.codes": Forbidden("codes are not noise, and would be moved", "leave one of them out"),
        "d.batch_coupled": Forbidden(
            "each z goes up its own sample's score, and here a score depends on the whole batch",
            "leave one of them out",
        ),
        "d.packs": Forbidden(
            "each z goes up its own sample's score, and a pack has one for all", "leave one of them out"
        ),
    }
    neutral = {"alpha": 0.0}
    score_weights: Tensor

    def __init__(
        self,
        method: Literal["natural", "gradient"] = "natural",
        alpha: NonNegative = 0.9,
        beta: Positive = 5.0,
        weight: NonNegative = 300.0,
        keep: Fraction = 0.8,
        mask: Literal["entries", "samples"] = "entries",
    ):
        super().__init__()
        self.method, self.alpha, self.beta, self.weight = method, alpha, beta, weight
        self.keep, self.mask = keep, mask
        self._bounded = False

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        self._bounded = spec.z_distribution == "uniform"
        return spec

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.register_buffer("score_weights", discriminator.score_weights, persistent=False)  # type: ignore[arg-type]

    def refine_latents(
        self, latents: Latents, generator: Callable[..., Any], discriminator: Callable[..., Any]
    ) -> Latents:
        if not self.alpha:
            return latents
        z, labels = latents.z, latents.labels

        def score(z: Tensor) -> Tensor:
            scores: Tensor = discriminator(generator(Latents(z, labels)), labels).scores
            return scores @ self.score_weights

        gradient = input_gradient(score, z)
        step = self.alpha * gradient
        if self.method == "natural":
            step = step / (self.beta + gradient.square().sum(1, keepdim=True))
        shape = z.shape if self.mask == "entries" else (len(z), 1)
        moved = z + (parallel.rand(*shape, device=z.device) < self.keep) * step
        return Latents(moved.clamp(-1, 1) if self._bounded else moved, labels, step)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._length(inputs)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._length(inputs)

    def _length(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.fake.latents is not None
        step = inputs.fake.latents.step
        return inputs.fake.scores.new_zeros(()) if step is None else step.square().sum(1).mean()
