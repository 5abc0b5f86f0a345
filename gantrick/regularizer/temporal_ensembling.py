from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gantrick import parallel
from gantrick.stages import Component, Forbidden
from gantrick.types import CLASSES, Batch, DiscriminatorOutput, NonNegative, Paper, PenaltyInputs, Rate, Record


class TemporalEnsembling(Component):
    """E_b max(0, λ₂ (D(x′) − D̄_b)² + 0.1 λ₂ mean_j (D_(x′)_j − D̄_b,j)² − M′): consistency with the passes before.

    In place of the second pass of regularizer.ct there is what D said of the same training image in earlier epochs: at
    each of its c_b visits L_b ← a L_b + (1 − a) D(x′), and D̄_b = L_b / (1 − a^c_b); the features D_ likewise. Before
    the first visit both are 0, as in the official code. λ₂ is `weight`, inside the maximum, M′ `margin`, a `decay`.

    compare=classes, for a D that tells classes: L_b gathers its logits l (B, K), and mean_k (softmax(l′)_k −
    softmax(l̄)_k)² stands in place of the scores' square, as in the official code.

    It needs one pass of the reals where `ct` needs two, and a memory of as many numbers for each training image as D
    has scores (or classes) and features; both are in the checkpoint. Visits count from when the image is first seen.
    What makes the passes differ is up to D (its dropout, trick.layer_noise, augmentation); the weights' change is left.
    Source: Laine and Aila, arXiv 1610.02242; in WGAN-CT's official code, CT_CIFAR-10_TE.py (λ₂ = 1, M′ = 0, a = 0.6).
    """

    paper = Paper(
        "laine2017temporal",
        "Temporal Ensembling for Semi-Supervised Learning",
        "Samuli Laine and Timo Aila",
        2017,
        "1610.02242",
        "International Conference on Learning Representations",
    )
    forbids = {
        "d.packs": Forbidden(
            "it remembers what D said of each image, and a pack is of other images each time", "leave one of them out"
        )
    }
    neutral = {"weight": 0.0}
    said: Tensor
    features: Tensor
    visits: Tensor

    def __init__(
        self,
        weight: NonNegative = 1.0,
        margin: NonNegative = 0.0,
        feature_weight: NonNegative = 0.1,
        decay: Rate = 0.6,
        compare: Literal["scores", "classes"] = "scores",
    ):
        super().__init__()
        self.weight, self.margin, self.feature_weight, self.decay = weight, margin, feature_weight, decay
        self.compare = compare
        if compare == "classes":
            self.needs = frozenset({"d.classes"})
        self.register_buffer("said", torch.empty(0, 0))  # sums L over the visits, (N, K)
        self.register_buffer("features", torch.empty(0, 0))  # (N, F)
        self.register_buffer("visits", torch.empty(0, dtype=torch.int64))

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        output, batch = inputs.real.output, inputs.real.batch
        self._hold(output, batch)
        said, features = self._means(batch)
        now = self._said(output)
        if self.compare == "classes":
            apart = (now.softmax(1) - said.softmax(1)).square().mean(1)
        else:
            apart = (now - said).square() @ inputs.score_weights
        apart = apart + self.feature_weight * (output.features - features).square().mean(1)
        return F.relu(apart - self.margin / self.weight).mean()

    @torch.no_grad()
    def adapt(self, records: list[Record]) -> None:
        for record in records:
            if record.player != "discriminator" or self.weight == 0:
                continue
            assert record.real is not None and record.real.batch.index is not None
            index, output = parallel.gather(record.real.batch.index), record.real.output
            for sums, new in ((self.said, self._said(output)), (self.features, output.features)):
                sums.index_copy_(0, index, torch.lerp(parallel.gather(new.to(sums)), sums[index], self.decay))
            self.visits.index_copy_(0, index, self.visits[index] + 1)

    def _said(self, output: DiscriminatorOutput) -> Tensor:
        return output.extra[CLASSES] if self.compare == "classes" else output.scores

    def _hold(self, output: DiscriminatorOutput, batch: Batch) -> None:
        """Makes room for all training images, as many as the first batch tells; nothing is said of them yet."""
        if len(self.visits) == batch.population:
            return
        device, count = output.scores.device, batch.population
        self.said = torch.zeros(count, self._said(output).shape[1], device=device)
        self.features = torch.zeros(count, output.features.shape[1], device=device)
        self.visits = torch.zeros(count, dtype=torch.int64, device=device)

    def _means(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.index is not None
        there = 1 - self.decay ** self.visits[batch.index].to(self.said)
        share = torch.where(there > 0, there, 1)[:, None]
        return self.said[batch.index] / share, self.features[batch.index] / share

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        for name in ("said", "features", "visits"):
            if (found := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.zeros_like(found, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *more)
