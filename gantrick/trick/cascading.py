from __future__ import annotations

from typing import Literal

from gantrick.layers.cascade import CascadingHead
from gantrick.stages import Component
from gantrick.types import ConfigError, Count, ModuleFactory, NetworkSpec, NonNegative, Paper, Positive


class Cascading(Component):
    """s_i = ⟨v_i, w_i⟩, v_{i+1} = v_i − (⟨v_i, w_i⟩ / ‖w_i‖²) w_i; the loss is Σ_i λ_i ℓ(s_i): cascading rejection.

    D's head gives K = `scores` scores (B, K), each on what the earlier directions left of the features (B, F). weights:
    equal (λ_i = 1/K), geometric (λ_i ∝ decay^{i−1}), or a list; they are made to sum to 1. The paper's own K and λ are
    not known to this project: 4 and equal are its choice. scores=1 is a plain linear head. With trick=[projection] each
    direction is one per class, w_i(y) = w_i + e_i(y), and the rejection is along it.
    Source: Shin et al., arXiv 1911.10979.
    """

    paper = Paper(
        "shin2019simple",
        "Simple yet Effective Way for Improving the Performance of GAN",
        "Shin, Yong-Goo and Yeo, Yoon-Jae and Sagong, Min-Cheol and Ji, Seo-Won and Ko, Sung-Jea",
        2019,
        "1911.10979",
    )
    claims = frozenset({"d.head"})
    neutral = {"scores": 1}

    def __init__(
        self,
        scores: Count = 4,
        weights: Literal["equal", "geometric"] | list[NonNegative] = "equal",
        decay: Positive = 0.5,
    ):
        super().__init__()
        self.scores = scores
        if isinstance(weights, list):
            if len(weights) != scores or sum(weights) <= 0:
                raise ConfigError(
                    f"weights: must be {scores} numbers, one for each score, not all zero; they are {weights}"
                )
            raw = weights
        else:
            raw = [decay**i if weights == "geometric" else 1.0 for i in range(scores)]
        self.score_weights = tuple(w / sum(raw) for w in raw)

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        scores = self.scores

        def head(features: int, direction: ModuleFactory) -> CascadingHead:
            if scores > features:
                raise ConfigError(
                    f"trick.cascading.scores: {scores} directions cannot be told apart in {features} features; "
                    f"choose at most {features}"
                )
            return CascadingHead(features, scores, direction=direction)

        return spec.but(
            f"D head: {scores} cascading scores, weights {', '.join(f'{w:.3g}' for w in self.score_weights)}",
            head=head,
            score_weights=self.score_weights,
        )
