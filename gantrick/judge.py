"""How D comes to its scores: what it is shown, in how many forwards, and what there is to note about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gantrick import parallel
from gantrick.gan import GAN
from gantrick.types import Batch, DiscriminatorOutput, Judged, Latents, Scored

D = Callable[..., DiscriminatorOutput]


class Judge:
    """Shows batches to D: augmented, packed, and all in one forward unless D's samples see each other."""

    def __init__(self, gan: GAN):
        self.see = gan.see
        self.apart = bool(gan.assembly.tags & {"d.batch_statistics", "d.batch_coupled"})

    def __call__(self, d: D, *batches: tuple[Batch, Latents | None]) -> list[Judged]:
        seen = [self.see(batch.images) for batch, _ in batches]
        labels = [batch.labels for batch, _ in batches]
        if self.apart or len(seen) == 1:
            outputs = [d(images, label) for images, label in zip(seen, labels, strict=True)]
        else:
            joined = None if any(label is None for label in labels) else torch.cat([x for x in labels if x is not None])
            sizes = [len(images) for images in seen]
            with parallel.sections(*sizes):
                outputs = _split(d(torch.cat(seen), joined), sizes)
        return [Judged(b, images, out, z) for (b, z), images, out in zip(batches, seen, outputs, strict=True)]


@torch.no_grad()
def diagnostics(
    scored: Scored, real: Judged | None, fake: Judged, weights: Tensor, boundary: float | None
) -> dict[str, Tensor]:
    """The loss's own numbers, mean scores of reals and fakes (each of several too), and D's accuracy.

    Accuracy is the mean share of reals above and fakes below `boundary`; where a score has no such zero (None) the
    share of pairs in which the real scores higher.
    """
    found = {name: value @ weights for name, value in scored.diagnostics.items()}
    if real is None:
        return found
    for name, judged in (("real", real), ("fake", fake)):
        means = judged.scores.mean(0)
        found[f"score/{name}"] = means @ weights
        found |= {f"score/{name}_{k + 1}": value for k, value in enumerate(means) if len(means) > 1}
    r, f = real.scores @ weights, fake.scores @ weights
    if boundary is None:
        found["accuracy/d"] = (r[: len(f)] > f[: len(r)]).float().mean()
    else:
        found["accuracy/d"] = ((r > boundary).float().mean() + (f < boundary).float().mean()) / 2
    return found


def _split(output: DiscriminatorOutput, sizes: Sequence[int]) -> list[DiscriminatorOutput]:
    scores, features = torch.split(output.scores, list(sizes)), torch.split(output.features, list(sizes))
    extra = {name: torch.split(value, list(sizes)) for name, value in output.extra.items()}
    return [
        DiscriminatorOutput(scores[i], features[i], {name: parts[i] for name, parts in extra.items()})
        for i in range(len(sizes))
    ]
