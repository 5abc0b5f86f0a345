"""Does the discriminator know the training images, or real images?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gantrick import parallel
from gantrick.dataset._reading import subset
from gantrick.metric._features import enough
from gantrick.types import Bound, Count, Evaluation, Figures, GantrickError, Metric, Paper


class Generalization(Metric):
    """r = (E D(train) − E D(held-out)) / (E D(train) − E D(fake))   (Karras et al., arXiv 2006.06676)

    over D's scores, in evaluation mode, of `samples` images of each kind at most; held-out ones are the test split's.
    A D that looks at labels is given those of the data, and for each fake the one that G was asked for.

    generalization/ratio                  r: 0 where D scores new images as training images, 1 where it scores them as
                                          fakes, which is overfitting; not bounded where D tells nothing apart
    generalization/gap                    E D(train) − E D(held-out)
    generalization/gap_error              the gap's standard error: a gap below two of them is none
    generalization/train, held_out, fake  the mean scores
    """

    paper: ClassVar[Paper | None] = Paper(
        "karras2020training",
        "Training Generative Adversarial Networks with Limited Data",
        "Tero Karras and Miika Aittala and Janne Hellsten and Samuli Laine and Jaakko Lehtinen and Timo Aila",
        2020,
        arxiv="2006.06676",
        venue="Advances in Neural Information Processing Systems",
    )

    forbids: ClassVar[Mapping[str, str]] = {
        "d.packs": "D scores packs of several samples, and this figure is of single ones; leave one of them out"
    }

    def __init__(self, samples: Annotated[int, Bound(ge=2)] = 10_000, batch_size: Count = 128):
        self.samples, self.batch_size = samples, batch_size

    @property
    def primary(self) -> str:
        return "generalization/ratio"

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for fewer than two images of a kind, and for scores that are not finite."""
        scores = {
            "train": self._of_reals(evaluation, "train"),
            "held_out": self._of_reals(evaluation, "test"),
            "fake": _joined(evaluation.scores_of_fakes(self.samples, self.batch_size)),
        }
        for kind, found in scores.items():
            enough(len(found), 2, f"{kind.replace('_', '-')} images")
            if not bool(torch.isfinite(found).all()):
                raise GantrickError(f"D's scores of {kind.replace('_', '-')} images are not finite; lower optimizer.lr")
        protocol: dict[str, Any] = {
            **{f"{kind}_count": len(found) for kind, found in scores.items()},
            "quantisation": "uint8" if evaluation.dataset.data.is_image else "none",
            **evaluation.drawing,
        }
        return Figures({f"generalization/{name}": value for name, value in compared(**scores).items()}, protocol)

    def _of_reals(self, evaluation: Evaluation, split: Literal["train", "test"]) -> Tensor:
        reals = evaluation.reals(split)
        rows = subset(len(reals), min(self.samples, len(reals)), reals.labels)

        def scores(part: np.ndarray) -> Tensor:
            labels = None if reals.labels is None else reals.labels[part.tolist()].to(evaluation.device)
            return evaluation.scores(reals.images[part.tolist()], labels)

        parts = (rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size))
        return _joined(parallel.in_shares(scores, parts))


def compared(train: Tensor, held_out: Tensor, fake: Tensor) -> dict[str, float]:
    """The figures of scores `(N,)`."""
    means = {name: float(x.mean()) for name, x in (("train", train), ("held_out", held_out), ("fake", fake))}
    gap, reach = means["train"] - means["held_out"], means["train"] - means["fake"]
    error = float((train.var() / len(train) + held_out.var() / len(held_out)).sqrt())
    ratio = gap / reach if reach else 0.0
    return {"ratio": ratio, "gap": gap, "gap_error": error, **means}


def _joined(batches: Iterator[Tensor]) -> Tensor:
    return torch.cat([batch.cpu().double() for batch in batches])
