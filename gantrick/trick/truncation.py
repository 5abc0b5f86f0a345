from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gantrick import papers
from gantrick.stages import Component, Forbidden
from gantrick.types import Latents, NetworkSpec, Positive


class Truncation(Component):
    """Draws from latents nearer to the middle, |z_j| ≤ t: better samples, fewer kinds. Training does not change.

    resample  z_j ~ N(0, 1) given |z_j| ≤ t, which is what drawing again until it holds gives (Brock et al.'s way).
              z ↦ Φ⁻¹(Φ(−t) + Φ(z) (Φ(t) − Φ(−t))) has that law, draws no numbers, and keeps the order of all z, so that
              the samples of one seed at several t belong together. Of U(−1, 1): z ↦ min(t, 1) z.
    clip      z_j ↦ max(−t, min(t, z_j))
    scale     z ↦ t z   (a normal of standard deviation t, as in BigGAN-PyTorch's z_var = t²)

    Source: Brock et al., arXiv 1809.11096 (section 3.1), with t from 0.02 to 2; threshold null leaves z alone.
    """

    paper = papers.BIGGAN
    forbids = {"z.codes": Forbidden("codes are not noise, and would be moved", "leave truncation out")}
    neutral = {"threshold": None}
    exercise = {"threshold": 0.5}

    def __init__(self, threshold: Positive | None = 1.0, how: Literal["resample", "clip", "scale"] = "resample"):
        super().__init__()
        self.threshold, self.how = threshold, how
        self._uniform = False

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        self._uniform = spec.z_distribution == "uniform"
        return spec

    def truncate(self, latents: Latents) -> Latents:
        if self.threshold is None:
            return latents
        return Latents(self._nearer(latents.z, self.threshold), latents.labels)

    def _nearer(self, z: Tensor, t: float) -> Tensor:
        if self.how == "scale":
            return t * z
        if self.how == "clip":
            return z.clamp(-t, t)
        if self._uniform:
            scaled: Tensor = min(t, 1.0) * z
            return scaled
        exact = z.double()  # in float32 Φ has no digits left beyond z = 5
        low = torch.special.ndtr(torch.tensor(-t, dtype=torch.float64, device=z.device))
        inside: Tensor = torch.special.ndtri(low + torch.special.ndtr(exact) * (1 - 2 * low))
        return inside.clamp(-t, t).to(z.dtype)
