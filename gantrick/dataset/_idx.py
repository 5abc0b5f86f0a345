"""MNIST and the sets that took over its files."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from gantrick.dataset._download import data_root, obtain
from gantrick.types import ConfigError, Samples


def load_idx(who: str, kind: Any, root: str | None, train: bool, size: int, download: bool) -> Samples:
    """uint8 (N, 1, size, size), the 28 pixels with a black margin, and labels; `kind` is torchvision's class."""
    home = data_root(root)
    folder = f"{kind.__name__}/raw"
    files = [f"{part}-{name}" for part in ("train", "t10k") for name in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    remedy = (
        f"put {', '.join(files)} into {home / folder}, "
        f"or name the folder that holds {folder} with dataset.root or GANTRICK_DATA"
    )
    found = obtain(who, kind, home, download, f"{folder}/*.gz", remedy, train=train)
    if found.data.shape[1:] != (28, 28) or len(found.data) != len(found.targets):
        raise ConfigError(f"dataset {who}: the files in {home / folder} are not those of {kind.__name__}; {remedy}")
    margin = (size - 28) // 2
    return Samples(F.pad(found.data[:, None], (margin,) * 4), found.targets.long())
