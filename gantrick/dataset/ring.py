"""ring: Gaussians on a circle."""

from __future__ import annotations

import numpy as np

from gantrick.dataset._mixture import Mixture
from gantrick.types import Count, Paper, Positive


class Ring(Mixture):
    """μ_k = r (cos 2πk/M, sin 2πk/M), k = 0 … M−1: points (N, 2), labels k   (arXiv 1712.04086: M 8, r 1, σ 0.01).

    Unrolled GANs (arXiv 1611.02163) are shown on radius 2, std 0.02. Both splits hold `samples` points.
    """

    paper = Paper(
        "lin2018pacgan",
        "PacGAN: The power of two samples in generative adversarial networks",
        "Zinan Lin and Ashish Khetan and Giulia Fanti and Sewoong Oh",
        2018,
        arxiv="1712.04086",
        venue="Advances in Neural Information Processing Systems",
    )

    def __init__(self, modes: Count = 8, radius: Positive = 1.0, std: Positive = 0.01, samples: Count = 100_000):
        angle = 2 * np.pi * np.arange(modes) / modes
        super().__init__(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), std, samples)
