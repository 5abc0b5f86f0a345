"""A network as it runs when it learns no more."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy in channels_last with batch normalisations folded into the convolutions before them:

        γ (w ∗ x + b − μ) / σ + β  =  (γ/σ w) ∗ x + (γ/σ (b − μ) + β)

    The new weights are made in float64 and rounded once to float32, so that features move by rounding alone, about 1e-6
    of their size. Such a pair is a Conv2d and the BatchNorm2d that its module registers right after it.
    """
    device = next(network.parameters()).device
    network = copy.deepcopy(network).cpu().eval()  # not every device has float64
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, conv), (after, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv.double(), norm.double()).float())
                setattr(module, after, nn.Identity())
    return network.requires_grad_(False).to(memory_format=torch.channels_last).to(device)
