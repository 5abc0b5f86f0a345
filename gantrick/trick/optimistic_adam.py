from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gantrick.stages import Component
from gantrick.types import Fraction, Paper, Player

KEY = "step_before"  # in the optimizer's state of a weight, so that checkpoints hold it


class OptimisticAdam(Component):
    """θ ← θ + δ_t + o (δ_t − δ_{t−1}), δ_t the step that the optimizer takes: with Adam's δ and o = 1, optimistic Adam.

    That is θ − 2 η m̂_t/(√v̂_t + ε) + η m̂_{t−1}/(√v̂_{t−1} + ε), and plain at the first step. It acts on both players and
    on any optimizer without weight decay; the name is that of the paper's algorithm. o is `optimism`; 0 is none.
    Source: Daskalakis et al., arXiv 1711.00141.
    """

    paper = Paper(
        "daskalakis2018training",
        "Training GANs with Optimism",
        "Constantinos Daskalakis and Andrew Ilyas and Vasilis Syrgkanis and Haoyang Zeng",
        2018,
        "1711.00141",
        "International Conference on Learning Representations",
    )
    neutral = {"optimism": 0.0}

    def __init__(self, optimism: Fraction = 1.0):
        super().__init__()
        self.optimism = optimism

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, player: Player) -> torch.optim.Optimizer:
        if self.optimism == 0:
            return optimizer
        before: dict[Tensor, Tensor] = {}

        def weights() -> list[Tensor]:
            return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]

        @torch.no_grad()
        def remember(*_: Any) -> None:
            before.update((p, p.clone()) for p in weights())

        @torch.no_grad()
        def correct(*_: Any) -> None:
            skipped = getattr(optimizer, "found_inf", None)  # of a step that a scaled loss has spoilt
            for p in weights():
                step = p - before.pop(p)
                last = optimizer.state[p].get(KEY)
                if skipped is None:
                    p.add_(step - (step if last is None else last), alpha=self.optimism)
                else:
                    last = torch.full_like(step, torch.nan) if last is None else last  # nan: no step yet
                    change = torch.where((skipped > 0) | last.isnan(), 0.0, step - last)
                    p.add_(change, alpha=self.optimism)
                    step = torch.where(skipped > 0, last, step)
                optimizer.state[p][KEY] = step

        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(correct)
        return optimizer
