from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from torch import nn

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import ConfigError, NonNegative, Player


class LayerwiseLr(Component):
    """η_l = λ_l η: the learning rate of the weights that a pattern names is λ times that of their player.

    rates: {"generator.body.first.*": 0.1}, on the command line '+trick.layerwise_lr.rates={generator.*:0.1}'. Names
    are a checkpoint's after their player's; * is any part of one, and of several patterns that fit the last one counts.
    λ = 0 keeps a weight as it is, though moments are taken of it; freeze= does without them. The source writes θ = λ φ,
    which multiplies Adam's rate by λ and SGD's by λ²; here it is λ for every optimizer. Raises ConfigError for a
    pattern that names nothing. Source: Su 2019.
    """

    paper = papers.LAYERWISE
    neutral: ClassVar[Mapping[str, Any] | None] = {"rates": {}}
    exercise: ClassVar[Mapping[str, Any]] = {"rates": {"discriminator.*": 0.1}}

    def __init__(self, rates: Mapping[str, NonNegative] = {}):
        super().__init__()
        self.rates = dict(rates)
        self.patterns = {"rates": tuple(rates)}
        wrong = [pattern for pattern in self.rates if not pattern.startswith(("generator.", "discriminator."))]
        if wrong:
            raise ConfigError(
                *(f"rates: {p!r} must begin with generator. or discriminator., as in generator.body.*" for p in wrong)
            )

    def param_groups(self, player: Player, network: nn.Module) -> list[dict[str, Any]]:
        groups: dict[float, list[nn.Parameter]] = {1.0: []}
        for name, parameter in network.named_parameters():
            fitting = [rate for pattern, rate in self.rates.items() if fnmatchcase(f"{player}.{name}", pattern)]
            groups.setdefault(fitting[-1] if fitting else 1.0, []).append(parameter)
        return [{"params": parameters, "lr_scale": rate} for rate, parameters in groups.items() if parameters]
