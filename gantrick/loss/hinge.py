from __future__ import annotations

from torch.nn import functional as F

from gantrick.stages import Component
from gantrick.types import Judged, Paper, Scored, Targets


class Hinge(Component):
    """D: E relu(1 − r) + E relu(1 + f); G: −E f, which is never hinged. Scores (B, K).

    Source: Lim and Ye, arXiv 1705.02894; as used by SNGAN (1802.05957), SAGAN and BigGAN.
    """

    paper = Paper("lim2017geometric", "Geometric GAN", "Lim, Jae Hyun and Ye, Jong Chul", 2017, "1705.02894")
    provides = frozenset({"comparable_scores"})
    boundary = 0.0

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return Scored({"real": F.relu(1 - real.scores), "fake": F.relu(1 + fake.scores)})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -fake.scores})
