from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from gantrick import parallel
from gantrick.layers.dropout import Dropout
from gantrick.stages import Component, Forbidden
from gantrick.types import CLASSES, Count, NetworkSpec, NonNegative, Paper, PenaltyInputs, Positive, Rate


class Ct(Component):
    """E_b max(0, λ₂ (D(x′) − D(x″))² + 0.1 λ₂ mean_j (D_(x′)_j − D_(x″)_j)² − M′): the consistency term of WGAN-CT.

    x′ and x″ are two passes of the same reals through D with dropout masks of their own; D_ are the features (B, F)
    before the head, and the scores' squares are summed with the weights of the scores. The pass ′ is the one that the
    adversarial loss uses. λ₂ is `weight`, inside the maximum, M′ is `margin`.

    compare=classes, for a D that tells classes by logits l (B, K): mean_k (softmax(l′)_k − softmax(l″)_k)² in place of
    the scores' square, as in the semi-supervised runs of the official code.

    The features' term grows with the square of the features' scale: the official residual network averages them over
    positions (model.pool=mean), and a sum over 8 x 8 positions has 4096 times the term.

    The component puts dropout into D itself, where the official networks have it and at their rates (`dropout: auto`),
    or at one rate everywhere; a model with dropout of its own keeps it. Dropout is active in every pass of training.
    Whatever else in D is drawn anew in each pass (trick=layer_noise) perturbs as well: with that dropout may be 0.
    perturb=noise is the idea's first form: x + σε in place of dropout; its σ is this project's choice.
    Source: Wei et al., arXiv 1803.01541, constants from the official code (λ₂ = 2, M′ = 0).
    """

    paper = Paper(
        "wei2018improving",
        "Improving the Improved Training of Wasserstein GANs: A Consistency Term and Its Dual Effect",
        "Wei, Xiang and Gong, Boqing and Liu, Zixia and Lu, Wei and Wang, Liqiang",
        2018,
        "1803.01541",
        "International Conference on Learning Representations",
    )
    forbids = {
        "d.batch_statistics": Forbidden(
            "the two passes would differ by the other samples' dropout, and the official networks have no batch "
            "normalisation in D",
            "set model.d_norm to auto, layer, instance or none",
        )
    }
    neutral = {"weight": 0.0, "dropout": 0.0}

    def __init__(
        self,
        weight: NonNegative = 2.0,
        margin: NonNegative = 0.0,
        feature_weight: NonNegative = 0.1,
        compare: Literal["scores", "classes"] = "scores",
        perturb: Literal["dropout", "noise"] = "dropout",
        dropout: Rate | Literal["auto"] = "auto",
        sigma: Positive = 0.1,
        interval: Count = 1,
    ):
        super().__init__()
        self.weight, self.margin, self.feature_weight, self.interval = weight, margin, feature_weight, interval
        self.compare, self.perturb, self.dropout, self.sigma = compare, perturb, dropout, sigma
        if compare == "classes":
            self.needs = frozenset({"d.classes"})
        if perturb == "dropout":
            self.provides = frozenset({"d.random"} if dropout else ())
            self.wants = {
                "d.random": Forbidden(
                    "nothing in D is drawn anew in each pass, so that its two passes agree and the term is 0",
                    "set regularizer.ct.dropout=auto, or add trick=layer_noise",
                )
            }

    def build(self, spec: NetworkSpec) -> NetworkSpec:
        if self.perturb == "noise":
            return spec
        if any(isinstance(layer, nn.Dropout) for layer in spec.d_dropout(0.5).modules()):
            return spec.but("D dropout: the model's own, which regularizer.ct uses")
        rate = self.dropout

        def filled(suggested: float) -> nn.Module:
            mask, there = Dropout(suggested if rate == "auto" else rate), spec.d_dropout(suggested)
            return mask if isinstance(there, nn.Identity) else nn.Sequential(mask, there)

        at = "at the model's rates" if rate == "auto" else f"{rate:g} everywhere"
        return spec.but(f"D dropout: by regularizer.ct, {at}", d_dropout=filled)

    def d_penalty(self, inputs: PenaltyInputs) -> Tensor:
        assert inputs.real is not None
        seen, labels = inputs.real.seen.detach(), inputs.real.batch.labels
        if self.perturb == "dropout":
            first, second = inputs.real.output, inputs.critic(seen, labels)
        else:
            first = inputs.critic(seen + self.sigma * parallel.randn_like(seen), labels)
            second = inputs.critic(seen + self.sigma * parallel.randn_like(seen), labels)
        if self.compare == "classes":
            said = (first.extra[CLASSES].softmax(1) - second.extra[CLASSES].softmax(1)).square().mean(1)
        else:
            said = (first.scores - second.scores).square() @ inputs.score_weights
        features = (first.features - second.features).square().mean(1)
        # λ₂ is the component's weight: max(0, λ₂ a − M′) = λ₂ max(0, a − M′/λ₂)
        return F.relu(said + self.feature_weight * features - self.margin / self.weight).mean()
