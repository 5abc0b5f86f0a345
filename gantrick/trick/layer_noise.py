from __future__ import annotations

from torch import nn

from gantrick import papers
from gantrick.layers.noise import Noise
from gantrick.stages import Component
from gantrick.types import NetworkSpec, NonNegative


class LayerNoise(Component):
    """h ← h + σ ε, ε ~ N(0, 1) per element, inside D, wherever its architecture has a place for dropout, and after
    that.

    In dcgan and mlp after every activation, in sngan_resnet after the last three blocks; in every pass of training.
    Noise on D's input is trick=instance_noise. Source: the official code of Salimans et al., arXiv 1606.03498, with σ
    from 0.3 to 0.5.
    """

    paper = papers.IMPROVED
    neutral = {"sigma": 0.0}

    def __init__(self, sigma: NonNegative = 0.3):
        super().__init__()
        self.sigma = sigma

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def noisy(suggested: float) -> nn.Module:
            return nn.Sequential(spec.d_dropout(suggested), Noise(self.sigma))

        return spec.but(f"D's layers: noise of {self.sigma:g} by trick.layer_noise", d_dropout=noisy)
