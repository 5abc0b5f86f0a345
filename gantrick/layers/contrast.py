"""A discriminator's embedding of an image beside the proxies of the classes, for losses that compare them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import parallel
from gantrick.types import Judged, NetworkSpec


class Embedded(nn.Module):
    """v (B, F) -> [h, ⟨h, e_1⟩ … ⟨h, e_K⟩] (B, size + K): h = W v and the proxies e_k all of length 1."""

    def __init__(self, features: int, size: int, classes: int):
        super().__init__()
        self.project = nn.Linear(features, size)
        self.proxies = nn.Embedding(classes, size)

    def forward(self, features: Tensor) -> Tensor:
        h = F.normalize(self.project(features), dim=1)
        return torch.cat([h, h @ F.normalize(self.proxies.weight, dim=1).T], 1)


def compared(spec: NetworkSpec, name: str, size: int) -> NetworkSpec:
    """The spec whose D gives such an embedding as `extra[name]`."""
    classes = spec.data.classes
    assert classes is not None
    heads = {**spec.d_heads, name: lambda features: Embedded(features, size, classes)}
    return spec.but(f"D: embeddings of images and of {classes} classes, compared", d_heads=heads)


@dataclass(frozen=True)
class Similarities:
    """Of this process's samples: own, the cosine to their class's proxy (b,); others, the cosines to the samples of the
    whole batch (b, B); alike, which of those have the same label, and itself, the sample itself, both (b, B) of bool.
    """

    own: Tensor
    others: Tensor
    alike: Tensor
    itself: Tensor

    @classmethod
    def of(cls, judged: Judged, name: str, size: int) -> Similarities:
        labels, said = judged.batch.labels, judged.output.extra[name]
        assert labels is not None
        h, to_proxies = said[:, :size], said[:, size:]
        whole, all_labels = parallel.gather(h), parallel.gather(labels)
        places = torch.arange(len(h), device=h.device) + parallel.rank() * len(h)
        itself = F.one_hot(places, len(whole)).bool()
        alike = labels[:, None] == all_labels[None]
        return cls(to_proxies.gather(1, labels[:, None])[:, 0], h @ whole.T, alike, itself)
