from __future__ import annotations

from typing import Literal

from torch import nn

from gantrick import papers
from gantrick.layers.spectral_norm import normalised, spectral_norm
from gantrick.stages import Component
from gantrick.types import Count, NetworkSpec, Player, Positive

WARM_UP = 15  # power iterations before the first step, so that the first σ is no random number


class SpectralNorm(Component):
    """W ← W / σ(W) in every layer of D, G or both, σ by power iteration, `iterations` before each optimizer step.

    exact=true takes σ by singular values at every forward instead. All forwards of a turn see one σ; u and v are
    buffers of the network. Source: Miyato et al., arXiv 1802.05957.
    """

    paper = papers.SPECTRAL_NORM

    def __init__(
        self,
        network: Literal["discriminator", "generator", "both"] = "discriminator",
        iterations: Count = 1,
        epsilon: Positive = 1e-12,
        exact: bool = False,
    ):
        super().__init__()
        self.players = ("discriminator", "generator") if network == "both" else (network,)
        self.iterations, self.epsilon, self.exact = iterations, epsilon, exact
        provides = {f"{player[0]}.spectral_norm" for player in self.players}
        if "discriminator" in self.players:
            provides.add("d.lipschitz")
            self.avoids = frozenset({"d.batch_statistics"})
        self.provides = frozenset(provides)

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        epsilon, exact = self.epsilon, self.exact

        def wrap(layer: nn.Module) -> nn.Module:
            return spectral_norm(layer, epsilon, exact)

        if "discriminator" in self.players:
            spec = spec.but(d_wrappers=(*spec.d_wrappers, wrap))
        if "generator" in self.players:
            spec = spec.but(g_wrappers=(*spec.g_wrappers, wrap))
        return spec

    def begin(self, generator: nn.Module, discriminator: nn.Module) -> None:
        for network in (generator, discriminator):
            for norm, weight in normalised(network):
                norm.iterate(weight, WARM_UP)

    def prepare(self, player: Player, network: nn.Module) -> None:
        if player in self.players and not self.exact:
            for norm, weight in normalised(network):
                norm.iterate(weight, self.iterations)
