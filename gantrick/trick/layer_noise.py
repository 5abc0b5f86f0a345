from __future__ import annotations

from torch import nn

from gantrick import papers
from gantrick.layers.noise import Noise
from gantrick.stages import Component
from gantrick.types import NetworkSpec, NonNegative


class LayerNoise(Component):
    """h ← h + σ ε, ε ~ N(0, 1) per element, inside D, wherever its architecture has a place for dropout, and after
    that; and x ← x + σ₀ ε of what D is shown, with σ₀ = `input_sigma`.

    In dcgan and mlp after every activation, in sngan_resnet after the last three blocks; anew in every pass of
    training, the second one of a consistency term too. trick=instance_noise is noise on images that all passes share.
    Source: the official code of Salimans et al., arXiv 1606.03498: for MNIST 0.5 in the layers and 0.3 on images in
    [0, 1], which is 0.6 here.
    """

    paper = papers.IMPROVED
    neutral = {"sigma": 0.0}

    def __init__(self, sigma: NonNegative = 0.3, input_sigma: NonNegative = 0.0):
        super().__init__()
        self.sigma, self.input_sigma = sigma, input_sigma
        self.provides = frozenset({"d.random"} if sigma or input_sigma else ())

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        def noisy(suggested: float) -> nn.Module:
            return nn.Sequential(spec.d_dropout(suggested), Noise(self.sigma))

        note = f"D's layers: noise of {self.sigma:g} by trick.layer_noise"
        if self.input_sigma:  # before whatever else is put beside the images
            note += f", {self.input_sigma:g} on its input"
            spec = spec.but(d_inputs=(lambda: Noise(self.input_sigma), *spec.d_inputs))
        return spec.but(note, d_dropout=noisy)
