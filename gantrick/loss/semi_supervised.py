from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import papers
from gantrick.layers.cross_entropy import cross_entropy, judge_by_labels
from gantrick.stages import Component, Forbidden
from gantrick.types import (
    CLASSES,
    ConfigError,
    Count,
    Judged,
    NetworkSpec,
    NonNegative,
    PenaltyInputs,
    Samples,
    Scored,
    Stream,
    Targets,
    Whole,
)

LABELLED = "labelled"  # the stream of images whose labels are known


class SemiSupervised(Component):
    """D: E CE(l(x), y) + (w/2) (E sp(−Z(u)) + E sp(Z(G))), Z = log Σ_k exp l_k; G: E sp(−Z(G)), sp the softplus.

    l are D's logits of the K classes (B, K), `classes` in its output's extra; "fake" is no class of its own but has the
    logit 0, so that D's score Z (B, 1) is the logit of being real, and a penalty differentiates Z. x are images with
    labels, `labels_per_class` of each class, chosen by `labels_seed` and no other seed; u are the reals of the run, all
    of them, whose labels nobody looks at. w is `unlabelled_weight`; with 0 D learns from the labelled images alone.
    The published runs have regularizer=[feature_matching] in the place of G's term, and WGAN-CT's consistency term on
    the classes (regularizer=[ct], compare: classes). Raises ConfigError where a class has too few images.
    Source: Salimans et al., arXiv 1606.03498, section 5; the halves and logit 0 as in their code.
    """

    paper = papers.IMPROVED
    claims = frozenset({"d.head", "d.direction"})
    needs = frozenset({"labels"})
    provides = frozenset({"targets", "comparable_scores", "probability_scores", "d.classes"})
    forbids: Mapping[str, Forbidden] = {
        "d.labels": Forbidden(
            "it would look at the label of every real image, and here only those of a few are known",
            "leave the trick that shows D labels out, or choose another loss",
        ),
        "d.packs": Forbidden("an image has a class, and a pack of several has none", "leave one of them out"),
    }
    boundary = 0.0

    def __init__(
        self,
        labels_per_class: Count = 10,
        labels_seed: Whole = 0,
        labelled_batch_size: Count = 100,
        unlabelled_weight: NonNegative = 1.0,
    ):
        super().__init__()
        self.labels_per_class, self.labels_seed = labels_per_class, labels_seed
        self.labelled_batch_size, self.unlabelled_weight = labelled_batch_size, unlabelled_weight
        self._classes = 0

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None
        self._classes = classes
        heads = {**spec.d_heads, CLASSES: lambda features: nn.Linear(features, classes)}
        return spec.but(f"D head: logits of {classes} classes, whose logsumexp is the score", d_heads=heads, score=real)

    def streams(self) -> dict[str, Stream]:
        return {LABELLED: Stream(self.labelled_batch_size, self._labelled)}

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        found = judge_by_labels(real, fake, targets).values
        return Scored({name: 0.5 * self.unlabelled_weight * value for name, value in found.items()})

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        known = inputs.real.batch.extra[LABELLED]
        assert known.labels is not None
        return F.cross_entropy(inputs.critic(known.images, raw=True).extra[CLASSES], known.labels)

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        assert targets.generator is not None
        return Scored({"fake": cross_entropy(fake.scores, targets.generator)})

    def _labelled(self, samples: Samples) -> Tensor:
        """Ascending rows (K · labels_per_class,), as many of each class."""
        assert samples.labels is not None
        source = torch.Generator().manual_seed(self.labels_seed)
        order = torch.randperm(len(samples), generator=source)
        chosen = []
        for label in range(self._classes):
            rows = order[samples.labels[order] == label]
            if len(rows) < self.labels_per_class:
                raise ConfigError(
                    f"loss.labels_per_class: {self.labels_per_class} are asked for, and class {label} has "
                    f"{len(rows)} training images; lower it"
                )
            chosen.append(rows[: self.labels_per_class])
        return torch.cat(chosen).sort().values


def real(said: Mapping[str, Tensor]) -> Tensor:
    """log Σ_k exp l_k: the logit (B, 1) of being of any class, where being fake has the logit 0."""
    return said[CLASSES].logsumexp(1, keepdim=True)
