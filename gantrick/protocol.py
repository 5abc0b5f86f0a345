"""How final figures are taken elsewhere: split, number of fakes, resizer. Figures compare only within one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gantrick.types import ConfigError


@dataclass(frozen=True)
class Protocol:
    """What a protocol sets of every metric that has such an option; None: as the metric has it.

    samples "reals": as many fakes as there are reals in the split.
    """

    words: str
    split: Literal["train", "test"] | None = None
    samples: int | Literal["reals"] | None = None
    resizer: str | None = None

    def options(self, has: Mapping[str, Any], reals: int) -> dict[str, Any]:
        """The options it sets of a metric that has these."""
        samples = reals if self.samples == "reals" else self.samples
        wanted = {"split": self.split, "samples": samples, "resizer": self.resizer}
        return {key: value for key, value in wanted.items() if value is not None and key in has}


PROTOCOLS = {
    "field": Protocol("the whole training split against 50,000 fakes, as most papers do", "train", 50_000),
    "training": Protocol("as the run took its figures while it trained"),
    "pytorch_fid": Protocol("field, resized by pytorch-fid's bilinear filter", "train", 50_000, "pytorch_fid"),
    "clean_fid": Protocol("field, resized by clean-fid's antialiased bicubic filter", "train", 50_000, "clean_fid"),
    "mimicry": Protocol("50,000 fakes against the training split, of which it takes 50,000", "train", 50_000),
    "studiogan": Protocol("as many fakes as the training split has reals", "train", "reals", "pytorch_fid"),
}


def protocol(name: str) -> Protocol:
    """Raises ConfigError for a name that is none."""
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol: there is none called {name}; choose {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
