from __future__ import annotations

from gantrick.stages import Component
from gantrick.types import ConfigError, Judged, Paper, Scored, Targets


class Lsgan(Component):
    """D: ½ E(r − b)² + ½ E(f − a)²; G: ½ E(f − c)², on raw scores.

    (a, b, c) = (0, 1, 1) as in the paper's experiments, or (−1, 1, 0), which makes it Pearson's χ². A target
    probability t stands for a + (b − a)·t in D's turn, a + (c − a)·t in G's. Scores (B, K). Raises ConfigError unless
    b > a: high means real.
    Source: Mao et al., arXiv 1611.04076.
    """

    paper = Paper(
        "mao2017least",
        "Least Squares Generative Adversarial Networks",
        "Mao, Xudong and Li, Qing and Xie, Haoran and Lau, Raymond Y. K. and Wang, Zhen and Smolley, Stephen Paul",
        2017,
        "1611.04076",
        "International Conference on Computer Vision",
    )
    provides = frozenset({"targets", "comparable_scores"})

    def __init__(self, a: float = 0.0, b: float = 1.0, c: float = 1.0):
        super().__init__()
        if b <= a:
            raise ConfigError(
                f"b: reals aim at {b:g} and fakes at a={a:g}, but a high score means real here; give b above a"
            )
        self.a, self.b, self.c = a, b, c
        self.boundary = (a + b) / 2

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        assert targets.real is not None and targets.fake is not None
        aim_real = self.a + (self.b - self.a) * targets.real[:, None]
        aim_fake = self.a + (self.b - self.a) * targets.fake[:, None]
        return Scored(
            {"real": 0.5 * (real.scores - aim_real).square(), "fake": 0.5 * (fake.scores - aim_fake).square()}
        )

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert targets.generator is not None
        aim = self.a + (self.c - self.a) * targets.generator[:, None]
        return Scored({"fake": 0.5 * (fake.scores - aim).square()})
