#!/usr/bin/env python
"""What do InfoGAN's codes know of the classes, which it was never told?

    python scripts/experiments/code_information.py RUN…

Of each run, the mutual information I(c; y) = H(c) + H(y) − H(c, y) in bits, from counts, and the share of images whose
class is the one that their code stands for (codes matched to classes one to one, as many as fit best), twice:

    said of reals   c is Q's most likely kind for the images of the test split, y their true label
    drawn           c is the kind that G was given, y the class in which the packaged classifier sees the image

H(y) is log2 10 = 3.32 bits where the classes are even. Counts bias I upwards by about (K − 1)² / (2 n ln 2) bits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy
from torch import Tensor

import gantrick
from gantrick import registry
from gantrick.feed import to_float, to_uint8
from gantrick.metric import features
from gantrick.sampling import evaluating, generator_of
from gantrick.types import Latents


def told(codes: Tensor, classes: Tensor, kinds: int, labels: int) -> tuple[float, float]:
    """(I(c; y) in bits, the share that the best matching gets right) of pairs (N,), (N,)."""
    counts = np.zeros((kinds, labels))
    np.add.at(counts, (codes.numpy(), classes.numpy()), 1)
    joint = counts / counts.sum()
    information = entropy(joint.sum(0), base=2) + entropy(joint.sum(1), base=2) - entropy(joint.ravel(), base=2)
    return float(information), float(joint[linear_sum_assignment(-joint)].sum())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--n", type=int, default=10_000, help="images of either kind")
    parser.add_argument("--checkpoint", default="last")
    asked = parser.parse_args()
    print("| run | I(c; y), said of reals | matched | I(c; y), drawn | matched |\n|---|---|---|---|---|")
    for path in asked.runs:
        run = gantrick.load(path, asked.checkpoint, "cpu")
        settings = run.recipe.settings
        codes = run.gan.stages.components["trick.infogan"]
        kinds, first = codes.categorical[0], -codes.codes
        name = run.recipe.dataset.name
        reals = registry.create("dataset", name, dict(run.recipe.dataset.options), "dataset").load("test")
        classifier = features.extractor(f"{name}_cnn")
        said, classes = [], []
        with evaluating(run.gan.discriminator):
            for images in reals.images[: asked.n].split(500):
                said.append(run.gan.discriminator(to_float(images)).extra["infogan"][:, :kinds].argmax(1))
        true = reals.labels[: asked.n]
        of_reals = told(torch.cat(said), true, kinds, int(true.max()) + 1)
        network, _ = generator_of(run.gan)
        source, given = torch.Generator().manual_seed(settings.seed), []
        with evaluating(network):
            for start in range(0, asked.n, 500):
                latents: Latents = run.gan.latents(min(500, asked.n - start), source)
                given.append(latents.z[:, first : first + kinds].argmax(1))
                classes.append(classifier.logits(to_uint8(network(latents))).argmax(1))
        drawn = told(torch.cat(given), torch.cat(classes), kinds, int(true.max()) + 1)
        cells = [f"{bits:.2f} bits | {share:.3f}" for bits, share in (of_reals, drawn)]
        print(f"| {path.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
