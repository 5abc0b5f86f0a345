"""Data sets that torchvision knows where to find."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from gantrick.types import ConfigError


def data_root(root: str | None) -> Path:
    """The folder of downloaded data: `root`, else $GANTRICK_DATA, else ~/.cache/gantrick-data."""
    return Path(root or os.environ.get("GANTRICK_DATA") or "~/.cache/gantrick-data").expanduser()


def obtain(kind: Any, root: Path, train: bool, download: bool, archives: str, remedy: str) -> Any:
    """torchvision's data set `kind` from `root`, put there first where it is not.

    It is unpacked in a folder aside and moved file by file, so that runs which start together, or are killed, leave
    no half of it. `archives`: a glob of packed files below `root` that save the download. Raises ConfigError, which
    ends in `remedy`, where the data cannot be had.
    """
    who = f"dataset {kind.__name__.lower()}"
    try:
        return kind(root, train=train, download=False)
    except (
        Exception
    ) as error:  # missing, truncated (torchvision raises RuntimeError and others), not readable (OSError)
        reason = f" ({_reason(error)})" if isinstance(error, OSError) else ""
        absent = f"{who}: there are no sound files of it in {root}{reason}"
    if not download:
        raise ConfigError(f"{absent}, and dataset.download is false; {remedy}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            for archive in root.glob(archives):
                copy = aside / archive.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(archive, copy)
            kind(aside, train=train, download=True)
            for file in [f for f in Path(aside).rglob("*") if f.is_file() and f.suffix != ".gz"]:
                target = root / file.relative_to(aside)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{absent}, and the download failed ({_reason(error)}); {remedy}") from error
    return kind(root, train=train, download=False)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
