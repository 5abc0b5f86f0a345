"""Train the small classifiers that gantrick ships as feature extractors, and write their weights.

    python scripts/train_extractors.py digits_cnn
    python scripts/train_extractors.py mnist_cnn --data ~/.cache/gantrick-data
    python scripts/train_extractors.py cifar10_cnn --data ~/.cache/gantrick-data

The loss is plain cross-entropy: label smoothing would pull each class's features together, and a distance on
such features is blind to the variety within a class. The test set is used at the end only, on the weights as
written; for digits it is a fixed fifth of load_digits.

digits_cnn needs scikit-learn; mnist_cnn reads DATA/MNIST/raw/*-ubyte; cifar10_cnn reads
DATA/cifar10_{train,test}.npz, arrays `images` uint8 NHWC and `labels`.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantrick.metric.features import extractor
from gantrick.metric.features.cnn import WEIGHTS, SmallCNN

EPOCHS = {"digits_cnn": 40, "mnist_cnn": 6, "cifar10_cnn": 12}
RATE = {"digits_cnn": 3e-3, "mnist_cnn": 3e-3, "cifar10_cnn": 4e-3}
BATCH = {"digits_cnn": 64, "mnist_cnn": 128, "cifar10_cnn": 128}
SIZES = {"digits_cnn": (8, 16, 32), "mnist_cnn": (28, 32), "cifar10_cnn": (32,)}

Set = tuple[Tensor, Tensor]
"""uint8 (N, C, H, W) and int64 (N,)"""


def digits() -> tuple[Set, Set]:
    """load_digits as uint8 (N, 1, 8, 8), split by one fixed permutation into 1437 and 360 to test on."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(np.round(found.images / 16 * 255).astype(np.uint8))[:, None]
    labels = torch.from_numpy(found.target.astype(np.int64))
    # RandomState's streams never change between numpy's versions
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    train, test = order[:-360], order[-360:]
    return (images[train], labels[train]), (images[test], labels[test])


def mnist(data: Path) -> tuple[Set, Set]:
    """MNIST as uint8 (N, 1, 28, 28)."""

    def read(part: str) -> Set:
        raw = data / "MNIST" / "raw"
        images = np.fromfile(raw / f"{part}-images-idx3-ubyte", dtype=np.uint8, offset=16)
        labels = np.fromfile(raw / f"{part}-labels-idx1-ubyte", dtype=np.uint8, offset=8)
        return torch.from_numpy(images).view(-1, 1, 28, 28), torch.from_numpy(labels.astype(np.int64))

    return read("train"), read("t10k")


def cifar10(data: Path) -> tuple[Set, Set]:
    """CIFAR-10 as uint8 (N, 3, 32, 32)."""

    def read(part: str) -> Set:
        with np.load(data / f"cifar10_{part}.npz") as found:
            images = torch.from_numpy(found["images"]).permute(0, 3, 1, 2).contiguous()
            return images, torch.from_numpy(found["labels"].astype(np.int64))

    return read("train"), read("test")


def at_size(images: Tensor, size: int) -> Tensor:
    """uint8 (N, C, H, W) -> uint8 (N, C, size, size), bilinear, as gantrick's own data sets are enlarged."""
    if images.shape[-1] == size:
        return images
    scaled = F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def jitter(x: Tensor, shift: float = 0.1, turn: float = 8.0, zoom: float = 0.08) -> Tensor:
    """Move, turn (degrees) and scale each image of (B, 1, S, S) a bit at random; what comes in is black."""
    n = len(x)
    angle = (torch.rand(n) * 2 - 1) * math.radians(turn)
    scale = 1 + (torch.rand(n) * 2 - 1) * zoom
    move = (torch.rand(n, 2) * 2 - 1) * 2 * shift  # grid coordinates run over [-1, 1]
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)], 1)
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


def crop_flip(x: Tensor, pad: int = 3) -> Tensor:
    """Move each image of (B, C, S, S) by up to `pad` pixels, mirrored at the edge, and flip half of them."""
    n, c, size, _ = x.shape
    x = torch.where((torch.rand(n) < 0.5).view(n, 1, 1, 1), x.flip(-1), x)
    padded = F.pad(x, (pad,) * 4, mode="reflect")
    rows = torch.arange(size)[None] + torch.randint(2 * pad + 1, (n, 1))
    columns = torch.arange(size)[None] + torch.randint(2 * pad + 1, (n, 1))
    rows = rows.view(n, 1, size, 1).expand(-1, c, -1, size + 2 * pad)
    columns = columns.view(n, 1, 1, size).expand(-1, c, size, -1)
    return padded.gather(2, rows).gather(3, columns)


def train(net: SmallCNN, images: Tensor, labels: Tensor, epochs: int) -> None:
    """AdamW with a one-cycle learning rate; each batch comes at one of the sizes that it will meet."""
    name = net.name
    versions = [at_size(images, size) for size in SIZES[name]]
    batch = BATCH[name]
    steps = len(labels) // batch
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE[name], epochs * steps, pct_start=0.25)
    net.train()
    layout = torch.channels_last if name == "cifar10_cnn" else torch.contiguous_format
    net.to(memory_format=layout)
    start = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(labels))
        total = 0.0
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch]
            x = net.prepare(versions[int(torch.randint(len(versions), ()))][index])
            x = (crop_flip(x) if net.channels == 3 else jitter(x)).contiguous(memory_format=layout)
            # bfloat16 halves the time on processors that have it; the shipped network runs in float32
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "cifar10_cnn"):
                logits = net.classify(net.embed(x))
            loss = F.cross_entropy(logits.float(), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() / steps
        seconds = time.monotonic() - start
        print(f"epoch {epoch + 1}/{epochs}: cross-entropy {total:.4f}, {seconds:.0f} s", flush=True)


def accuracy(name: str, weights: Path, images: Tensor, labels: Tensor) -> float:
    """Share of right answers of the network as written to `weights`."""
    net = extractor(name, str(weights))
    right = sum(
        int((net.logits(x).argmax(1) == y).sum()) for x, y in zip(images.split(500), labels.split(500), strict=True)
    )
    return right / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one of gantrick's small feature extractors.")
    parser.add_argument("name", choices=sorted(EPOCHS))
    parser.add_argument("--data", type=Path, default=Path("~/.cache/gantrick-data"), help="folder of the data")
    parser.add_argument("--epochs", type=int, default=None, help=f"default: {EPOCHS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for NAME.pt")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    name, data = args.name, args.data.expanduser()
    sets = {"digits_cnn": digits, "mnist_cnn": lambda: mnist(data), "cifar10_cnn": lambda: cifar10(data)}
    (images, labels), (test_images, test_labels) = sets[name]()

    module = importlib.import_module(f"gantrick.metric.features.{name}")
    kind = next(v for v in vars(module).values() if isinstance(v, type) and getattr(v, "name", None) == name)
    net: SmallCNN = kind()
    train(net, images, labels, EPOCHS[name] if args.epochs is None else args.epochs)

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.pt"
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    print(f"{path}: {path.stat().st_size} bytes, fingerprint {extractor(name, str(path)).fingerprint}")
    for size in SIZES[name]:
        reached = accuracy(name, path, at_size(test_images, size), test_labels)
        print(f"test accuracy at {size}x{size}: {reached:.4f} of {len(test_labels)}")


if __name__ == "__main__":
    main()
