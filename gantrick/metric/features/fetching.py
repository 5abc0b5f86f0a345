"""Where the weights lie that do not come with gantrick."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gantrick.metric.features.base import MissingWeights

TIMEOUT = 10.0
"""seconds without an answer after which the download is given up"""
REMEDY = "set metric.fid.weights=PATH (of gantrick fid: --weights PATH)"


def locate(who: str, weights: str | None, url: str, hashed: bool = True) -> Path:
    """The weights' file: `weights`, else torch.hub's copy, else a download; MissingWeights if all fail.

    hashed: the file's name ends in the first digits of its sha256, which a download must have.
    """
    if weights:
        path = Path(os.path.expanduser(weights))
        if not path.is_file():
            raise MissingWeights(f"{who} found no weights at {path}; {REMEDY} to a file")
        return path
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.is_file():
        try:
            with impatient():
                torch.hub.load_state_dict_from_url(
                    url,
                    map_location="cpu",
                    progress=sys.stderr.isatty(),
                    check_hash=hashed,
                    weights_only=True,
                )
        except (OSError, RuntimeError, http.client.HTTPException) as error:  # RuntimeError: the hash is wrong
            raise MissingWeights(
                f"{who} found no weights and could not download them ({error}); put {path.name} from {url} into "
                f"{path.parent} or {REMEDY} to where it lies"
            ) from error
    return path


@contextmanager
def impatient() -> Iterator[None]:
    """Inside, a server that does not answer is given up: torch.hub has no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
