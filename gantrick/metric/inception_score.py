"""How sure a classifier is of each generated image, and how unlike its answers are."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gantrick.metric._features import FeatureMetric, enough, precise
from gantrick.types import Bound, Count, Evaluation, Figures, Paper


class InceptionScore(FeatureMetric):
    """exp E_x KL(p(y|x) ‖ p(y)),  p(y) = E_x p(y|x)   (Salimans et al., arXiv 1606.03498)

    over fakes x and the K classes y of the extractor: 1 … K. The mean of `splits` equal parts, and its deviation among
    them as inception_score_std/inception; papers take 50,000 fakes in 10. As in the authors' code the last layer of
    Inception has no bias. The score of another classifier is classifier_score/<extractor>. Reals are not looked at.
    """

    name: ClassVar[str] = "inception_score"
    classifies: ClassVar[bool] = True
    lower_is_better: ClassVar[bool] = False
    paper: ClassVar[Paper | None] = Paper(
        "salimans2016improved",
        "Improved Techniques for Training GANs",
        "Tim Salimans and Ian Goodfellow and Wojciech Zaremba and Vicki Cheung and Alec Radford and Xi Chen",
        2016,
        arxiv="1606.03498",
        venue="Advances in Neural Information Processing Systems",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=2)] = 10_000,
        splits: Count = 10,
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, "train", weights, resizer, batch_size)
        self.splits = splits

    @property
    def primary(self) -> str:
        return f"{'inception' if self.extractor == 'inception' else 'classifier'}_score/{self.extractor}"

    @torch.no_grad()
    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError for fewer than two fakes in a part."""
        fakes = self.features_of_fakes(evaluation)
        enough(len(fakes) // self.splits, 2, f"generated samples in each of {self.splits} splits")
        network = self.network(evaluation.device)
        logits = network.classify(fakes.to(evaluation.device))
        if self.extractor == "inception":
            logits = logits - network.classify(torch.zeros_like(fakes[:1]).to(evaluation.device))
        parts = precise(logits, evaluation.device).tensor_split(self.splits)
        scores = torch.stack([score(part) for part in parts])
        name, _, extractor = self.primary.partition("/")
        values = {self.primary: float(scores.mean()), f"{name}_std/{extractor}": float(scores.std(correction=0))}
        return Figures(values, {**self.protocol(evaluation, len(fakes)), "splits": self.splits})


def score(logits: Tensor) -> Tensor:
    """exp of the mean KL, of logits `(N, K)`."""
    log_p = logits.log_softmax(1)
    log_mean = log_p.logsumexp(0) - torch.tensor(len(log_p)).to(log_p).log()
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()
