"""Are fakes copies of training images?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gantrick.metric._features import FeatureMetric, Reference, enough, of, precise
from gantrick.metric._neighbours import nearest
from gantrick.tracking.grid import save_grid
from gantrick.types import Bound, Count, Evaluation, Figures, Paper

SHOWN = 12  # pairs in the picture
RARE = 0.01  # of the held-out images are as near to a training image as a copy


class Memorization(FeatureMetric):
    """P(d(y) < d(h)) + ½ P(d(y) = d(h)),  d(·) = distance to the nearest training image   (arXiv 2004.05675)

    over fakes y and held-out images h (the test split), in the extractor's features: the statistic of Mann and Whitney,
    which Meehan et al. take for data-copying.

    memorization/<extractor>  ½ where fakes are as far from the training images as new images are, 1 where all are
                              copies; below ½ they are further off than real images, which is a fault of another kind
    copies/<extractor>        the share of fakes nearer to a training image than 99 % of the held-out images are: 0.01
                              by chance

    `references` is how many training images, and how many held-out ones, are looked at; a copy of another is missed.
    `mirrored` has the mirror image of each training image beside it, for fakes and held-out images alike; null: where
    the data set's `flip` shows them to D.
    The picture neighbours-<step>.png has the fakes with the nearest neighbours, and below each that training image.
    """

    name: ClassVar[str] = "memorization"
    paper: ClassVar[Paper | None] = Paper(
        "meehan2020nonparametric",
        "A Non-Parametric Test to Detect Data-Copying in Generative Models",
        "Casey Meehan and Kamalika Chaudhuri and Sanjoy Dasgupta",
        2020,
        arxiv="2004.05675",
        venue="International Conference on Artificial Intelligence and Statistics",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=2)] = 10_000,
        references: Annotated[int, Bound(ge=2)] = 50_000,
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
        mirrored: bool | None = None,
    ):
        super().__init__(extractor, samples, "train", weights, resizer, batch_size)
        self.references, self.mirrored = references, mirrored

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for fewer than two images of a kind."""
        train, held_out = (self.features_of_reals(evaluation, self.references, split) for split in ("train", "test"))
        enough(len(train.features), 2, "training images")
        enough(len(held_out.features), 2, "held-out images")
        found = self.features_of_fakes(evaluation)
        mirrored = evaluation.dataset.flip if self.mirrored is None else self.mirrored
        looked_at = train.features
        if mirrored:
            turned = self.features_of_reals(evaluation, self.references, "train", mirrored=True)
            looked_at = torch.cat([looked_at, turned.features])
        known, fakes, new = (precise(x, evaluation.device) for x in (looked_at, found, held_out.features))
        (of_fakes, which), (of_new, _) = nearest(fakes, known), nearest(new, known)
        values = copying(of_fakes[:, 0].cpu(), of_new[:, 0].cpu())
        protocol = {
            **self.protocol(evaluation, len(fakes), of(train)),
            "held_out": held_out.name,
            "held_out_count": len(new),
            **({"mirrored": True} if mirrored else {}),  # no word of it where there is none: as figures always were
        }
        order = of_fakes[:, 0].argsort(stable=True)[:SHOWN].cpu()
        pictures = self._picture(evaluation, train, order, which[:, 0].cpu()[order])
        return Figures({f"{name}/{self.extractor}": v for name, v in values.items()}, protocol, pictures)

    def _picture(self, evaluation: Evaluation, train: Reference, fakes: Tensor, reals: Tensor) -> tuple[Path, ...]:
        """Fakes by their place in the draw over training images by their place among those looked at; from the number
        of those on they are mirrored.
        """
        drawn = torch.cat([batch.cpu() for batch in evaluation.fakes(self.samples, self.batch_size)])
        if evaluation.folder is None:  # after the draw, which all processes of a run share
            return ()
        rows, turned = train.rows[reals % len(train.rows)], reals >= len(train.rows)
        known = evaluation.reals("train").images[rows.tolist()].cpu()
        known = torch.where(turned[:, None, None, None], known.flip(-1), known)
        picture = evaluation.folder / f"neighbours-{evaluation.step:07d}.png"
        picture.parent.mkdir(exist_ok=True)  # the run folder itself is not made anew
        save_grid(torch.cat([drawn[fakes], known]), picture, columns=len(rows))
        return (picture,)


def copying(fakes: Tensor, held_out: Tensor) -> dict[str, float]:
    """Both figures of distances to the nearest training image, `(N,)` and `(M,)`."""
    ordered = held_out.sort().values
    above = len(ordered) - torch.searchsorted(ordered, fakes, right=True)
    at_least = len(ordered) - torch.searchsorted(ordered, fakes)
    rare = ordered[int(RARE * len(ordered))]
    return {
        "memorization": float((above + at_least).double().mean()) / (2 * len(ordered)),
        "copies": float((fakes < rare).double().mean()),
    }
