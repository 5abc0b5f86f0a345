#!/usr/bin/env python
"""Cascading rejection in an ordinary classifier: does it close the gap between training and validation?

The same small network with a linear head and with a cascading one (gantrick.layers.cascade.CascadingClassifier), each
with several seeds, on CIFAR-10 or MNIST; the accuracy on the images it was trained on, on the test split, and the gap,
as mean ± 95% interval over seeds, and the paired difference.

    python scripts/experiments/cascading_classifier.py --seeds 3 --epochs 10
    python scripts/experiments/cascading_classifier.py --dataset mnist --train 2000 --seeds 5 --epochs 20
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrick import registry
from gantrick.analysis.compare import Estimate
from gantrick.layers.cascade import CascadingClassifier


def body(channels: int, width: int) -> nn.Module:
    """(B, C, H, W) -> (B, 4 · width): three convolutions that halve, batch normalisation, relu, mean over positions."""
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def accuracy(network: nn.Module, head: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.eval()
    right = 0
    with torch.no_grad():
        for x, y in zip(images.split(500), labels.split(500), strict=True):
            logits = head(network(x))
            said = logits if logits.ndim == 2 else CascadingClassifier.probabilities(logits)
            right += int((said.argmax(1) == y).sum())
    network.train()
    return right / len(images)


def run(
    seed: int, cascades: int, asked: argparse.Namespace, data: tuple[Tensor, Tensor, Tensor, Tensor]
) -> list[float]:
    train, labels, test, test_labels = data
    torch.manual_seed(seed)
    network, features = body(train.shape[1], asked.width), 4 * asked.width
    head = CascadingClassifier(features, 10, cascades) if cascades else nn.Linear(features, 10)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], 1e-3)
    steps = asked.epochs * (len(train) // asked.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(asked.epochs):
        for rows in torch.randperm(len(train)).split(asked.batch)[: len(train) // asked.batch]:
            logits = head(network(train[rows]))
            loss = CascadingClassifier.loss(logits, labels[rows]) if cascades else F.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    seen, unseen = accuracy(network, head, train, labels), accuracy(network, head, test, test_labels)
    return [100 * seen, 100 * unseen, 100 * (seen - unseen)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10", choices=("cifar10", "mnist", "digits"))
    parser.add_argument("--train", type=int, default=10_000, help="training images")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--cascades", type=int, default=4)
    asked = parser.parse_args()
    source = registry.create("dataset", asked.dataset, {}, "dataset")
    train, test = source.load("train"), source.load("test")
    data = tuple(
        t
        for split in (train, test)
        for t in (split.images[: asked.train].float() / 127.5 - 1, split.labels[: asked.train])
    )
    found: dict[int, list[list[float]]] = {0: [], asked.cascades: []}
    for seed in range(asked.seeds):
        for cascades in found:
            started = time.monotonic()
            found[cascades].append(run(seed, cascades, asked, data))
            took = time.monotonic() - started
            print(f"# seed {seed}, {cascades or 'no'} cascades: {found[cascades][-1]} ({took:.0f} s)", flush=True)
    print(f"\n{asked.dataset}, {len(data[0])} training images, {asked.epochs} epochs, {asked.seeds} seeds\n")
    print("| head | training % | test % | gap |\n|---|---|---|---|")
    for cascades, rows in found.items():
        cells = [str(Estimate.of(column)) for column in zip(*rows, strict=True)]
        print(f"| {f'{cascades} cascades' if cascades else 'linear'} | {' | '.join(cells)} |")
    apart = [[b - a for a, b in zip(x, y, strict=True)] for x, y in zip(*found.values(), strict=True)]
    print(f"| paired difference | {' | '.join(str(Estimate.of(column)) for column in zip(*apart, strict=True))} |")


if __name__ == "__main__":
    main()
