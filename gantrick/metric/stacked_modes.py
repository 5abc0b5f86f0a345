"""How many of the thousand modes of stacked digits a generator finds."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from gantrick.metric._features import FeatureMetric
from gantrick.types import Count, Dataset, Evaluation, Figures, GantrickError, Paper

DIGITS, CHANNELS = 10, 3


class StackedModes(FeatureMetric):
    """covered = #{m : p_g(m) > 0},  kl = Σ_m p_g(m) ln(p_g(m) / p_real(m))   (arXiv 1705.07761, 1712.04086)

    over the 1000 numbers m that a picture's red, green and blue digit read, as the classifier `mnist_cnn` sees them.

    modes/covered  how many of them are among the samples, 0 … 1000; papers draw 26,000
    modes/kl       KL(p_g ‖ p_real), the primary figure; p_real is the product of the data's shares of digits, of which
                   its pictures are drawn. Of n samples of p_real itself it is about 999 / 2n, not 0
    """

    name: ClassVar[str] = "stacked_modes"
    classifies: ClassVar[bool] = True
    paper: ClassVar[Paper | None] = Paper(
        "lin2018pacgan",
        "PacGAN: The power of two samples in generative adversarial networks",
        "Zinan Lin and Ashish Khetan and Giulia Fanti and Sewoong Oh",
        2018,
        arxiv="1712.04086",
        venue="Advances in Neural Information Processing Systems",
    )

    def __init__(self, samples: Count = 26_000, batch_size: Count = 128):
        super().__init__("mnist_cnn", samples, "train", None, None, batch_size)

    @property
    def primary(self) -> str:
        return "modes/kl"

    @property
    def directions(self) -> dict[str, Literal["lower", "higher"]]:
        return {"modes/kl": "lower", "modes/covered": "higher"}

    def check(self, dataset: Dataset) -> list[str]:
        if not getattr(dataset, "stacked_digits", False):
            return [
                "metric.stacked_modes: needs pictures of three digits; choose dataset=stacked_mnist, or metric=modes "
                "for dataset=ring or dataset=grid, or metric=fid for images"
            ]
        return []

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError where a digit is missing from the data."""
        network = self.network(evaluation.device)

        def read(images: Tensor) -> Tensor:
            digits = network.logits(images.flatten(0, 1)[:, None]).argmax(1)
            return number(digits.view(len(images), CHANNELS))

        labels = evaluation.reals(self.split).labels
        shares = digit_shares(labels.cpu()) if labels is not None else torch.zeros(DIGITS)
        if not bool((shares > 0).all()):
            raise GantrickError("a digit is missing from the data's labels; raise dataset.limit or dataset.samples")
        seen = torch.cat([batch.cpu() for batch in evaluation.fakes(self.samples, self.batch_size, read)])
        covered, kl = compared(seen, shares)
        protocol = {
            **self.protocol(evaluation, len(seen)),
            "modes": DIGITS**CHANNELS,
            "digits": [round(share, 6) for share in shares.tolist()],
        }
        return Figures({"modes/covered": covered, "modes/kl": kl}, protocol)


def number(digits: Tensor) -> Tensor:
    """100 a + 10 b + c of digits `(N, 3)`."""
    return digits @ torch.tensor([100, 10, 1], device=digits.device)


def digit_shares(labels: Tensor) -> Tensor:
    """How often each digit is in the numbers `(N,)`, wherever it stands: `(10,)`."""
    digits = torch.cat([labels // 100, labels // 10 % 10, labels % 10])
    return torch.bincount(digits, minlength=DIGITS).double() / len(digits)


def compared(seen: Tensor, shares: Tensor) -> tuple[float, float]:
    """(covered, kl) of the numbers `(N,)` that were seen."""
    counts = torch.bincount(seen, minlength=DIGITS**CHANNELS).double()
    generated, real = counts / len(seen), torch.einsum("a,b,c->abc", shares, shares, shares).flatten()
    kl = float(torch.special.xlogy(generated, generated / real).sum())
    return float((counts > 0).sum()), max(kl, 0.0)
