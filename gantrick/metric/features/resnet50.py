"""resnet50: torchvision's ResNet-50 (He et al. 2015, arXiv:1512.03385), of ImageNet's classes (IMAGENET1K_V1)."""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet, ResNet50_Weights, resnet50

from gantrick.metric.features.base import load_into
from gantrick.metric.features.fetching import locate
from gantrick.metric.features.imagenet import ImageNet, untrained


class ResNet50(ImageNet):
    """uint8 (B, C, H, W) -> the 2048 features after the last average pooling, logits (B, 1000)."""

    name = "resnet50"
    dim = 2048

    def __init__(self, net: ResNet) -> None:
        head, net.fc = net.fc, nn.Identity()  # type: ignore[assignment]
        super().__init__(net, head)


def build(weights: str | None) -> ResNet50:
    """The extractor with the weights of the file `weights`, of torch.hub's folder, or downloaded to there."""
    path = locate(ResNet50.name, weights, ResNet50_Weights.IMAGENET1K_V1.url)
    net = untrained(resnet50)
    load_into(net, path, ResNet50.name)
    return ResNet50(net)
