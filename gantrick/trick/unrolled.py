from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from gantrick.stages import Component
from gantrick.types import Batch, Latents, Paper, Play, Positive, Whole


class Unrolled(Component):
    """G moves along ∇_θG L_G(θ_D^K(θ_G), θ_G): D's next K steps are made on paper, with G's gradient through them.

    θ_D^{k+1} = θ_D^k − η u(∇ L_D(θ_D^k, θ_G)), all K on one batch; u is Adam's step, its moments going on from the
    optimizer's own, or `sgd`. η is `rate`, null: D's present rate. first_order leaves the dependence of ∇ L_D on θ_G
    out, so that G only sees the D to come. D itself then takes one ordinary step from θ_D^0. K is `steps`; 0 is an
    ordinary game with G first. Source: Metz et al., arXiv 1611.02163 (K = 5, inner Adam).
    """

    paper = Paper(
        "metz2017unrolled",
        "Unrolled Generative Adversarial Networks",
        "Luke Metz and Ben Poole and David Pfau and Jascha Sohl-Dickstein",
        2017,
        "1611.02163",
        "International Conference on Learning Representations",
    )
    needs = frozenset({"second_order"})
    neutral = None
    exercise = {"steps": 2}

    def __init__(
        self,
        steps: Whole = 5,
        inner: Literal["adam", "sgd"] = "adam",
        rate: Positive | None = None,
        first_order: bool = False,
    ):
        super().__init__()
        self.steps, self.inner, self.rate, self.first_order = steps, inner, rate, first_order
        self.provides = frozenset({"unrolled_steps"} if steps and not first_order else ())

    def update_rule(self, play: Play) -> None:
        for _ in range(play.g_steps):
            play.prepare("generator")
            records = []
            for _ in range(play.accumulate):
                weights = self._ahead(play, *play.draw("discriminator"))
                drawn = play.draw("generator")
                records.append(play.evaluate("generator", *drawn, parameters={"discriminator": weights}))
            play.move("generator", records)
        for _ in range(play.d_steps):
            play.turn("discriminator")

    def _ahead(self, play: Play, batch: Batch | None, latents: Latents) -> Mapping[str, Tensor]:
        """θ_D^K, a function of θ_G."""
        optimizer, group = play.optimizer("discriminator"), play.optimizer("discriminator").param_groups[0]
        rate = group["lr"] if self.rate is None else self.rate
        first: Mapping[str, Tensor] = play.parameters("discriminator")
        weights = dict(first)
        moments: dict[str, tuple[Tensor, Tensor]] = {}
        taken = 0.0
        for name, parameter in play.parameters("discriminator").items():
            state = optimizer.state.get(parameter, {})
            zero = torch.zeros_like(parameter)
            moments[name] = state.get("exp_avg", zero).clone(), state.get("exp_avg_sq", zero).clone()
            taken = max(taken, float(state.get("step", 0.0)))
        b1, b2 = group.get("betas", (0.5, 0.999))
        epsilon = group.get("eps", 1e-8)
        for k in range(self.steps):
            record = play.evaluate(
                "discriminator",
                batch,
                latents,
                parameters={"discriminator": weights},
                create_graph=not self.first_order,
            )
            for name, gradient in record.gradients.items():
                g = gradient
                if self.inner == "sgd":
                    weights[name] = weights[name] - rate * g
                    continue
                m, v = moments[name]
                moments[name] = m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g.square()
                t = taken + k + 1
                root = (v / (1 - b2**t) + 1e-16).sqrt()  # at v = 0 the root alone has no slope
                weights[name] = weights[name] - rate * (m / (1 - b1**t)) / (root + epsilon)
        return weights
