"""The Fréchet distance within each class, of a generator that is asked for classes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from gantrick.metric._features import FeatureMetric, enough, finite, of
from gantrick.metric._frechet import Moments, distance
from gantrick.types import Bound, Count, Dataset, Evaluation, Figures, GantrickError, Paper


class ClassFID(FeatureMetric):
    """(1/C) Σ_c d²(reals of class c, fakes asked for class c),  d² as in `fid`   (Miyato and Koyama, arXiv 1802.05637)

    class_fid/<extractor>       the mean over classes; above `fid`, as the samples of each class are fewer
    label_accuracy/<extractor>  the share of fakes in which the extractor sees the class that was asked for, where it
                                has as many classes as the data; label_accuracy_of_reals/… is its own on the reals

    `references` is how many reals are compared, at most.
    """

    name: ClassVar[str] = "class_fid"
    needs: ClassVar[frozenset[str]] = frozenset({"g.labels"})
    paper: ClassVar[Paper | None] = Paper(
        "miyato2018cgans",
        "cGANs with Projection Discriminator",
        "Takeru Miyato and Masanori Koyama",
        2018,
        arxiv="1802.05637",
        venue="International Conference on Learning Representations",
    )

    def __init__(
        self,
        extractor: str = "inception",
        samples: Annotated[int, Bound(ge=2)] = 10_000,
        references: Annotated[int, Bound(ge=2)] = 50_000,
        split: Literal["train", "test"] = "train",
        weights: str | None = None,
        resizer: str | None = None,
        batch_size: Count = 128,
    ):
        super().__init__(extractor, samples, split, weights, resizer, batch_size)
        self.references = references

    def check(self, dataset: Dataset) -> list[str]:
        """Faults of the data, which must have labels."""
        if dataset.data.classes is None:
            return ["metric.class_fid: needs labels, and the data have none; choose metric=fid"]
        return super().check(dataset)

    @torch.no_grad()
    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError where the generator is asked for no labels, and for fewer than two images of a class."""
        network = self.network(evaluation.device)
        batches = list(evaluation.labelled_fakes(self.samples, self.batch_size, network))
        fakes, asked = (torch.cat([batch[i].cpu() for batch in batches]) for i in range(2))
        reference = self.features_of_reals(evaluation, self.references)
        labels, classes = evaluation.reals(self.split).labels, evaluation.dataset.data.classes
        if labels is None or classes is None:
            raise GantrickError("the data have no labels; choose metric=fid")
        labels = labels.cpu()[reference.rows]
        by_class = within(reference.features, labels, finite(fakes), asked, classes)
        values = {self.primary: sum(by_class) / classes}
        logits = [network.classify(x.to(evaluation.device)).cpu() for x in (fakes, reference.features)]
        if logits[0].shape[1] == classes:
            for name, found, wanted in zip(("", "_of_reals"), logits, (asked, labels), strict=True):
                values[f"label_accuracy{name}/{self.extractor}"] = float((found.argmax(1) == wanted).double().mean())
        return Figures(values, {**self.protocol(evaluation, len(fakes), of(reference)), "classes": classes})


def within(reals: Tensor, of_reals: Tensor, fakes: Tensor, of_fakes: Tensor, classes: int) -> list[float]:
    """d² of each class, of features `(N, F)` and labels `(N,)`."""
    found = []
    for label in range(classes):
        real, fake = reals[of_reals == label], fakes[of_fakes == label]
        enough(len(real), 2, f"reals of class {label}")
        enough(len(fake), 2, f"generated samples of class {label}")
        found.append(distance(Moments.of(real), Moments.of(fake)))
    return found
