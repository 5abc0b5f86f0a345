from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import Act, Count, Fraction, NonNegative, Positive, Verdict, Whole


class Guard(Component):
    """Watches the logged rows and acts when one of these holds; a condition set to null is not watched.

    non_finite  a loss, penalty, gradient or weight is not finite
    worse       the first metric is worse than its best by this factor (late collapse: keep the best, Brock et al.)
    lost        the metric's covered modes or classes fell below this share of the most that were covered
    certain     D's accuracy was at least this in `patience` rows in a row
    vanishing   the norm of G's gradient was at most this in `patience` rows in a row

    act: roll_back (weights, optimizers and components as at the best checkpoint, the learning rates times `lr_factor`;
    the clock goes on), reseed (a new start from another seed, with all its steps) or stop. After `times` acts the run
    stops. Each act is in status.json, in metrics.jsonl and at W&B. Source: Brock et al., arXiv 1809.11096
    (section 4.2: training collapses late, and is stopped early or taken up before the collapse); the thresholds are
    this project's choice.
    """

    paper = papers.BIGGAN
    neutral = {"non_finite": False, "worse": None, "lost": None, "certain": None, "vanishing": None}
    most: Tensor
    rows: Tensor

    def __init__(
        self,
        act: Act = "roll_back",
        times: Whole = 3,
        lr_factor: Positive = 0.5,
        non_finite: bool = True,
        worse: Positive | None = 3.0,
        lost: Fraction | None = 0.5,
        certain: Fraction | None = None,
        vanishing: NonNegative | None = 1e-8,
        patience: Count = 5,
    ):
        super().__init__()
        self.act, self.times, self.lr_factor, self.patience = act, times, lr_factor, patience
        self.non_finite, self.worse, self.lost = non_finite, worse, lost
        self.certain, self.vanishing = certain, vanishing
        self.register_buffer("most", torch.zeros(()))  # modes covered at once
        self.register_buffer("rows", torch.zeros(2))  # in a row, certain and vanishing

    def watch(self, row: Mapping[str, Any]) -> Verdict | None:
        reason = self._reason(row)
        if reason is not None:
            self.rows.zero_()  # what follows an act is watched afresh
        return None if reason is None else Verdict(self.act, reason, self.lr_factor, self.times)

    def _reason(self, row: Mapping[str, Any]) -> str | None:
        if "non_finite" in row:
            return f"{row['non_finite']} is not finite" if self.non_finite else None
        if self.worse is not None and row.get("worse", 1.0) > self.worse:
            return f"the metric is {row['worse']:.3g} times worse than its best"
        covered = next((float(value) for name, value in row.items() if name.endswith("/covered")), None)
        if self.lost is not None and covered is not None:
            self.most.clamp_min_(covered)
            if covered < self.lost * float(self.most):
                return f"{covered:g} of {float(self.most):g} modes are left"
        accuracy, norm = row.get("accuracy/d"), row.get("grad_norm/g")
        certain = self.certain is not None and accuracy is not None and accuracy >= self.certain
        vanished = self.vanishing is not None and norm is not None and norm <= self.vanishing
        self.rows.add_(1).mul_(torch.tensor([certain, vanished], device=self.rows.device))
        counts = self.rows.tolist()
        if counts[0] >= self.patience:
            return f"D's accuracy was at least {self.certain:g} in {self.patience} rows in a row"
        if counts[1] >= self.patience:
            return f"the gradient of G was at most {self.vanishing:g} in {self.patience} rows in a row"
        return None
