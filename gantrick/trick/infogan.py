from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import Code, ConfigError, Count, Latents, NetworkSpec, NonNegative, Paper, PenaltyInputs, Whole

HEAD = "infogan"


class Infogan(Component):
    """+ λ (Σ_cat CE(Q(c|x), c) + λ_c Σ_cont ½ (c − μ_Q(x))² + const) for G and D: codes that an image tells.

    The last entries of z are the codes: each categorical one of K kinds, evenly drawn and one-hot, and continuous ones
    c ~ U(−1, 1). Q is two layers, with `hidden` units, on D's features, so that its loss, an upper bound of −I(c; x)
    up to a constant, trains D's body as well (in the official code too) and G. λ is `weight`, λ_c
    `continuous_weight`; the variance of Q's normal is held at 1, as in the authors' MNIST run (10 kinds, 2 continuous).
    Source: Chen et al., arXiv 1606.03657.
    """

    paper = Paper(
        "chen2016infogan",
        "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets",
        "Xi Chen and Yan Duan and Rein Houthooft and John Schulman and Ilya Sutskever and Pieter Abbeel",
        2016,
        "1606.03657",
        "Advances in Neural Information Processing Systems",
    )
    provides = frozenset({"z.codes"})

    def __init__(
        self,
        categorical: list[Count] | None = None,
        continuous: Whole = 2,
        weight: NonNegative = 1.0,
        continuous_weight: NonNegative = 1.0,
        hidden: Count = 128,
    ):
        super().__init__()
        self.categorical = [10] if categorical is None else list(categorical)
        self.continuous, self.weight, self.continuous_weight = continuous, weight, continuous_weight
        self.hidden = hidden
        self.codes = self.z_entries = sum(self.categorical) + continuous
        self.z_codes = (*(Code(kinds) for kinds in self.categorical), *(Code() for _ in range(continuous)))
        if not self.codes:
            raise ConfigError("categorical: there are no codes at all; give categorical=[10], or continuous=2")
        self._uniform = False

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        self._uniform = spec.z_distribution == "uniform"
        heads = {
            **spec.d_heads,
            HEAD: lambda features: nn.Sequential(
                nn.Linear(features, self.hidden), nn.LeakyReLU(0.1), nn.Linear(self.hidden, self.codes)
            ),
        }
        told = f"z: {self.codes} more entries, codes of kinds {self.categorical} and {self.continuous} continuous"
        return spec.but(told, d_heads=heads)

    def sample_latents(self, latents: Latents) -> Latents:
        """The codes are made of the noise in their places, so that they come from the stream of the latents."""
        noise = latents.z[:, -self.codes :].double()
        even = (noise + 1) / 2 if self._uniform else torch.special.ndtr(noise)  # U(0, 1)
        made, place = [], 0
        for kinds in self.categorical:
            kind = (even[:, place] * kinds).long().clamp_max(kinds - 1)
            made.append(F.one_hot(kind, kinds).to(latents.z))
            place += kinds
        made.append((2 * even[:, place:] - 1).to(latents.z))
        return Latents(torch.cat([latents.z[:, : -self.codes], *made], 1), latents.labels)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._error(inputs)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._error(inputs)

    def _error(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.fake.latents is not None
        codes, said = inputs.fake.latents.z[:, -self.codes :], inputs.fake.output.extra[HEAD]
        error = said.new_zeros(())
        for logits, aim in zip(self._kinds(said), self._kinds(codes), strict=True):
            error = error + F.cross_entropy(logits, aim)
        if self.continuous:
            apart = (codes[:, -self.continuous :] - said[:, -self.continuous :]).square().sum(1).mean()
            constant = self.continuous * math.log(2 * math.pi)
            error = error + self.continuous_weight * 0.5 * (apart + constant)
        return error

    def _kinds(self, x: Tensor) -> Sequence[Tensor]:
        """The parts (B, K) of the categorical codes, or of what is said of them."""
        return torch.split(x[:, : self.codes - self.continuous], self.categorical, 1) if self.categorical else []
