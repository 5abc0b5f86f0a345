"""How many modes of a known mixture a generator finds, and how much of what it draws lies in one."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gantrick.types import Count, Dataset, Evaluation, Figures, GantrickError, Metric, Paper, Positive

SIDE = 512  # pixels of the picture
FINER = 4  # it is drawn so many times larger and averaged down, which is its antialiasing
REAL, FAKE, CENTRE = (190, 190, 190), (31, 90, 200), (220, 60, 40)


class Modes(Metric):
    """covered = #{k : some x with |x − μ_k| ≤ 3 σ}, high_quality = share of the x within 3 σ of the nearest centre μ_k.

    x are samples, μ_k the M centres of a mixture with standard deviation σ; `radius_stds` is the 3
    (Srivastava et al., arXiv 1705.07761; counted so by Lin et al., arXiv 1712.04086).

    modes/covered       how many modes are covered, 0 … M
    modes/high_quality  the share of the samples that are of high quality, 0 … 1
    modes/kl            Σ_k p_k ln(p_k M) with p_k the share of mode k among the samples of high quality: 0 where they
                        are spread evenly, ln M where one mode has them all, and ln M too where there are none
    modes/score         covered + high_quality, the primary figure: more modes are always better, then more quality

    Of a perfect generator in the plane and 3 σ, 1 − e^(−9/2) = 98.9 % are of high quality. The data set says its
    `centers` (M, 2) and `std`. The picture modes-<step>.png has reals in grey, above them fakes in blue, and a red
    circle where high quality ends; its frame is that of the reals, whatever the fakes do.
    """

    paper: ClassVar[Paper | None] = Paper(
        "srivastava2017veegan",
        "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning",
        "Akash Srivastava and Lazar Valkov and Chris Russell and Michael U. Gutmann and Charles Sutton",
        2017,
        arxiv="1705.07761",
        venue="Advances in Neural Information Processing Systems",
    )
    lower_is_better: ClassVar[bool] = False

    def __init__(self, samples: Count = 2500, radius_stds: Positive = 3.0):
        self.samples, self.radius_stds = samples, radius_stds

    @property
    def primary(self) -> str:
        return "modes/score"

    @property
    def directions(self) -> dict[str, Literal["lower", "higher"]]:
        higher = ("modes/score", "modes/covered", "modes/high_quality")
        return {**{name: "higher" for name in higher}, "modes/kl": "lower"}

    def check(self, dataset: Dataset) -> list[str]:
        if _mixture(dataset) is None:
            return [
                "metric.modes: needs a data set of points that knows its modes (centers and std); "
                "choose dataset=ring or dataset=grid, or metric=fid for images"
            ]
        return []

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError where the data set does not know its modes."""
        mixture = _mixture(evaluation.dataset)
        if mixture is None:
            raise GantrickError(*self.check(evaluation.dataset))
        centers, std = mixture
        radius = self.radius_stds * std
        points = torch.cat([batch.cpu() for batch in evaluation.fakes(self.samples)])
        values = count(points, centers, radius)
        protocol: dict[str, Any] = {
            "modes": len(centers),
            "extent": round(float(centers.abs().max()), 6),
            "std": std,
            "radius_stds": self.radius_stds,
            "fakes": len(points),
            "quantisation": "none",
            **evaluation.drawing,
        }
        if evaluation.folder is None:
            return Figures({f"modes/{k}": v for k, v in values.items()}, protocol)
        picture = evaluation.folder / f"modes-{evaluation.step:07d}.png"
        picture.parent.mkdir(exist_ok=True)  # the run folder itself is not made anew
        reals = evaluation.reals().images[: self.samples].cpu()
        scatter(reals, points, centers, radius).save(picture)
        return Figures({f"modes/{k}": v for k, v in values.items()}, protocol, (picture,))


def count(points: Tensor, centers: Tensor, radius: float) -> dict[str, float]:
    """The four figures of points `(N, 2)`. A point that is not finite is of no quality."""
    exact = "donot_use_mm_for_euclid_dist"  # the other way takes differences of squares
    distance, nearest = torch.cdist(points.double(), centers.double(), compute_mode=exact).min(1)
    inside = nearest[distance <= radius]
    histogram = torch.bincount(inside, minlength=len(centers)).double()
    kl = math.log(len(centers))
    if len(inside):
        share = histogram / len(inside)
        kl = float(torch.special.xlogy(share, share * len(centers)).sum())
    covered, quality = float((histogram > 0).sum()), len(inside) / len(points)
    return {"covered": covered, "high_quality": quality, "kl": max(kl, 0.0), "score": covered + quality}


def scatter(reals: Tensor, fakes: Tensor, centers: Tensor, radius: float) -> Image.Image:
    """Reals and fakes `(N, 2)` in a square of the plane that holds all reals and circles, y upwards."""
    low = torch.minimum(reals.amin(0), centers.amin(0) - radius)
    high = torch.maximum(reals.amax(0), centers.amax(0) + radius)
    size = SIDE * FINER
    scale = size / (1.1 * float((high - low).max()))
    middle = (low + high) / 2

    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)

    def circles(points: Tensor, pixels: float, **style: Any) -> None:
        at = (points - middle) * scale * torch.tensor([1.0, -1.0]) + size / 2
        seen = ((at >= 0) & (at <= size)).all(1)  # not those that are not finite either
        for x, y in at[seen].tolist():
            draw.ellipse((x - pixels, y - pixels, x + pixels, y + pixels), **style)

    circles(reals, 1.5 * FINER, fill=REAL)
    circles(fakes, 1.5 * FINER, fill=FAKE)
    circles(centers, max(radius * scale, 4.0 * FINER), outline=CENTRE, width=FINER)
    return picture.reduce(FINER)


def _mixture(dataset: Dataset) -> tuple[Tensor, float] | None:
    """The centres `(M, 2)` on the CPU and the standard deviation, of a data set that has them."""
    centers, std = getattr(dataset, "centers", None), getattr(dataset, "std", None)
    if dataset.data.shape != (2,) or centers is None or std is None:
        return None
    return torch.as_tensor(centers).float().cpu(), float(std)
