from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor

from gantrick import papers
from gantrick.stages import Component
from gantrick.types import ConfigError, Player

Transform = Callable[[Tensor, float], Tensor]
TRANSFORMS: Mapping[str, Transform] = {
    "clip": lambda g, limit: g.clamp(-limit, limit),
    "norm": lambda g, limit: g * (limit / g.norm().clamp_min(limit)) if limit else torch.zeros_like(g),
    "scale": lambda g, factor: g * factor,
    "zero": lambda g, _: torch.zeros_like(g),
    "sign": lambda g, size: size * g.sign(),
    "noise": lambda g, sigma: g + sigma * torch.randn((1, *g.shape), dtype=g.dtype, device=g.device)[0],
}
TOTAL = "total"  # of all that a pattern names together
ALONE = {"zero": 0.0, "sign": 1.0}  # the number of those that need none
NOT_NEGATIVE = ("clip", "norm", TOTAL, "noise")


class GradientTransform(Component):
    """g_l ← f(g_l) between differentiating and the optimizer, for the weights whose names a pattern fits.

    rules: {"generator.body.*": "norm 1.0"}, in their order, several for one weight one after another. f is one of
    clip c (each entry to [−c, c]), norm c (‖g‖₂ ≤ c, of each weight by itself), total c (of all weights that the
    pattern names together, as torch's clip_grad_norm_), scale a, zero, sign [s] (s · sign g), noise σ (g + σ ε). Names
    are a checkpoint's after their player's; * is any part of one. On the command line
    '+trick.gradient_transform.rules={discriminator.*: norm 1}'. Raises ConfigError for what cannot be read, and for a
    pattern that names nothing. Source: Su 2019.
    """

    paper = papers.LAYERWISE
    neutral: ClassVar[Mapping[str, Any] | None] = {"rules": {}}
    exercise: ClassVar[Mapping[str, Any]] = {"rules": {"discriminator.*": "scale 0.1", "generator.*": "sign 0.01"}}

    def __init__(self, rules: Mapping[str, str] = {}):
        super().__init__()
        self.rules = {pattern: _read(pattern, text) for pattern, text in rules.items()}
        self.patterns = {"rules": tuple(rules)}

    def gradients(self, gradients: Mapping[str, Tensor], player: Player) -> Mapping[str, Tensor]:
        found = dict(gradients)
        for pattern, (transform, number) in self.rules.items():
            named = [name for name in found if fnmatchcase(f"{player}.{name}", pattern)]
            if transform == TOTAL and named:
                norm = torch.nn.utils.get_total_norm([found[name] for name in named])
                factor = (number / norm).clamp(max=1.0)
                found |= {name: found[name] * factor for name in named}
            elif transform != TOTAL:
                found |= {name: TRANSFORMS[transform](found[name], number) for name in named}
        return found


def _read(pattern: str, text: str) -> tuple[str, float]:
    name, _, number = str(text).strip().partition(" ")
    try:
        if not pattern.startswith(("generator.", "discriminator.")) or name not in (*TRANSFORMS, TOTAL):
            raise ValueError
        value = float(number) if number or name not in ALONE else ALONE[name]
        if not math.isfinite(value):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"rules: {pattern}: {text} cannot be read; give generator.… or discriminator.… and one of "
            f"{', '.join((*TRANSFORMS, TOTAL))} with its number, as in generator.body.*: norm 1.0"
        ) from None
    if value < 0 and name in NOT_NEGATIVE:
        raise ConfigError(f"rules: {pattern}: {text}: the number of {name} is at least 0, not {value:g}")
    return name, value
