"""inception: the Inception network of the Frechet Inception distance (Heusel et al. 2017, arXiv:1706.08500).

The weights are those of TensorFlow's 2015-12-05 Inception as ported by pytorch-fid; the preprocessing and the
2048 features after the last average pooling are pytorch-fid's too. The weights do not come with gantrick.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_fid.inception import (
    FID_WEIGHTS_URL,
    FIDInceptionA,
    FIDInceptionC,
    FIDInceptionE_1,
    FIDInceptionE_2,
)
from torch import Tensor, nn
from torchvision.models import Inception3

from gantrick.metric.features.base import Extractor, load_into, resize, to_channels
from gantrick.metric.features.fetching import locate

TRUNK = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
    *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "avgpool"),
)
"""the layers up to pytorch-fid's block 3, in order"""


def network() -> nn.Module:
    """pytorch-fid's network with torch's initial weights.

    pytorch_fid.inception.fid_inception_v3 puts the same blocks together, but not without a download.
    """
    with torch.random.fork_rng(devices=[]):  # building must not move the caller's random stream
        net: nn.Module = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
        net.Mixed_5b = FIDInceptionA(192, pool_features=32)
        net.Mixed_5c = FIDInceptionA(256, pool_features=64)
        net.Mixed_5d = FIDInceptionA(288, pool_features=64)
        net.Mixed_6b = FIDInceptionC(768, channels_7x7=128)
        net.Mixed_6c = FIDInceptionC(768, channels_7x7=160)
        net.Mixed_6d = FIDInceptionC(768, channels_7x7=160)
        net.Mixed_6e = FIDInceptionC(768, channels_7x7=192)
        net.Mixed_7b = FIDInceptionE_1(1280)
        net.Mixed_7c = FIDInceptionE_2(2048)
    return net


class Inception(Extractor):
    """uint8 images -> the 2048 features of pytorch-fid's block 3, or the 1008 logits of its classifier."""

    name = "inception"
    dim = 2048
    resizer = "bilinear 299x299"
    resizers = {"pytorch_fid": "bilinear 299x299", "clean_fid": "antialiased bicubic 299x299, x/128 - 1"}

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), C in {1, 3} -> float32 in [0, 1], (B, 3, 299, 299), as pytorch-fid or clean-fid does.

        clean-fid (Parmar et al., arXiv 2104.11222) resizes with Pillow's bicubic filter, a channel at a time in float,
        which is torch's antialiased one; it cuts to 0 … 255 and gives the network x/128 − 1, pytorch-fid x/127.5 − 1.
        """
        if self.resizer == self.resizers["clean_fid"]:
            return resize(to_channels(images.float(), 3), 299, "bicubic").clamp(0, 255) / 256
        rgb = to_channels(images.float() / 255, 3)
        return F.interpolate(rgb, size=(299, 299), mode="bilinear", align_corners=False)

    def embed(self, inputs: Tensor) -> Tensor:
        """[0, 1] (B, 3, 299, 299) -> features (B, 2048)."""
        net = self.quick(self.net)
        x = (2 * inputs - 1).contiguous(memory_format=torch.channels_last)
        for name in TRUNK:
            x = net.get_submodule(name)(x)
        return x.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, 2048) -> logits (B, 1008)."""
        logits: Tensor = self.net.get_submodule("fc")(features)
        return logits


def build(weights: str | None) -> Inception:
    """The extractor with the weights of the file `weights`, of torch.hub's folder, or downloaded to there."""
    path = locate(Inception.name, weights, FID_WEIGHTS_URL)
    net = Inception()
    load_into(net.net, path, net.name)
    return net
