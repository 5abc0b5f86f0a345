from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrick.layers.code import CodeOf, MeanOfCode, correlation, standardised
from gantrick.layers.relativistic import differences
from gantrick.stages import Component, Forbidden
from gantrick.types import (
    Batch,
    ConfigError,
    Judged,
    Latents,
    ModuleFactory,
    NetworkSpec,
    NonNegative,
    Paper,
    Scored,
    Targets,
)

EPSILON = 1e-8  # of the distance of a fake from its real


class OGan(Component):
    """D: E[−Δ + λ₁ Δ² / d − λ₂ ρ]; G: E[−f − λ₂ ρ]: D is an encoder too, and the mean of its code is the score.

    D ends in a code E(x) (B, Z), Z as large as the latents; its score is −mean_j E_j. Δ = r − f of pairs, d is the mean
    square of x − G(z) as D saw them, a constant. ρ is the correlation, over the dimensions, of z with E(G(z)), the z
    that made the fake. G(N(E(x))) reconstructs x, N taking out mean and deviation. In the original the real score is
    low: the sign is turned here. With `trick=simultaneous` both players move at once, which is the step of the official
    code; without it they take turns. Needs Z ≥ 3, as mean and deviation of a code are taken out. Raises ConfigError for
    fewer.
    Source: Su, arXiv 1903.01931; λ₁ = 0.25, λ₂ = 0.5 from the official code (λ₂ = 1 at 256 pixels).
    """

    paper = Paper(
        "su2019ogan",
        "O-GAN: Extremely Concise Approach for Auto-Encoding Generative Adversarial Networks",
        "Su, Jianlin",
        2019,
        "1903.01931",
    )
    provides = frozenset({"paired_loss"})
    claims = frozenset({"d.head", "d.direction"})
    forbids = {
        "d.packs": Forbidden(
            "a code belongs to the latents of one sample, and D judges several at once",
            "leave trick.pacgan out, or choose another loss",
        ),
        "z.codes": Forbidden(
            "D's code is all of z, and codes put into z are read by a head of their own", "leave one out"
        ),
    }
    boundary = None  # scores have no zero

    def __init__(self, square_weight: NonNegative = 0.25, code_weight: NonNegative = 0.5):
        super().__init__()
        self.square_weight, self.code_weight = square_weight, code_weight
        self._deviation = 1.0  # of an entry of z

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        self._deviation = 3**-0.5 if spec.z_distribution == "uniform" else 1.0
        if spec.z_size < 3:
            raise ConfigError(f"loss.o_gan: needs latents of 3 dimensions or more, not {spec.z_size}; set model.z_size")
        made: list[MeanOfCode] = []

        def head(features: int, direction: ModuleFactory) -> nn.Module:
            made[:] = [MeanOfCode(nn.Linear(features, spec.z_size))]
            return made[0]

        def code(features: int) -> nn.Module:  # asked for after the head, whose layer it is
            return CodeOf(made[0])

        return spec.but(
            f"D head: minus the mean of a code of {spec.z_size}, by loss.o_gan",
            head=head,
            d_heads={**spec.d_heads, "code": code},
        )

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        lead = differences(real, fake)
        apart = self._apart(real.seen, fake.seen)[:, None]
        return Scored({"pairs": self.square_weight * lead.square() / apart - lead, "code": self._code(fake)})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -fake.scores, "code": self._code(fake)})

    def encode(self, batch: Batch, discriminator: nn.Module) -> Latents:
        """N(E(x)), as wide as latents are: the correlation leaves mean and deviation of a code open."""
        code = discriminator(batch.images, batch.labels).extra["code"]
        return Latents(self._deviation * standardised(code), batch.labels)

    def _code(self, fake: Judged) -> Tensor:
        assert fake.latents is not None
        return -self.code_weight * correlation(fake.latents.z, fake.output.extra["code"])[:, None]

    @torch.no_grad()
    def _apart(self, real: Tensor, fake: Tensor) -> Tensor:
        size = min(len(real), len(fake))
        return (real[:size] - fake[:size]).flatten(1).square().mean(1) + EPSILON
