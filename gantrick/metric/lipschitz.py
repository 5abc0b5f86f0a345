"""How steep is the discriminator?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from gantrick.dataset._reading import subset
from gantrick.input_gradient import gradient_norm, input_gradient
from gantrick.layers.cascade import CascadingHead
from gantrick.layers.code import MeanOfCode
from gantrick.layers.heads import Direction
from gantrick.layers.matrices import as_matrix, matrices
from gantrick.metric._lipschitz import Norms, Tracer, matrix_norm
from gantrick.types import Bound, Evaluation, Figures, GantrickError, Metric, Networks, Paper

AFFINE = (Direction, CascadingHead, MeanOfCode)  # heads whose score of one label is affine in the features
Several = Annotated[int, Bound(ge=2)]
LABELS = 16  # labels whose bounds are found in one forward


class Lipschitz(Metric):
    """lower ≤ sup |s(x) − s(x')| / |x − x'| ≤ upper   of D's weighted score s = Σ_k λ_k s_k, in the Euclidean norm

    as D is in evaluation mode (dropout off, running statistics in batch normalisation), in what D sees of images in
    [-1, 1], or of points; augmentation is left out, a pack counts as one.

    lipschitz/upper  the product over the layers of what each can add: the largest singular value of a matrix, the bound
                     of a convolution by `norms`, 1 of relu, leaky_relu and tanh, max |γ| / √(σ² + ε) of batch
                     normalisation, skip + branch of a residual block … (Szegedy et al., arXiv 1312.6199, section 4.3;
                     Miyato et al., 1802.05957); of several labels that of the largest
    lipschitz/lower  the largest ‖∇_x s‖ among `samples` each of reals, fakes, points between those, and noise, uniform
                     in [-1, 1]^n (of points: normal, with the spread of the reals)

    norms: matrix takes √(⌈kh/s⌉ ⌈kw/s⌉) σ(W) of a convolution, W its kernel as a matrix, which is never below its norm;
    operator finds the norm of the convolution itself, with its padding and stride, to 0.6 %. σ(W) alone, which spectral
    normalisation makes 1, is no bound.

    Where D has no finite bound there is no upper figure, and the row's `lipschitz/why` says why: attention multiplies
    two maps, l2 energies square, batch-coupled scores are not of one sample (nor is there a lower one then).

    Beside the figures each row has `spectral_norm`, σ(W) of the trained weights of D and G by layer, of a normalised
    layer those beneath (so Brock et al., 1809.11096, section 4.1, watch for collapse), and `lipschitz/lower_by`, the
    lower bound by kind. `gantrick doctor` reads them. Let another metric stand first: a small slope is no merit by
    which to choose a best checkpoint.
    """

    paper: ClassVar[Paper | None] = Paper(
        "szegedy2014intriguing",
        "Intriguing Properties of Neural Networks",
        "Szegedy, Christian and Zaremba, Wojciech and Sutskever, Ilya and Bruna, Joan and Erhan, Dumitru and "
        "Goodfellow, Ian and Fergus, Rob",
        2014,
        "1312.6199",
        "International Conference on Learning Representations",
    )

    def __init__(self, samples: Several = 512, norms: Norms = "matrix", batch_size: Several = 64):
        self.samples, self.norms, self.batch_size = samples, norms, batch_size

    @property
    def primary(self) -> str:
        return "lipschitz/lower"

    def evaluate(self, evaluation: Evaluation) -> Figures:
        """Raises GantrickError where a gradient is not finite."""
        with evaluation.networks() as networks:
            sigma = {name[0]: spectral_norms(network) for name, network in _players(networks)}
            details: dict[str, Any] = {"spectral_norm": sigma}
            protocol: dict[str, Any] = {
                "mode": "evaluation",
                "augmentation": "none",
                "norms": self.norms,
                "generator": evaluation.weights,
            }
            if "d.batch_coupled" in networks.tags:
                details |= self._told(evaluation, ("D scores the samples of a batch together",))
                return Figures({}, protocol, details=details)
            kinds = dict(self._kinds(evaluation, networks))
            images, _ = kinds["real"]
            classes = evaluation.dataset.data.classes if "d.labels" in networks.tags else None
            upper, why = upper_bound(networks.discriminator, images[:2], classes, self.norms)
            found = {kind: self._steepest(networks.discriminator, *seen) for kind, seen in kinds.items()}
        values = {"lipschitz/lower": max(found.values())}
        if not math.isfinite(values["lipschitz/lower"]):
            raise GantrickError("a gradient of D in its input is not finite; lower optimizer.lr")
        if math.isfinite(upper):
            values["lipschitz/upper"] = upper
        protocol |= {f"{kind}_count": len(seen[0]) for kind, seen in kinds.items()}
        details |= {"lipschitz/lower_by": found} | (self._told(evaluation, why) if why else {})
        return Figures(values, protocol, details=details)

    def _told(self, evaluation: Evaluation, why: tuple[str, ...]) -> dict[str, Any]:
        """Why there is no bound, for the row; the user is told once a run."""
        if "lipschitz" not in evaluation.cache:
            evaluation.cache["lipschitz"] = why
            evaluation.tell(f"metric.lipschitz: no upper bound of D's slope: {'; '.join(why)}")
        return {"lipschitz/why": list(why)}

    def _kinds(self, evaluation: Evaluation, networks: Networks) -> Iterator[tuple[str, tuple[Tensor, Tensor | None]]]:
        """What D sees of each kind of sample, and its labels where D looks at them."""
        labelled = "d.labels" in networks.tags
        reals = evaluation.reals("train")
        rows = subset(len(reals), min(self.samples, len(reals)), reals.labels).tolist()
        labels = reals.labels[rows].to(evaluation.device) if labelled and reals.labels is not None else None
        real = reals.images[rows]
        shape = tuple(real.shape[1:])
        if labelled:
            flat, of_fakes = zip(
                *evaluation.labelled_fakes(len(rows), self.batch_size, lambda images: images.flatten(1).float()),
                strict=True,
            )
            fake, fake_labels = torch.cat(flat).view(-1, *shape).to(real.dtype), torch.cat(of_fakes)
        else:
            fake, fake_labels = torch.cat(list(evaluation.fakes(len(rows), self.batch_size))), None
        size = min(len(real), len(fake))  # of fakes there may be fewer: eval_samples
        size = size - size % 60 or size  # packs of 2 to 6 fit
        x, y = networks.see(real[:size]), networks.see(fake[:size])
        if not labelled:
            labels = None
        cut = None if labels is None else labels[:size]
        yield "real", (x, cut)
        yield "fake", (y, None if fake_labels is None else fake_labels[:size].to(evaluation.device))
        alpha = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        yield "between", (x + alpha * (y - x), cut)
        noise = torch.rand_like(x) * 2 - 1 if len(shape) == 3 else torch.randn_like(x) * x.std(0)
        yield "noise", (noise, cut)

    def _steepest(self, discriminator: Any, images: Tensor, labels: Tensor | None) -> float:
        found = []
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            own = None if labels is None else labels[part]

            def score(x: Tensor, own: Tensor | None = own) -> Tensor:
                scores: Tensor = discriminator(x, own).scores @ discriminator.score_weights
                return scores

            found.append(gradient_norm(score, images[part]).detach().max())
        return float(torch.stack(found).max())


def upper_bound(
    discriminator: Any, images: Tensor, classes: int | None = None, norms: Norms = "matrix"
) -> tuple[float, tuple[str, ...]]:
    """A bound of the Lipschitz constant of Σ_k λ_k s_k in what D sees, and why it is infinite where it is.

    images: two or more of what D sees, for their shape. classes: the labels that D may be given; the bound is that of
    the one by which it is largest.
    """
    tracer, bounds = Tracer(discriminator, norms), []
    weights: Tensor = discriminator.score_weights
    every = None if classes is None else torch.arange(classes, device=images.device)
    for start in range(0, classes or 1, LABELS):
        labels = None if every is None else every[start : start + LABELS]
        if labels is not None and len(labels) < 2:
            labels = labels.repeat(2)
        rows = images[:2] if labels is None else images[:1].expand(len(labels), *images.shape[1:])
        with tracer.following():
            out = discriminator(tracer.start(rows), labels)
            score = out.scores @ weights
        bound, why = tracer.found(score)
        head = discriminator.head
        if isinstance(head, AFFINE):
            bound = min(
                bound,
                tracer.found(out.features)[0] * _steepness(head, weights, len(rows), out.features.shape[1], labels),
            )
            why = why if math.isinf(bound) else ()
        bounds.append((bound, why))
    return max(bounds)


def _steepness(head: Any, weights: Tensor, count: int, features: int, labels: Tensor | None) -> float:
    """The largest norm of the gradient of an affine head in its features, among the labels."""

    def score(v: Tensor) -> Tensor:
        found: Tensor = head(v, labels) @ weights
        return found

    slopes = input_gradient(score, torch.zeros(count, features, device=weights.device))
    return float(slopes.detach().double().norm(dim=1).max())


def spectral_norms(network: torch.nn.Module) -> dict[str, float]:
    """σ(W) of the trained weights of linear layers and convolutions, as matrices (out, in·kh·kw), by layer."""
    state = dict(network.named_parameters())
    return {
        name.removesuffix("weight").removesuffix("parametrizations.weight.original").rstrip("."): matrix_norm(
            as_matrix(state[name].detach(), transposed)
        )
        for name, transposed in matrices(network).items()
    }


def _players(networks: Networks) -> tuple[tuple[str, torch.nn.Module], ...]:
    return ("discriminator", networks.discriminator), ("generator", networks.generator)
