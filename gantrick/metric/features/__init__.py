"""Feature extractors for the distances between sets of images: one file here per extractor, found by name.

Such a file has a function `build(weights: str | None) -> Extractor`. It is imported when its extractor is
asked for, and not before, because the inception ones need torchvision.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import torch

from gantrick.metric.features.base import Extractor, MissingWeights

__all__ = ["Extractor", "MissingWeights", "extractor", "names", "shipped"]

SHARED = frozenset(
    {"base", "cnn", "fetching", "folding", "imagenet"}
)  # the files here that hold no extractor of their own


def names() -> tuple[str, ...]:
    """The extractors' names, sorted: the files of this folder."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name not in SHARED))


def shipped() -> tuple[str, ...]:
    """Those whose weights come with gantrick, sorted."""
    return tuple(sorted(file.stem for file in (Path(__file__).parent / "weights").glob("*.pt")))


def extractor(
    name: str, weights: str | None = None, device: str | torch.device = "cpu", resizer: str | None = None
) -> Extractor:
    """The extractor `name` on `device`, frozen: uint8 (B, C, H, W), C in {1, 3} -> float32 (B, F).

    `weights` is a file to use in place of the default weights, `resizer` a key of the extractor's `resizers` to use in
    place of its own. Raises ValueError for an unknown name or an unusable file, and MissingWeights where there is none.
    """
    if name not in names():
        raise ValueError(f"no feature extractor is called {name!r}; choose one of {', '.join(names())}")
    net: Extractor = importlib.import_module(f"{__name__}.{name}").build(weights)
    if resizer is not None:
        if resizer not in net.resizers:
            choice = f"choose {' or '.join(net.resizers)}" if net.resizers else "leave the resizer unset"
            raise ValueError(f"{name} resizes {net.resizer} and has no resizer {resizer}; {choice}")
        net.resizer = net.resizers[resizer]
    return net.freeze().to(device)
