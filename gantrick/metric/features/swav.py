"""swav: the ResNet-50 that SwAV trained without labels (Caron et al. 2020, arXiv:2006.09882; 800 epochs).

Morozov et al. (ICLR 2021, "On Self-Supervised Image Representations for GAN Evaluation") take its features for FID.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet, resnet50

from gantrick.metric.features.base import load_into
from gantrick.metric.features.fetching import locate
from gantrick.metric.features.imagenet import ImageNet, untrained

URL = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


class SwAV(ImageNet):
    """uint8 (B, C, H, W) -> the 2048 features after the last average pooling; it has no classes."""

    name = "swav"
    dim = 2048

    def __init__(self, net: ResNet) -> None:
        net.fc = nn.Identity()  # type: ignore[assignment]
        super().__init__(net)


def trunk(name: str) -> str | None:
    """A name in SwAV's file -> torchvision's; None for what belongs to its training alone."""
    name = name.removeprefix("module.")
    return None if name.startswith(("projection_head.", "prototypes.", "fc.")) else name


def build(weights: str | None) -> SwAV:
    """The extractor with the weights of the file `weights`, of torch.hub's folder, or downloaded to there.

    The file's name has no checksum in it; the figure's protocol has that of the weights.
    """
    path = locate(SwAV.name, weights, URL, hashed=False)
    extractor = SwAV(untrained(resnet50))
    load_into(extractor.net, path, SwAV.name, trunk)
    return extractor
