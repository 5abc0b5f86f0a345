from __future__ import annotations

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Judged, Scored, Targets


class Wgan(Component):
    """D: E f − E r; G: −E f. E r − E f estimates the Wasserstein distance, up to D's Lipschitz constant.

    It means something only while something bounds D's gradient: the recipes wgan_gp, wgan_ct and wgan_clip bring that.
    The estimate is logged as `wasserstein`. Scores (B, K). Source: Arjovsky et al., arXiv 1701.07875.
    """

    paper = papers.WGAN
    provides = frozenset({"lipschitz_needed"})
    boundary = None  # a score of 0 has no meaning: D's accuracy is the share of pairs in which the real scores higher

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        distance = real.scores.detach().mean(0) - fake.scores.detach().mean(0)
        return Scored({"real": -real.scores, "fake": fake.scores}, diagnostics={"wasserstein": distance})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -fake.scores})
