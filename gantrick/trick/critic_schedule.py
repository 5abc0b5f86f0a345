from __future__ import annotations

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Count, Play, Whole


class CriticSchedule(Component):
    """n D turns before each G turn, n = `boost` in the first `warm_up` steps and at every `every`-th, else d_steps.

    WGAN's official code keeps its critic near its optimum this way: 100 critic steps for the first 25 generator steps
    and at every 500th. Source: Arjovsky et al., arXiv 1701.07875.
    """

    paper = papers.WGAN
    neutral = {"warm_up": 0, "every": 0}
    exercise = {"warm_up": 2, "boost": 3}

    def __init__(self, boost: Count = 100, warm_up: Whole = 25, every: Whole = 500):
        super().__init__()
        self.boost, self.warm_up, self.every = boost, warm_up, every

    def update_rule(self, play: Play) -> None:
        boosted = play.step < self.warm_up or (self.every > 0 and play.step % self.every == 0)
        for _ in range(self.boost if boosted else play.d_steps):
            play.turn("discriminator")
        for _ in range(play.g_steps):
            play.turn("generator")
