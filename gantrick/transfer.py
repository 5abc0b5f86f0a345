"""Fine-tuning: a run that begins with another's weights, and weights that stay as they begin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from gantrick import checkpoint
from gantrick.types import ConfigError, GantrickError, Player


@dataclass(frozen=True)
class Source:
    """What another run gives: tensors by name ("generator.body.first.weight"), and where they are from."""

    path: Path
    step: int
    tensors: Mapping[str, Tensor]

    def fit(self, networks: Mapping[Player, Module]) -> list[str]:
        """Why these tensors cannot go into these networks: one sentence, or none."""
        here = {name: tensor.shape for name, tensor in named(networks)}
        unlike = [name for name, tensor in self.tensors.items() if name in here and tensor.shape != here[name]]
        if unlike:
            first = unlike[0]
            more = f" (and {len(unlike) - 1} more)" if len(unlike) > 1 else ""
            return [
                f"init_from={self.path}: {first} is {tuple(self.tensors[first].shape)} there and {tuple(here[first])} "
                f"here{more}; choose the same model, or name what fits in init_take"
            ]
        if not self.tensors.keys() & here.keys():
            return [f"init_from={self.path}: has no weight of these networks' names; choose the same model"]
        return []

    @torch.no_grad()
    def put_into(self, networks: Mapping[Player, Module]) -> None:
        for name, tensor in named(networks):
            if name in self.tensors:
                tensor.copy_(self.tensors[name])

    def told(self, networks: Mapping[Player, Module]) -> str:
        """What was taken and what was not, in a line."""
        here = [name for name, _ in named(networks)]
        fresh = [name for name in here if name not in self.tensors]
        text = f"{len(here) - len(fresh)} of {len(here)} weights and buffers of {self.path}, step {self.step:,}"
        return text + (f"; new: {', '.join(fresh[:3])}{' …' if len(fresh) > 3 else ''}" if fresh else "")


def named(networks: Mapping[Player, Module]) -> Iterable[tuple[str, Tensor]]:
    """Every weight and buffer that a checkpoint has of these networks, as "generator.<name>"."""
    for player, network in networks.items():
        for name, tensor in network.state_dict(keep_vars=True).items():
            yield f"{player}.{name}", tensor


def read(source: str, take: Sequence[str]) -> Source:
    """What the patterns `take` name in a run's folder (its best checkpoint, else its last) or in a checkpoint's file.

    Raises ConfigError where there is none, or where a pattern names nothing.
    """
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        folder = path / "checkpoints"
        path = folder / "best.pt" if (folder / "best.pt").is_file() else folder / "last.pt"
    try:
        state = checkpoint.load(path)
    except GantrickError as error:
        raise ConfigError(f"init_from: {error}") from error
    tensors = {
        f"{player}.{name}": t for player in ("generator", "discriminator") for name, t in state["gan"][player].items()
    }
    if faults := unmatched("init_take", take, tensors, f"weight of {path}"):
        raise ConfigError(*faults)
    return Source(path, int(state["step"]), {n: t for n, t in tensors.items() if matches(n, take)})


def freeze(networks: Mapping[Player, Module], patterns: Sequence[str]) -> list[str]:
    """Takes the gradient from the parameters that a pattern names; their moving statistics go on.

    Gives back why this cannot be: one sentence for a pattern that names nothing or a player that could not learn.
    """
    for name, parameter in _parameters(networks).items():
        if matches(name, patterns):
            parameter.requires_grad_(False)
    faults = unmatched_parameters("freeze", patterns, networks)
    for player, network in networks.items():
        if not any(p.requires_grad for p in network.parameters()):
            faults.append(f"freeze: leaves the {player} nothing to learn; name fewer of its parameters")
    return faults


def _parameters(networks: Mapping[Player, Module]) -> dict[str, Parameter]:
    return {f"{player}.{name}": p for player, net in networks.items() for name, p in net.named_parameters()}


def unmatched_parameters(key: str, patterns: Sequence[str], networks: Mapping[Player, Module]) -> list[str]:
    """A sentence for each pattern that names no parameter."""
    return unmatched(key, patterns, _parameters(networks), "parameter of these networks")


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unmatched(key: str, patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """A sentence for each pattern that names nothing, with names that there are."""
    names = list(names)
    some = ", ".join(dict.fromkeys([*names[:2], *names[-2:]]))
    return [
        f"{key}: no {what} is called {pattern!r}; there are {some} …, and * stands for any part of a name"
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
