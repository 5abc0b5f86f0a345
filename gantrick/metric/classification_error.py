"""How often a discriminator that tells classes is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gantrick import papers, parallel
from gantrick.types import Count, Dataset, Evaluation, Figures, GantrickError, Metric, Paper


class ClassificationError(Metric):
    """100 · #{i : argmax_k l_k(x_i) ≠ y_i} / N over the images of a split: D's class logits l, in percent.

    classification_error/<split>      of D's averaged weights where a trick keeps them, else of its own
    classification_error/<split>_raw  of its own, where there are averaged ones too

    D is in evaluation mode: no noise, no dropout. It is the figure of semi-supervised learning (arXiv 1606.03498),
    which papers give at the end of training; the best over training has looked at the test split.
    """

    paper: ClassVar[Paper | None] = papers.IMPROVED
    needs: ClassVar[frozenset[str]] = frozenset({"d.classes"})

    def __init__(self, split: Literal["train", "test"] = "test", batch_size: Count = 500):
        self.split, self.batch_size = split, batch_size

    @property
    def primary(self) -> str:
        return f"classification_error/{self.split}"

    def check(self, dataset: Dataset) -> list[str]:
        if dataset.data.classes:
            return []
        return ["metric.classification_error: the data have no labels to compare with; leave it out"]

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for logits that are not finite, and where D tells no classes."""
        first = evaluation.discriminators[0]
        names = {w: self.split if w == first else f"{self.split}_{w}" for w in evaluation.discriminators}
        values = {f"classification_error/{name}": self._of(evaluation, weights) for weights, name in names.items()}
        protocol = {
            "split": self.split,
            "count": len(evaluation.reals(self.split)),
            "quantisation": "uint8" if evaluation.dataset.data.is_image else "none",
            "discriminator": {name: weights for weights, name in names.items()},
        }
        return Figures(values, protocol)

    def _of(self, evaluation: Evaluation, weights: str) -> float:
        samples = evaluation.reals(self.split)
        assert samples.labels is not None

        def said(images: Tensor) -> Tensor:
            logits = evaluation.class_logits(images, weights)
            if not bool(torch.isfinite(logits).all()):
                raise GantrickError("D's class logits are not finite; lower optimizer.lr")
            return logits.argmax(1)

        def batches() -> Iterator[Tensor]:
            for start in range(0, len(samples), self.batch_size):
                yield samples.images[start : start + self.batch_size]

        found = torch.cat([part.cpu() for part in parallel.in_shares(said, batches())])
        return 100 * float((found != samples.labels.cpu()).double().mean())
