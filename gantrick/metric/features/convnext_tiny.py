"""convnext_tiny: torchvision's ConvNeXt-T (Liu et al. 2022, arXiv:2201.03545), trained on ImageNet's classes."""

from __future__ import annotations

from torch import nn
from torchvision.models import ConvNeXt, ConvNeXt_Tiny_Weights, convnext_tiny

from gantrick.metric.features.base import load_into
from gantrick.metric.features.fetching import locate
from gantrick.metric.features.imagenet import ImageNet, untrained


class ConvNeXtTiny(ImageNet):
    """uint8 (B, C, H, W) -> the 768 pooled and normalised features before the classifier, logits (B, 1000)."""

    name = "convnext_tiny"
    dim = 768

    def __init__(self, net: ConvNeXt) -> None:
        head, net.classifier[2] = net.classifier[2], nn.Identity()
        super().__init__(net, head)


def build(weights: str | None) -> ConvNeXtTiny:
    """The extractor with the weights of the file `weights`, of torch.hub's folder, or downloaded to there."""
    path = locate(ConvNeXtTiny.name, weights, ConvNeXt_Tiny_Weights.IMAGENET1K_V1.url)
    net = untrained(convnext_tiny)
    load_into(net, path, ConvNeXtTiny.name)
    return ConvNeXtTiny(net)
