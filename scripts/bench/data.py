#!/usr/bin/env python3
"""Images per second that reach a training step, by way of reading, at 32 and 256 pixels.

Synthetic photographs (smooth noise, JPEG, 1.25 times the size) are written to a temporary folder and to a zip. Read:

    resident    a feed of uint8 in memory
    folder      a feed of files, read ahead by --workers processes
    zip         the same from a zip
    torchvision ImageFolder with Resize, CenterCrop, RandomHorizontalFlip, ToTensor and Normalize through a DataLoader
                with as many processes, its default collation; the usual way

All give float32 batches in [-1, 1], flipped by chance, on --device. Ways alternate, round after round, each with its
processes running beforehand; the table has medians over rounds and the range.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gantrick.dataset._reading import read
from gantrick.dataset.image_folder import ImageFolder
from gantrick.feed import Feed
from gantrick.types import Reading


def write(folder: Path, count: int, size: int) -> Path:
    """JPEG files in two classes, and a zip of them."""
    stream = np.random.default_rng(0)
    side = size * 5 // 4
    for n in range(count):
        coarse = Image.fromarray(stream.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        path = folder / "pictures" / "ab"[n % 2] / f"{n:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    packed = folder / "pictures.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted((folder / "pictures").rglob("*.jpg")):
            archive.write(file, file.relative_to(folder / "pictures").as_posix())
    return packed


def feed(path: Path, size: int, resident: bool, workers: int, device: torch.device) -> Feed:
    dataset = ImageFolder(str(path), size)
    dataset.reading = Reading(resident=resident, workers=workers)
    return Feed(read(dataset), device, 0, flip=True)


def usual(folder: Path, size: int, batch: int, workers: int, device: torch.device) -> Iterator[torch.Tensor]:
    from torchvision import datasets, transforms

    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.RandomHorizontalFlip()]
    steps += [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder / "pictures"), transforms.Compose(steps)),
        batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )
    while True:
        for images, _ in loader:
            yield images.to(device, non_blocking=True)


def rate(take: Callable[[], torch.Tensor], batch: int, seconds: float, device: torch.device) -> float:
    """Images per second over about so many seconds."""
    for _ in range(3):
        take()
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or count < 3:
        take()
        count += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count * batch / max(time.perf_counter() - started, passed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 256], help="pixels (default 32 256)")
    parser.add_argument("--images", type=int, default=2000, help="files (default %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="(default %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="(default: the CPUs, 8 at most)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"torch {torch.__version__}, {device}, {os.cpu_count()} CPUs, {options.workers} processes,")
    print(
        f"batches of {options.batch}, {options.images} JPEG files, {options.rounds} rounds of {options.seconds:g} s\n"
    )
    print(f"{'pixels':>6}  {'way':<12} {'images/s':>10}  {'range':>19}  {'against torchvision':>19}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            packed = write(Path(folder), options.images, size)
            pictures = Path(folder) / "pictures"
            feeds = {
                "resident": feed(pictures, size, True, 0, device),
                "folder": feed(pictures, size, False, options.workers, device),
                "zip": feed(packed, size, False, options.workers, device),
            }
            loader = usual(Path(folder), size, options.batch, options.workers, device)
            ways: dict[str, Callable[[], torch.Tensor]] = {
                name: (lambda f=f: f.next(options.batch).images)
                for name, f in feeds.items()  # type: ignore[misc]
            }
            ways["torchvision"] = lambda loader=loader: next(loader)  # type: ignore[misc]
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name, take in ways.items():
                    found[name].append(rate(take, options.batch, options.seconds, device))
            base = statistics.median(found["torchvision"])
            for name, rates in found.items():
                middle = statistics.median(rates)
                span = f"{min(rates):,.0f} – {max(rates):,.0f}"
                print(f"{size:>6}  {name:<12} {middle:>10,.0f}  {span:>19}  {middle / base:>18.2f}×")
            for each in feeds.values():
                each.close()
            del loader, ways


if __name__ == "__main__":
    main()
