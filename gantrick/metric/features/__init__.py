"""Feature extractors for the distances between sets of images: one file here per extractor, found by name.

Such a file has a function `build(weights: str | None) -> Extractor`. It is imported when its extractor is
asked for, and not before, because the inception ones need torchvision.
"""

from __future__ import annotations

import importlib
import pkgutil

import torch

from gantrick.metric.features.base import Extractor, MissingWeights

__all__ = ["Extractor", "MissingWeights", "extractor", "names"]

SHARED = frozenset({"base", "cnn"})  # the files here that hold no extractor of their own


def names() -> tuple[str, ...]:
    """The extractors' names, sorted: the files of this folder."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name not in SHARED))


def extractor(name: str, weights: str | None = None, device: str | torch.device = "cpu") -> Extractor:
    """The extractor `name` on `device`, frozen: uint8 (B, C, H, W), C in {1, 3} -> float32 (B, F).

    `weights` is a file to use in place of the default weights. Raises ValueError for an unknown name or an
    unusable file, and MissingWeights where there is no file.
    """
    if name not in names():
        raise ValueError(f"no feature extractor is called {name!r}; choose one of {', '.join(names())}")
    net: Extractor = importlib.import_module(f"{__name__}.{name}").build(weights)
    return net.freeze().to(device)
