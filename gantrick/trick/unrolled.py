from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from gantrick.stages import Component
from gantrick.types import Batch, Latents, Paper, Play, Positive, Whole


class Unrolled(Component):
    """G moves along ∇_θG L_G(θ_D^K(θ_G), θ_G): D's next K steps are made on paper, with G's gradient through them.

    θ_D^{k+1} = θ_D^k − η u(∇ L_D(θ_D^k, θ_G)), all K on one batch; u is Adam's step, its moments going on from those of
    D's optimizer where that is an Adam, or `sgd`. η is each weight's present rate, or `rate` times its share of the
    fastest. What else is done to D's weights or gradients (clipping, weight decay) is done in real steps alone.
    first_order leaves the dependence of ∇ L_D on θ_G out, so that G only sees the D to come. D itself then takes one
    ordinary step from θ_D^0. K is `steps`; 0 is an ordinary game with G first.
    Source: Metz et al., arXiv 1611.02163 (K = 5, inner Adam).
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
        optimizer = play.optimizer("discriminator")
        fastest = max(group["lr"] for group in optimizer.param_groups)
        inner: dict[str, Callable[[Tensor], Tensor]] = {}
        weights: dict[str, Tensor] = {}
        groups = {p: group for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in play.parameters("discriminator").items():
            group = groups[parameter]
            rate = group["lr"] if self.rate is None else self.rate * group["lr"] / fastest
            kind = _Sgd if self.inner == "sgd" else _Adam
            inner[name] = kind(rate, group, optimizer.state.get(parameter, {}))
            weights[name] = parameter
        for _ in range(self.steps):
            record = play.evaluate(
                "discriminator",
                batch,
                latents,
                parameters={"discriminator": weights},
                create_graph=not self.first_order,
            )
            weights |= {name: weights[name] - inner[name](gradient) for name, gradient in record.gradients.items()}
        return weights


class _Sgd:
    """η g."""

    def __init__(self, rate: float, group: Mapping[str, Any], state: Mapping[str, Any]):
        self.rate = rate

    def __call__(self, gradient: Tensor) -> Tensor:
        return self.rate * gradient


class _Adam:
    """η m̂ / (√v̂ + ε) of one weight, after the steps that the optimizer took of it."""

    def __init__(self, rate: float, group: Mapping[str, Any], state: Mapping[str, Any]):
        self.rate, self.epsilon = rate, group.get("eps", 1e-8)
        self.b1, self.b2 = group.get("betas", (0.5, 0.999))
        self.m: Tensor | float = 0.0
        self.v: Tensor | float = 0.0
        self.t: Tensor | float = 0.0
        if "exp_avg_sq" in state:
            self.m, self.v, self.t = state["exp_avg"], state["exp_avg_sq"], state["step"]

    def __call__(self, gradient: Tensor) -> Tensor:
        self.m = self.b1 * self.m + (1 - self.b1) * gradient
        self.v = self.b2 * self.v + (1 - self.b2) * gradient.square()
        self.t = self.t + 1
        root: Tensor = (self.v / (1 - self.b2**self.t) + 1e-16).sqrt()  # at v = 0 the root alone has no slope
        step: Tensor = self.rate * (self.m / (1 - self.b1**self.t)) / (root + self.epsilon)
        return step
