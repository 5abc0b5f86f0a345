from __future__ import annotations

import torch
from torch import Tensor

from gantrick.layers.contrast import Similarities, compared
from gantrick.stages import Component
from gantrick.types import Count, Judged, NetworkSpec, NonNegative, Paper, PenaltyInputs, Positive

HEAD = "contragan"


class Contragan(Component):
    """−E ln [(a_i + Σ_{k≠i, y_k=y_i} b_ik) / (a_i + Σ_{k≠i} b_ik)], a_i = exp(h_i·e_{y_i}/τ), b_ik = exp(h_i·h_k/τ).

    The conditional contrastive loss (2C): h is D's embedding of an image, e the embedding of a class, both of length 1
    and of `size` entries; τ is `temperature`. D plays it on reals, G on fakes, in addition to the adversarial loss and
    times `weight`, over the batch of all processes. τ and weight of 1 and 512 entries are StudioGAN's for CIFAR-10.
    Source: Kang and Park, arXiv 2006.12681.
    """

    paper = Paper(
        "kang2020contragan",
        "ContraGAN: Contrastive Learning for Conditional Image Generation",
        "Minguk Kang and Jaesik Park",
        2020,
        "2006.12681",
        "Advances in Neural Information Processing Systems",
    )
    needs = frozenset({"labels", "g.labels"})
    provides = frozenset({"d.labels", "d.finds_labels"})

    def __init__(self, weight: NonNegative = 1.0, temperature: Positive = 1.0, size: Count = 512):
        super().__init__()
        self.weight, self.temperature, self.size = weight, temperature, size

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        return compared(spec, HEAD, self.size)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        return self._contrast(inputs.real)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._contrast(inputs.fake)

    def _contrast(self, judged: Judged) -> Tensor:
        s = Similarities.of(judged, HEAD, self.size)
        own, others = s.own[:, None] / self.temperature, s.others / self.temperature
        never = torch.full_like(others, -torch.inf)
        above = torch.cat([own, torch.where(s.alike & ~s.itself, others, never)], 1).logsumexp(1)
        below = torch.cat([own, torch.where(s.itself, never, others)], 1).logsumexp(1)
        return (below - above).mean()
