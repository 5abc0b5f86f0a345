from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from gantrick.stages import Component, Forbidden
from gantrick.types import Count, Latents, NetworkSpec, Paper


class LabelConcat(Component):
    """G(z, e_y) and D(x, e_y): the label's embedding e_y beside z, and beside what D sees or its features.

    d_place: `input` adds the embedding as constant maps to the images D sees, `features` (B, F) to what its heads read,
    `both` does both; `none` tells G alone, for a D that is to find the label (acgan and its like). size: entries of
    each embedding; null is one-hot, nothing learned, as in the paper.
    Source: Mirza and Osindero, arXiv 1411.1784.
    """

    paper = Paper(
        "mirza2014conditional",
        "Conditional Generative Adversarial Nets",
        "Mehdi Mirza and Simon Osindero",
        2014,
        "1411.1784",
    )
    claims = frozenset({"g.condition"})
    needs = frozenset({"labels"})
    provides = frozenset({"g.labels", "d.labels"})
    forbids: Mapping[str, Forbidden] = {
        "d.finds_labels": Forbidden(
            "D is to find the label in the image, and would read it beside it",
            "set trick.label_concat.d_place=none, or tell G the label by trick=conditional_batch_norm",
        )
    }

    def __init__(self, d_place: Literal["input", "features", "both", "none"] = "input", size: Count | None = None):
        super().__init__()
        self.d_place, self.size = d_place, size
        if d_place == "none":
            self.needs, self.provides, self.forbids = frozenset({"labels", "d.labels"}), frozenset({"g.labels"}), {}

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        classes = spec.data.classes
        assert classes is not None

        def embedding() -> Embedding:
            return Embedding(classes, self.size)

        first, z_size = spec.g_condition, spec.z_size
        assert first is None, "g.condition is held alone"
        changes: dict[str, object] = {"g_condition": _Beside(embedding, z_size)}
        if self.d_place in ("input", "both"):
            channels = spec.d_channels or spec.data.shape[0]
            changes["d_channels"] = channels + (self.size or classes)
            changes["d_inputs"] = (*spec.d_inputs, lambda: AtInput(embedding()))
        if self.d_place in ("features", "both"):
            changes["necks"] = (*spec.necks, lambda features: AtFeatures(embedding(), features))
        told = "G" if self.d_place == "none" else "G and D"
        beside = "" if self.d_place == "none" else f" and D's {self.d_place}"
        return spec.but(f"{told}: labels of {classes} classes beside z{beside}", **changes)


class Embedding(nn.Module):
    """y (B,) -> (B, E): learned, N(0, 1) at first, or one-hot."""

    def __init__(self, classes: int, size: int | None):
        super().__init__()
        self.classes, self.size = classes, size or classes
        self.table = nn.Parameter(torch.randn(classes, size)) if size else None

    def forward(self, labels: Tensor | None) -> Tensor:
        assert labels is not None
        if self.table is not None:
            return nn.functional.embedding(labels, self.table)
        return nn.functional.one_hot(labels, self.classes).float()


class AtInput(nn.Module):
    """x (B, C, H, W) or (B, D) -> x with E more channels or dimensions, the same at every place."""

    def __init__(self, embedding: Embedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        e = self.embedding(labels).to(images.dtype)
        if images.ndim == 4:
            e = e[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return torch.cat([images, e], 1)


class AtFeatures(nn.Module):
    """v (B, F) -> (B, F + E)."""

    def __init__(self, embedding: Embedding, features: int):
        super().__init__()
        self.embedding, self.features = embedding, features + embedding.size

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat([features, self.embedding(labels)], 1)


class _Beside:
    """blocks -> module: Latents -> ([z, e_y], no conditions)."""

    def __init__(self, embedding: object, z_size: int):
        self.embedding = embedding
        self.first_size = z_size + embedding().size  # type: ignore[operator]

    def __call__(self, blocks: int) -> nn.Module:
        return _First(self.embedding(), blocks)  # type: ignore[operator]


class _First(nn.Module):
    def __init__(self, embedding: Embedding, blocks: int):
        super().__init__()
        self.embedding, self.blocks = embedding, blocks

    def forward(self, latents: Latents) -> tuple[Tensor, list[Tensor | None]]:
        return torch.cat([latents.z, self.embedding(latents.labels)], 1), [None] * self.blocks
