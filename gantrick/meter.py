"""Means of many scalars, and the first of them to go bad, kept on the device until somebody reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gantrick import parallel


class Meter:
    """Sums per name since the last reading, and the step at which each name was first not finite.

    A reading is the only moment at which the host waits for the device, and at which processes compare theirs: what is
    read are means over processes, and what went bad in one went bad in all.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], tuple[Tensor, Tensor, Tensor | int]] = {}

    def add(self, values: Mapping[str, Tensor], step: int, counted: Tensor | None = None) -> None:
        """counted: 1 or 0 on the device; with 0 it is as if nothing had been added."""
        names = tuple(values)
        new = torch.stack([value.detach().float() for value in values.values()])
        if names not in self._groups:
            self._groups[names] = (torch.zeros_like(new), torch.full_like(new, torch.inf), 0)
        total, bad, count = self._groups.pop(names)  # and put in again: the order is that of the latest step
        good = torch.isfinite(new)
        if counted is not None:
            new, good = torch.where(counted > 0, new, 0.0), good | (counted <= 0)
        total += new
        torch.minimum(bad, torch.where(good, torch.inf, float(step)), out=bad)
        self._groups[names] = (total, bad, count + (1 if counted is None else counted))

    def read(self) -> dict[str, float]:
        """The mean of each name since the last reading. What went bad is remembered."""
        sums: dict[str, tuple[float, float]] = {}
        for names, (total, bad, counts) in self._groups.items():
            count = float(counts)
            for name, value in zip(names, parallel.mean(total).tolist() if count else (), strict=False):
                before, n = sums.get(name, (0.0, 0))
                sums[name] = (before + value, n + count)
            self._groups[names] = (torch.zeros_like(total), bad, 0)
        return {name: value / count for name, (value, count) in sums.items()}

    def state_dict(self) -> list[dict[str, Any]]:
        """The sums of all processes, a row each, so that as many of them go on in the same bits."""
        return [
            {"names": list(names), "total": parallel.gather(total[None]), "bad": parallel.least(bad), "count": count}
            for names, (total, bad, count) in self._groups.items()
        ]

    def load_state_dict(self, state: list[dict[str, Any]], device: torch.device) -> None:
        self._groups = {}
        for group in state:
            totals = group["total"].to(device)
            total = totals[parallel.rank()].clone() if len(totals) == parallel.world() else totals.mean(0)
            self._groups[tuple(group["names"])] = (total, group["bad"].to(device), group["count"])

    def first_bad(self) -> tuple[str, int] | None:
        """(name, step) of the first value ever that was not finite, or None.

        Names that went bad in one step are told apart by the order in which the step computed them.
        """
        first: tuple[str, int] | None = None
        for names, (_, bad, _) in self._groups.items():
            for name, step in zip(names, parallel.least(bad).tolist(), strict=True):
                if step != float("inf") and (first is None or step < first[1]):
                    first = (name, int(step))
        return first
