from __future__ import annotations

import torch
from torch import Tensor

from gantrick.layers.contrast import Similarities, compared
from gantrick.stages import Component
from gantrick.types import (
    Count,
    Fraction,
    Judged,
    NetworkSpec,
    NonNegative,
    Paper,
    PenaltyInputs,
    Positive,
)

HEAD = "d2d_ce"


class D2DCE(Component):
    """−E ln [a_i / (a_i + Σ_{y_j≠y_i} b_ij)], ln a_i = min(0, h_i·e_{y_i} − m_p)/τ, ln b_ij = max(0, h_i·h_j − m_n)/τ.

    The data-to-data cross entropy of ReACGAN: h is D's embedding of an image, e that of a class, both of length 1 and
    of `size` entries; only images of other classes are negatives, and what is easy (closer to its class than the
    margin, farther from the others) has no pull. D plays it on reals, G on fakes, times `weight`, over the batch of all
    processes. m_p 0.98, τ 0.5, weight 0.5 and 512 entries are StudioGAN's for CIFAR-10; m_n = 1 − m_p there, which null
    stands for. That code also takes each row's largest ln b off its ln b_ij, as a constant, and so weakens the
    negatives; the article does not, and nor does this. Source: Kang et al., arXiv 2111.01118.
    """

    paper = Paper(
        "kang2021rebooting",
        "Rebooting ACGAN: Auxiliary Classifier GANs with Stable Training",
        "Minguk Kang and Woohyeon Shim and Minsu Cho and Jaesik Park",
        2021,
        "2111.01118",
        "Advances in Neural Information Processing Systems",
    )
    needs = frozenset({"labels", "g.labels"})
    provides = frozenset({"d.labels", "d.finds_labels"})

    def __init__(
        self,
        weight: NonNegative = 0.5,
        temperature: Positive = 0.5,
        m_p: Fraction = 0.98,
        m_n: Fraction | None = None,
        size: Count = 512,
    ):
        super().__init__()
        self.weight, self.temperature, self.size = weight, temperature, size
        self.m_p, self.m_n = m_p, 1 - m_p if m_n is None else m_n

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        return compared(spec, HEAD, self.size)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        return self._error(inputs.real)

    def g_penalty(self, inputs: PenaltyInputs) -> Tensor:
        return self._error(inputs.fake)

    def _error(self, judged: Judged) -> Tensor:
        s = Similarities.of(judged, HEAD, self.size)
        positive = (s.own - self.m_p).clamp(max=0)[:, None] / self.temperature
        negative = (s.others - self.m_n).clamp(min=0) / self.temperature
        negative = torch.where(s.alike, torch.full_like(negative, -torch.inf), negative)
        return (torch.cat([positive, negative], 1).logsumexp(1) - positive[:, 0]).mean()
