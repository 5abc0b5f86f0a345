from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from gantrick import parallel
from gantrick.layers.logistic import log_odds
from gantrick.stages import Component, Forbidden
from gantrick.types import Batch, Bound, Count, DiscriminatorOutput, GantrickError, Paper


class RejectionSampling(Component):
    """A sample is kept with probability σ(F − γ), F = D̃ − D̃_M − log(1 − exp(D̃ − D̃_M − ε)): D's logit corrects G.

    At γ = 0 and ε → 0 this is exp(D̃ − D̃_M): where D̃ = log p_real/p_fake and D̃_M is its largest value, what is kept
    follows p_real, one of exp(D̃_M) samples. Refused ones are drawn again; training does not change.

    D̃ is the logit of being real that a logistic regression finds before drawing, on `samples` held-out reals (fewer
    where the test split has fewer) and as many fakes that count alike; D is not moved. head=features: on D's features
    and scores, as a last layer trained anew; score: on its scores alone (Platt); none: the weighted score itself, of
    losses whose scores are logits. D̃_M is the largest D̃ of so many further fakes, and γ the percentile of their F
    (null: 0); the higher, the pickier. ε is 1e-6. A sample beyond D̃_M counts as the largest in its own F alone, and
    D̃_M and γ stay, where the paper has those of the draws so far and of each batch: so a sample is kept or refused
    for itself, whatever else is drawn.

    Scores are asked of images as they are, without augmentation. Source: Azadi et al., arXiv 1810.06758; that it
    burns in on 10,000 samples and has γ at the 80th percentile is recalled, not checked (MH-GAN's code has the 95th).
    """

    paper = Paper(
        "azadi2019discriminator",
        "Discriminator Rejection Sampling",
        "Samaneh Azadi and Catherine Olsson and Trevor Darrell and Ian Goodfellow and Augustus Odena",
        2019,
        "1810.06758",
        "International Conference on Learning Representations",
    )
    forbids = {
        "d.packs": Forbidden("a sample is kept by its own score, and a pack has one for all", "leave one of them out"),
        "d.batch_coupled": Forbidden(
            "a sample is kept by its own score, and D scores the samples of a batch together", "leave one of them out"
        ),
    }
    exercise = {"samples": 100}
    EPSILON = 1e-6

    def __init__(
        self,
        head: Literal["features", "score", "none"] = "features",
        samples: Count = 10_000,
        percentile: Annotated[float, Bound(ge=0, le=100)] | None = 80.0,
    ):
        super().__init__()
        self.head, self.samples, self.percentile = head, samples, percentile
        if head == "none":
            self.needs = frozenset({"probability_scores"})
            self.forbids = {
                **self.forbids,
                "d.energy": Forbidden("minus an energy is no logit", "set head to features or score"),
            }
        self._weights = torch.ones(1)  # of the scores
        self._logit: tuple[Tensor, Tensor] | None = None
        self._most = self._gamma = torch.zeros(())

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self._weights = discriminator.score_weights  # type: ignore[assignment]

    def calibrate(
        self,
        discriminator: Callable[..., DiscriminatorOutput],
        fakes: Callable[[int], Iterator[Batch]],
        reals: Callable[[int], Iterator[Batch]],
    ) -> None:
        def asked(batches: Iterator[Batch]) -> Tensor:
            found = torch.cat([self._told(discriminator(batch.images, batch.labels)) for batch in batches])
            if not bool(torch.isfinite(found).all()):
                raise GantrickError(
                    f"{self.label}: D gives values that are not finite; draw from an earlier checkpoint"
                )
            return found

        self._logit = None
        if self.head != "none":
            self._logit = log_odds(asked(reals(self.samples)), asked(fakes(self.samples)))
        logits = self._logits(asked(fakes(self.samples)))
        self._most, self._gamma = logits.max(), torch.zeros_like(logits[0])
        if self.percentile is not None:
            self._gamma = torch.quantile(self._f(logits), self.percentile / 100)

    def accept(self, mask: Tensor, images: Tensor, output: DiscriminatorOutput) -> Tensor:
        kept = torch.sigmoid(self._f(self._logits(self._told(output))) - self._gamma)
        return mask & (parallel.rand(len(images), device=images.device) < kept)

    def _told(self, output: DiscriminatorOutput) -> Tensor:
        """What D̃ is a linear function of: (B, F)."""
        if self.head == "features":
            return torch.cat([output.features.flatten(1), output.scores], 1)
        return (output.scores @ self._weights)[:, None]

    def _logits(self, told: Tensor) -> Tensor:
        if self._logit is None:
            return told[:, 0]
        weight, bias = self._logit
        return told @ weight + bias

    def _f(self, logits: Tensor) -> Tensor:
        below = logits - torch.maximum(logits, self._most)
        return below - torch.log(-torch.expm1(below - self.EPSILON))
