from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import Count, Fraction, Paper


class Lookahead(Component):
    """After every `every` steps: θ_slow ← θ_slow + α (θ − θ_slow), θ ← θ_slow, for both players at the same moment.

    The optimizers' moments stay as they are, and so do the running statistics of normalisation. `every` counts steps of
    the game, which are those of G; α is `alpha`. Source: Chavdarova et al., arXiv 2006.14567 (α = 0.5, every 5 steps
    with Adam).
    """

    paper = Paper(
        "chavdarova2021taming",
        "Taming GANs with Lookahead-Minmax",
        "Tatjana Chavdarova and Matteo Pagliardini and Sebastian U. Stich and Fran{\\c{c}}ois Fleuret and Martin Jaggi",
        2021,
        "2006.14567",
        "International Conference on Learning Representations",
    )
    neutral = {"alpha": 1.0}
    exercise = {"every": 2}
    steps: Tensor

    def __init__(self, every: Count = 5, alpha: Fraction = 0.5):
        super().__init__()
        self.every, self.alpha = every, alpha
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        for number, parameter in enumerate([*generator.parameters(), *discriminator.parameters()]):
            self.register_buffer(f"slow_{number}", parameter.detach().clone())

    @torch.no_grad()
    def sync(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.steps += 1
        due = self.steps % self.every == 0  # on the device: no step waits for it
        for number, parameter in enumerate([*generator.parameters(), *discriminator.parameters()]):
            slow = self.get_buffer(f"slow_{number}")
            ahead = parameter if self.alpha == 1 else torch.lerp(slow, parameter, self.alpha)
            slow.copy_(torch.where(due, ahead, slow))
            parameter.copy_(torch.where(due, slow, parameter))
