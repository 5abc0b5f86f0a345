"""What every test has: one thread, a seed of its own, and the helper modules of this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the commands that tests start too

import pytest
import torch

if (folder := str(Path(__file__).parent)) not in sys.path:
    sys.path.insert(0, folder)  # `from playing import Game` from any folder below

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_statistics(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept on disk of reals is kept for these tests alone, and those of a test's subprocesses."""
    os.environ["GANTRICK_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Whatever ran before, a test draws the same numbers."""
    torch.manual_seed(0)
