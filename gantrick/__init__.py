"""gantrick composes a GAN from named parts, trains it, and says what each part was worth.

    import gantrick

    recipe = gantrick.compose(["loss=wgan_ct", "trick=[ema]"])   # checked as `gantrick train` checks it
    images = gantrick.load("runs/…").sample(64, seed=0)          # of a trained run

A component of one's own is a class under `@gantrick.register("trick.mine")`, in a file named by `imports=[mine.py]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrick.config import compose
    from gantrick.registry import register
    from gantrick.sampling import load
    from gantrick.stages import Component, Forbidden
    from gantrick.types import Paper

__version__ = "0.1.0"
__all__ = ["Component", "Forbidden", "Paper", "__version__", "compose", "load", "register"]

# Nothing is imported before it is used: `gantrick --help` answers without torch.
_HOMES = {
    "compose": "config",
    "register": "registry",
    "load": "sampling",
    "Component": "stages",
    "Forbidden": "stages",
    "Paper": "types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gantrick' has no attribute {name!r}")
    return getattr(import_module(f"gantrick.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
