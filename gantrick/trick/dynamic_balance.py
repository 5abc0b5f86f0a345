from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from gantrick import parallel
from gantrick.stages import Component
from gantrick.types import Paper, Play, Positive, Record


class DynamicBalance(Component):
    """D moves only while it is not too strong: a turn of D is skipped where its measure is past `threshold`.

    by=accuracy: D's accuracy on the batch is above the threshold (0.8 is this project's choice); by=loss: D's loss is
    below it; by=ratio: D's loss is below the threshold times G's, of G's last turn. The batch is judged in every turn,
    so that a D which was skipped comes back, and a skipped turn costs nearly a whole one. `skipped/d` in the rows is
    the share of turns that were. Such schedules are disputed: ganhacks advises against them.
    Source: Chintala et al., How to Train a GAN (2016).
    """

    paper = Paper(
        "chintala2016how",
        "How to Train a GAN? Tips and tricks to make GANs work",
        "Soumith Chintala and Emily Denton and Martin Arjovsky and Michael Mathieu",
        2016,
        url="https://github.com/soumith/ganhacks",
    )
    neutral = {"by": "accuracy", "threshold": 2.0}
    exercise = {"by": "accuracy", "threshold": 0.2}
    of_g: Tensor

    def __init__(self, by: Literal["accuracy", "loss", "ratio"] = "accuracy", threshold: Positive = 0.8):
        super().__init__()
        self.by, self.threshold = by, threshold
        self.register_buffer("of_g", torch.tensor(torch.inf))  # G's last loss; before there is one, D moves

    def adapt(self, records: Sequence[Record]) -> None:
        if records[0].player == "generator":
            self.of_g.copy_(_mean(records, "loss/g"))

    def update_rule(self, play: Play) -> None:
        for _ in range(play.d_steps):
            play.prepare("discriminator")
            records = [play.evaluate("discriminator", *play.draw("discriminator")) for _ in range(play.accumulate)]
            skipped = self._too_strong(records)
            told = torch.full_like(self.of_g, float(skipped))
            records = [replace(one, diagnostics={**one.diagnostics, "skipped/d": told}) for one in records]
            (play.skip if skipped else play.move)("discriminator", records)
        for _ in range(play.g_steps):
            play.turn("generator")

    def _too_strong(self, records: Sequence[Record]) -> bool:
        """By a number that the host waits for: it decides what is done."""
        if self.by == "accuracy":
            return bool(_mean(records, "accuracy/d") > self.threshold)
        if self.by == "loss":
            return bool(_mean(records, "loss/d") < self.threshold)
        return bool(self.of_g.isfinite() & (_mean(records, "loss/d") < self.threshold * self.of_g))


def _mean(records: Sequence[Record], name: str) -> Tensor:
    return parallel.mean(torch.stack([record.diagnostics[name].float() for record in records]).mean())
