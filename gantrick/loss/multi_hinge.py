from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick.stages import Component
from gantrick.types import Judged, ModuleFactory, NetworkSpec, Paper, Scored, Targets


class MultiHinge(Component):
    """D: E relu(1 + max_{k≠y} l_k(x) − l_y(x)) on reals, the same on fakes with y = "fake"; G: the same with its own y.

    l are logits (B, classes + 1), the last of them "fake" (Crammer and Singer's hinge). D's scores (B, 2) are the two
    margins that these compare, both high for reals: s_1 = l_y − max_{k≠y} l_k and s_2 = max_{k≤classes} l_k − l_fake;
    D: E relu(1 − s_1(x)) + E relu(1 + s_2(G)), G: E relu(1 − s_1(G)).
    Source: Kavalerov et al., arXiv 1912.04216; they add feature matching to G's loss, a regularizer here
    (their code: 0.05 of this term and 1 of the mean L1, which is regularizer.feature_matching.weight=20).
    """

    paper = Paper(
        "kavalerov2021multi",
        "A Multi-Class Hinge Loss for Conditional GANs",
        "Ilya Kavalerov and Wojciech Czaja and Rama Chellappa",
        2021,
        "1912.04216",
        "IEEE Winter Conference on Applications of Computer Vision",
    )
    claims = frozenset({"d.head", "d.direction"})
    needs = frozenset({"labels", "g.labels"})
    provides = frozenset({"d.labels", "d.finds_labels", "comparable_scores"})

    def __init__(self) -> None:
        super().__init__()

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None

        def head(features: int, direction: ModuleFactory) -> Margins:
            return Margins(features, classes)

        return spec.but(f"D head: margins among {classes} classes and fake", head=head, score_weights=(1.0, 1.0))

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return Scored({"real": _first(F.relu(1 - real.scores)), "fake": _second(F.relu(1 + fake.scores))})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": _first(F.relu(1 - fake.scores))})


class Margins(nn.Linear):
    """v (B, F), y (B,) -> [l_y − max_{k≠y} l_k, max_{k≤classes} l_k − l_fake] (B, 2)."""

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes + 1)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        logits = super().forward(features)
        own = F.one_hot(labels, logits.shape[1]).bool()
        wrong = logits.masked_fill(own, -torch.inf).amax(1)
        return torch.stack([logits[own] - wrong, logits[:, :-1].amax(1) - logits[:, -1]], 1)


def _first(values: Tensor) -> Tensor:
    return values * values.new_tensor([1.0, 0.0])


def _second(values: Tensor) -> Tensor:
    return values * values.new_tensor([0.0, 1.0])
