"""`gantrick fid`: the Fréchet distance of two sets of images on disk, as pytorch-fid takes it.

A set is a folder or a zip of images, an .npz of them, or the .npz of statistics (mu, sigma) that pytorch-fid writes and
reads, and this too: with the count and the extractor beside them. Statistics of the reference are kept on this machine.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrick import machine
from gantrick.metric import features
from gantrick.metric._frechet import Moments, distance, moments
from gantrick.metric._images import Images, images, members
from gantrick.metric._store import stored
from gantrick.types import ConfigError


@dataclass(frozen=True)
class Statistics:
    """The moments of a set, how many images it has if that is known, and the extractor if that is."""

    path: Path
    moments: Moments
    count: int | None = None
    extractor: str | None = None
    fingerprint: str | None = None
    resizer: str | None = None
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"{self.path} ({'unknown' if self.count is None else self.count} images)"


@dataclass(frozen=True)
class Report:
    """The figure's name, its value, what made it, and what should be known of it."""

    name: str
    value: float
    protocol: dict[str, Any]
    notes: tuple[str, ...]


@dataclass
class Fid:
    """One way of measuring. tell: takes a warning. extractor: None is inception, or what statistics say."""

    extractor: str | None = None
    weights: str | None = None
    resizer: str | None = None
    batch_size: int | None = None
    device: str | None = None
    cache: bool = True
    tell: Callable[[str], object] = field(default=lambda _: None)

    def compare(self, judged: Path, reference: Path) -> Report:
        """Raises ConfigError where a set, the statistics or the extractor are no good; GantrickError for no figure."""
        found = [_opened(path) for path in (judged, reference)]  # both, before anything takes long
        said = {side.extractor for side in found if isinstance(side, Statistics) and side.extractor}
        if len(said | ({self.extractor} if self.extractor else set())) > 1:
            theirs = ", ".join(f"{s.path} of {s.extractor}" for s in found if isinstance(s, Statistics) and s.extractor)
            asked = f", and --extractor is {self.extractor}" if self.extractor else ""
            raise ConfigError(f"the statistics are of another extractor: {theirs}{asked}; take those of one extractor")
        self.extractor = self.extractor or next(iter(said), "inception")
        dim = self._dim()
        for side in found:
            if isinstance(side, Statistics) and len(side.moments.mean) != dim:
                raise ConfigError(
                    f"{side.path}: has {len(side.moments.mean)} features, and {self.extractor} has {dim}; "
                    "give those of this extractor, or the images"
                )
        if not all(isinstance(side, Statistics) for side in found):
            self._must_agree(found, self.network.fingerprint, self.network.resizer)
        a, b = (
            side if isinstance(side, Statistics) else self.measured(side, keep=number == 1)
            for number, side in enumerate(found)
        )
        self._must_agree([a], b.fingerprint, b.resizer)
        return self._report(a, b)

    def save(self, source: Path, out: Path) -> Statistics:
        """Writes the statistics of a set where pytorch-fid and `compare` can read them. Raises ConfigError."""
        if out.suffix != ".npz" or out.exists() or not out.absolute().parent.is_dir():
            what = "exists" if out.exists() else "is no .npz" if out.suffix != ".npz" else "is in no folder that exists"
            raise ConfigError(f"{out}: {what}; name a new .npz file for the statistics")
        found = images(source)
        self.extractor = self.extractor or "inception"
        statistics = self.measured(found, keep=False)
        partial = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            with open(partial, "wb") as file:
                np.savez_compressed(
                    file,
                    mu=statistics.moments.mean.numpy(),
                    sigma=statistics.moments.covariance.numpy(),
                    count=np.array(statistics.count),
                    extractor=np.array(statistics.extractor),
                    fingerprint=np.array(statistics.fingerprint),
                    resizer=np.array(statistics.resizer),
                )
            os.replace(partial, out)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return statistics

    def measured(self, found: Images, keep: bool) -> Statistics:
        """The statistics of images; keep: on this machine too, and taken from there where they are."""
        network = self.network

        def make() -> dict[str, Tensor]:
            tensors = moments(self._features(found)).tensors()
            sizes = [(*size, count) for size, count in sorted(found.sizes.items())]
            return {**tensors, "sizes": torch.tensor(sizes), "transparent": torch.tensor(len(found.transparent))}

        key = {
            "moments": 1,
            "files": hashlib.sha256(json.dumps(found.files).encode("utf-8", "backslashreplace")).hexdigest(),
            "extractor": self.extractor,
            "fingerprint": network.fingerprint,
            "resizer": network.resizer,
        }
        tensors = stored(key, make, self.tell) if keep and self.cache else make()
        notes = []
        sizes: list[list[int]] = tensors["sizes"].tolist()
        if len(sizes) > 1:
            smallest, largest = (f"{height}x{width}" for height, width, _ in (sizes[0], sizes[-1]))
            notes.append(f"{found.path}: {len(sizes)} sizes, {smallest} to {largest}; each is resized on its own")
        if transparent := int(tensors["transparent"]):
            notes.append(f"{found.path}: {transparent} images have transparency, which is dropped, as pytorch-fid does")
        if found.left_out:
            notes.append(f"{found.path}: {found.left_out} images in folders below it are left out, as pytorch-fid does")
        return Statistics(
            found.path,
            Moments.restored(tensors),
            found.count,
            self.extractor,
            network.fingerprint,
            network.resizer,
            tuple(notes),
        )

    @cached_property
    def network(self) -> features.Extractor:
        """Raises ConfigError with what to do about it."""
        assert self.extractor is not None
        try:
            return features.extractor(self.extractor, self.weights, self._device, self.resizer)
        except (features.MissingWeights, ValueError) as error:
            raise ConfigError(str(error)) from error

    @cached_property
    def _device(self) -> torch.device:
        try:
            device = torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
            torch.zeros((), device=device)
        except (
            RuntimeError,
            AssertionError,
            NotImplementedError,
        ) as error:  # as CUDA is not built in
            raise ConfigError(f"--device {self.device}: is not to be had here; choose cpu, or leave it out") from error
        return device

    def _features(self, found: Images) -> Iterator[Tensor]:
        if self._device.type == "cpu":
            machine.keep_freed_memory()
        size = self.batch_size or (256 if self._device.type == "cuda" else 64)
        with _progress(found) as advance:
            for batch in found.batches(size):
                rows = self.network(batch)
                if not bool(rows.isfinite().all()):
                    raise ConfigError(
                        f"{found.path}: {self.extractor} gives features that are not finite; its weights are damaged "
                        "or not its own, replace them"
                    )
                yield rows
                advance(len(rows))

    def _dim(self) -> int:
        """The number of the extractor's features, without its weights."""
        if self.extractor not in features.names():
            known = ", ".join(features.names())
            raise ConfigError(f"--extractor {self.extractor}: there is none of this name; there are {known}")
        module = importlib.import_module(f"{features.__name__}.{self.extractor}")
        classes: list[Any] = [value for value in vars(module).values() if isinstance(value, type)]
        return next(int(cls.dim) for cls in classes if vars(cls).get("name") == self.extractor)

    def _must_agree(self, sides: list[Any], fingerprint: str | None, resizer: str | None) -> None:
        for side in sides:
            for what, own, theirs in (
                ("weights", getattr(side, "fingerprint", None), fingerprint),
                ("resizing", getattr(side, "resizer", None), resizer),
            ):
                if own and theirs and own != theirs:
                    raise ConfigError(
                        f"{side.path}: its statistics were made with other {what} ({own}, and here {theirs}); "
                        "make them anew with --save-stats, or give the images"
                    )

    def _report(self, a: Statistics, b: Statistics) -> Report:
        protocol: dict[str, Any] = {
            "extractor": self.extractor,
            "extractor_fingerprint": a.fingerprint or b.fingerprint,
            "resizer": a.resizer or b.resizer,
            "judged_count": a.count,
            "reference_count": b.count,
            "quantisation": "uint8",
        }
        notes = [*a.notes, *b.notes]
        for side in (a, b):
            if side.fingerprint is None:
                notes.append(f"{side.path}: the statistics do not say of which extractor; taken for {self.extractor}'s")
        dim = len(a.moments.mean)
        fewest = min((side.count for side in (a, b) if side.count is not None), default=None)
        if fewest is not None and fewest <= dim:
            protocol["rank"] = "below full"
            notes.append(
                f"rank below full: {fewest} images for {dim} features leave the covariance singular; the distance is "
                "exact, but too high for the distributions, and compares only with figures of as many images"
            )
        text = json.dumps(protocol, sort_keys=True)
        protocol["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()[:12]
        return Report(f"fid/{self.extractor}", distance(a.moments, b.moments), protocol, tuple(notes))


def _opened(path: Path) -> Statistics | Images:
    inside = members(path)
    return _statistics(path) if {"mu.npy", "sigma.npy"} <= set(inside) else images(path)


def _statistics(path: Path) -> Statistics:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        mean, covariance = (torch.from_numpy(arrays[name].astype(np.float64)) for name in ("mu", "sigma"))
        count = int(arrays["count"]) if "count" in arrays else None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path}: the statistics cannot be read ({error}); write them anew") from error
    dim = len(mean) if mean.ndim == 1 else 0
    if covariance.shape != (dim, dim) or dim == 0:
        shapes = f"mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)}"
        raise ConfigError(f"{path}: {shapes} are not a mean and a covariance; write them anew")
    if count is not None and count < 2:
        raise ConfigError(f"{path}: count is {count}, and a covariance needs two images at least; give more")
    if not (mean.isfinite().all() and covariance.isfinite().all()):
        raise ConfigError(f"{path}: the statistics are not finite; write them anew from sound features")
    if not torch.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * float(covariance.abs().max())):
        raise ConfigError(f"{path}: sigma is not symmetric, so it is no covariance; write it anew")
    said: dict[str, Any] = {
        name: str(arrays[name]) for name in ("extractor", "fingerprint", "resizer") if name in arrays
    }
    return Statistics(path, Moments.given(mean, covariance, count), count, **said)


@contextmanager
def _progress(found: Images) -> Iterator[Callable[[int], object]]:
    """A bar with the time left, on a terminal; elsewhere nothing. Gives a function of how many more were done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(str(found.path), total=found.count)
        yield lambda count: bar.advance(task, count)
