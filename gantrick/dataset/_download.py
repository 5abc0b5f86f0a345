"""Data sets that torchvision knows where to find, and those that everyone fetches by hand."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gantrick.types import ConfigError


def data_root(root: str | None) -> Path:
    """The folder of downloaded data: `root`, else $GANTRICK_DATA, else ~/.cache/gantrick-data."""
    return Path(os.path.expanduser(root or os.environ.get("GANTRICK_DATA") or "~/.cache/gantrick-data"))


def obtain(who: str, kind: Any, root: Path, download: bool, archives: str | None, remedy: str, **which: Any) -> Any:
    """torchvision's data set `kind` from `root`, put there first where it is not; `which` is train=… or split=….

    `archives`: a glob of packed files below `root` that save the download. Raises ConfigError, which ends in `remedy`,
    where the data cannot be had.
    """
    try:
        return kind(root, download=False, **which)
    except (
        Exception
    ) as error:  # missing, truncated (torchvision raises RuntimeError and others), not readable (OSError)
        reason = f" ({_reason(error)})" if isinstance(error, OSError) else ""

    def fetch(aside: str) -> None:
        for archive in root.glob(archives) if archives else ():
            copy = aside / archive.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(archive, copy)
        kind(aside, download=True, **which)

    bring(who, fetch, root, download, remedy, reason)
    return kind(root, download=False, **which)


def bring(who: str, fetch: Callable[[str], None], root: Path, download: bool, remedy: str, reason: str = "") -> None:
    """What `fetch` leaves in a folder goes to `root`, but for packed files.

    It is fetched into a folder aside and moved file by file, so that runs which start together, or are killed, leave
    no half of it. Raises ConfigError, which ends in `remedy`, where that fails or may not be.
    """
    absent = f"dataset {who}: there are no sound files of it in {root}{reason}"
    if not download:
        raise ConfigError(f"{absent}, and dataset.download is false; {remedy}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            fetch(aside)
            for file in [f for f in Path(aside).rglob("*") if f.is_file() and f.suffix != ".gz"]:
                target = root / file.relative_to(aside)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{absent}, and the download failed ({_reason(error)}); {remedy}") from error


def placed(who: str, path: str | None, *places: str, source: str) -> Path:
    """The folder or zip of pictures that a user has put there: `path`, or the first of `places` below the data's root.

    Raises ConfigError that says where the data come from and where to put them.
    """
    if path is not None:
        return Path(os.path.expanduser(path))  # whoever lists it says what is wrong
    root = data_root(None)
    for place in places:
        for found in (root / place, root / f"{place}.zip"):
            if found.exists():
                return found
    raise ConfigError(
        f"dataset {who}: there is no {' or '.join(str(root / place) for place in places)}, folder or .zip; "
        f"{source}, and put it there, or name it with dataset.path"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
