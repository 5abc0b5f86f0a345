"""Means of many scalars, and the first of them to go bad, kept on the device until somebody reads them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Meter:
    """Sums per name since the last reading, and the step at which each name was first not finite.

    A reading is the only moment at which the host waits for the device.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], tuple[Tensor, Tensor, int]] = {}

    def add(self, values: Mapping[str, Tensor], step: int) -> None:
        names = tuple(values)
        new = torch.stack([value.detach().float() for value in values.values()])
        total, bad, count = self._groups.get(names, (torch.zeros_like(new), torch.full_like(new, torch.inf), 0))
        total += new
        torch.minimum(bad, torch.where(torch.isfinite(new), torch.inf, float(step)), out=bad)
        self._groups[names] = (total, bad, count + 1)

    def read(self) -> tuple[dict[str, float], tuple[str, int] | None]:
        """The mean of each name since the last reading, and (name, step) of the first value that was not finite.

        Names that went bad in the same step are told apart by the order in which the step computed them.
        """
        sums: dict[str, tuple[float, int]] = {}
        first: tuple[str, int] | None = None
        for names, (total, bad, count) in self._groups.items():
            for name, value, step in zip(names, total.tolist(), bad.tolist(), strict=True):
                before, n = sums.get(name, (0.0, 0))
                sums[name] = (before + value, n + count)
                if step != float("inf") and (first is None or step < first[1]):
                    first = (name, int(step))
        self._groups.clear()
        return {name: value / count for name, (value, count) in sums.items()}, first
