"""Logistic regression between two samples, by scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STRENGTH = 1.0  # C of scikit-learn: a normal prior of variance C on each standardised weight
ITERATIONS = 1000


def log_odds(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """(w (F,), b) for which w·h + b is the logit of being real, of samples (N, F) and (M, F) that count alike.

    It minimises the mean of E sp(−l(real)) and E sp(l(fake)), times N + M, and ‖w ⊙ σ‖²/2C with σ the standard
    deviations of the features; b is free. float32, on the device of `real`.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    found = torch.cat([real, fake]).float()
    spread, mean = torch.std_mean(found, 0)
    spread = torch.where(spread > 1e-6 * mean.abs(), spread, 1.0)  # a feature that says nothing
    standardised = found.sub_(mean).div_(spread).cpu().numpy()  # in place: there may be gigabytes
    is_real = np.arange(len(standardised)) < len(real)
    regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=ITERATIONS)
    regression.fit(standardised, is_real)
    weight = torch.from_numpy(regression.coef_[0]).to(spread) / spread
    return weight, torch.from_numpy(regression.intercept_).to(spread)[0] - weight @ mean
