"""Arrays of an .npz file as samples."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gantrick.types import ConfigError


class Layout(NamedTuple):
    """N, the shape of one sample, (C, H, W) or (D,), and whether the file has its channels last."""

    samples: int
    shape: tuple[int, ...]
    channels_last: bool = False


def layout(path: Path, key: str) -> Layout:
    """What the header of the array `key` says. Raises ConfigError where the array is not there or not of samples."""
    with _reading(path), zipfile.ZipFile(path) as archive, archive.open(_member(archive, path, key)) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    found = None
    if dtype == np.uint8 and len(shape) == 3:
        found = Layout(shape[0], (1, *shape[1:]))
    elif dtype == np.uint8 and len(shape) == 4 and shape[3] in (1, 3):  # wins where both ends could be channels
        found = Layout(shape[0], (shape[3], shape[1], shape[2]), channels_last=True)
    elif dtype == np.uint8 and len(shape) == 4 and shape[1] in (1, 3):
        found = Layout(shape[0], shape[1:])
    elif dtype.kind == "f" and len(shape) == 2:
        found = Layout(*shape[:1], shape[1:])
    if found is None:
        raise ConfigError(
            f"dataset.path: {key} of {path} is {dtype} {shape}; store it as uint8 (N, H, W, C), (N, C, H, W) or "
            "(N, H, W) with C 1 or 3, or as float points (N, D)"
        )
    if found.samples < 2 or 0 in found.shape:
        raise ConfigError(
            f"dataset.path: {key} of {path} has shape {shape}; a GAN needs two samples at least, store more"
        )
    return found


def has(path: Path, key: str) -> bool:
    with _reading(path), zipfile.ZipFile(path) as archive:
        return f"{key}.npy" in archive.namelist()


def read_samples(path: Path, key: str) -> Tensor:
    """The array `key` as uint8 (N, C, H, W) or float32 (N, D)."""
    found = layout(path, key)
    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        values = arrays[key]
    if len(found.shape) == 1:
        points = torch.from_numpy(values.astype(np.float32))
        if not points.isfinite().all():
            raise ConfigError(f"dataset.path: {key} of {path} has values that are not finite in float32; remove them")
        return points
    if found.channels_last:
        values = values.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(values)).view(found.samples, *found.shape)


def read_labels(path: Path, key: str, count: int) -> Tensor:
    """The array `key`, whole numbers from 0 of shape (N,) or (N, 1), as int64 (N,)."""
    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        _member(arrays.zip, path, key)
        values = arrays[key]
    if values.dtype.kind not in "iu" or values.shape not in ((count,), (count, 1)) or values.min() < 0:
        raise ConfigError(
            f"dataset.labels: {key} of {path} is {values.dtype} {values.shape}; store {count} whole numbers from 0, "
            "or set dataset.labels=null"
        )
    return torch.from_numpy(values.reshape(count).astype(np.int64))


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> str:
    names = archive.namelist()
    if f"{key}.npy" not in names:
        there = ", ".join(name.removesuffix(".npy") for name in names) or "none"
        raise ConfigError(f"dataset.path: {path} has no array {key!r}; name one of its arrays ({there})")
    return f"{key}.npy"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Every way in which a file is no good, as one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(f"dataset.path: there is no file {path}; give the path of an .npz file") from error
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ConfigError(
            f"dataset.path: {path} is not a sound .npz file ({reason}); write it anew with numpy.savez"
        ) from error
