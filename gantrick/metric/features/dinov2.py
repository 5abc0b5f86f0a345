"""dinov2: the ViT-L/14 of DINOv2 (Oquab et al. 2023, arXiv:2304.07193), trained without labels.

Its distance is the FD-DINOv2 of Stein et al. (2023, arXiv:2306.04675), resized as EDM2's code does it. The network's
code comes from its authors' repository through torch.hub, where it is not in torch.hub's folder yet.
"""

from __future__ import annotations

import http.client
import warnings
from typing import Any

import torch
from torch import nn

from gantrick.metric.features.base import MissingWeights, load_into
from gantrick.metric.features.fetching import impatient, locate
from gantrick.metric.features.imagenet import ImageNet, untrained

CODE = "facebookresearch/dinov2"
URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"


class DINOv2(ImageNet):
    """uint8 (B, C, H, W) -> the 1024 features of the normalised class token; it has no classes."""

    name = "dinov2"
    dim = 1024


def network() -> nn.Module:
    """The untrained ViT-L/14. Raises MissingWeights where its code cannot be had."""
    try:
        with impatient(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # xFormers is not there
            load: Any = torch.hub.load
            net: nn.Module = load(f"{CODE}:main", "dinov2_vitl14", pretrained=False, trust_repo=True, verbose=False)
    except (OSError, RuntimeError, ImportError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())
        raise MissingWeights(
            f"dinov2 could not get its network's code ({reason}); unpack https://github.com/{CODE} as "
            f"{torch.hub.get_dir()}/facebookresearch_dinov2_main"
        ) from error
    return net


def build(weights: str | None) -> DINOv2:
    """The extractor with the weights of the file `weights`, of torch.hub's folder, or downloaded to there.

    The file's name has no checksum in it; the figure's protocol has that of the weights.
    """
    path = locate(DINOv2.name, weights, URL, hashed=False)
    net = untrained(network)
    load_into(net, path, DINOv2.name)
    return DINOv2(net)
