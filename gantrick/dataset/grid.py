"""grid: Gaussians on a square lattice."""

from __future__ import annotations

import numpy as np

from gantrick.dataset._mixture import Mixture
from gantrick.types import Count, Paper, Positive


class Grid(Mixture):
    """μ_k = s (i − (m−1)/2, j − (m−1)/2), k = m i + j: points (N, 2), labels k   (arXiv 1712.04086: m 5, s 2, σ 0.05).

    The published coordinates are kept: the default centres run over [−4, 4]. Both splits hold `samples` points.
    """

    paper = Paper(
        "lin2018pacgan",
        "PacGAN: The power of two samples in generative adversarial networks",
        "Zinan Lin and Ashish Khetan and Giulia Fanti and Sewoong Oh",
        2018,
        arxiv="1712.04086",
        venue="Advances in Neural Information Processing Systems",
    )

    def __init__(self, side: Count = 5, spacing: Positive = 2.0, std: Positive = 0.05, samples: Count = 100_000):
        line = spacing * (np.arange(side) - (side - 1) / 2)
        super().__init__(np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2), std, samples)
