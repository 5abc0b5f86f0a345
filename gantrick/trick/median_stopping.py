"""A job of a sweep that does worse than half of the others did is not trained to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from gantrick.stages import Component
from gantrick.types import Count, Paper, Verdict, Whole


class MedianStopping(Component):
    """Stops at step t where best_{s ≤ t} f(s) is worse than median_j mean_{s ≤ t} f_j(s).

    f is the run's first metric at its evaluations, f_j that of the other jobs of its sweep that have come to step t or
    further, finished or not. Compared at evaluations from step `warmup` on, and only where there are `peers` such jobs,
    whose figures have the protocol of this run's. The stopped run keeps its figures and checkpoints; status.json says
    why it was stopped. Jobs must see each other's folders. Which jobs have come how far differs between sweeps that run
    jobs side by side, and with it who is stopped; run one after another it does not.

    The median stopping rule of Golovin et al., Google Vizier: A Service for Black-Box Optimization (KDD 2017, section
    3.2.2), where only completed trials are compared with; `warmup` and `peers` are this project's.
    """

    paper: ClassVar[Paper | None] = Paper(
        "golovin2017vizier",
        "Google Vizier: A Service for Black-Box Optimization",
        "Daniel Golovin and Benjamin Solnik and Subhodeep Moitra and Greg Kochanski and John Karro and D. Sculley",
        2017,
        venue="Proceedings of the 23rd ACM SIGKDD International Conference on Knowledge Discovery and Data Mining",
    )
    neutral = {"warmup": 2**62}
    needs = frozenset({"peers"})

    def __init__(self, warmup: Whole = 1000, peers: Count = 5):
        super().__init__()
        self.warmup, self.peers = warmup, peers

    def watch(self, row: Mapping[str, Any]) -> Verdict | None:
        curves = row.get("peers")  # there after an evaluation
        if curves is None or row["peers/step"] < self.warmup or len(curves) < self.peers:
            return None
        means = torch.tensor([sum(curve) / len(curve) for curve in curves], dtype=torch.float64)
        median = float(means.quantile(0.5))  # of an even number the middle of both
        best, lower = row["best"], row["lower_is_better"]
        if best <= median if lower else best >= median:
            return None
        how = "above" if lower else "below"
        reason = f"its best figure until step {row['peers/step']}, {best:.4g}, is {how} the median of {len(curves)} "
        return Verdict("stop", f"{reason}other jobs' averages, {median:.4g}")
