"""Several trained generators as one: of which runs, at which checkpoints, in which shares; and the folder that says so.

A mixture is G = Σ_k α_k G_k: each sample is drawn from member k with probability α_k. Its members are checkpoints of
one run, runs of several seeds, or the components that `gantrick adagan` trained; a folder with `mixture.json` names
them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrick import sampling
from gantrick.checkpoint import numbered
from gantrick.evaluation import modes_of
from gantrick.sampling import Trained, Weights, load
from gantrick.tracking.folder import write_atomically
from gantrick.types import ConfigError, GantrickError

FILE = sampling.MIXTURE


@dataclass(frozen=True)
class Member:
    """A generator and its share: `checkpoint` is best, last or a step of the run."""

    run: Path
    checkpoint: str
    share: float = 1.0


@dataclass(frozen=True)
class Part:
    """What is drawn from as one thing: a checkpoint of a run, or a mixture. Its members' shares have the sum 1."""

    members: tuple[Member, ...]
    folder: Path | None = None  # of the run or the mixture; None where it was put together for the moment

    @property
    def mixture(self) -> bool:
        return len(self.members) > 1 or self.folder != self.members[0].run

    @property
    def checkpoint(self) -> str:
        return "mixture" if self.mixture else self.members[0].checkpoint


# --- folders ---------------------------------------------------------------------------------------------------------


def is_mixture(folder: Path) -> bool:
    return (folder / FILE).is_file()


def write(folder: Path, members: Iterable[Member], **more: Any) -> None:
    """Replaces the folder's mixture.json; runs inside the folder are named as seen from it."""

    def seen(run: Path) -> str:
        inside = run.absolute().is_relative_to(folder.absolute())
        return str(run.absolute().relative_to(folder.absolute()) if inside else run.absolute())

    rows = [{"run": seen(m.run), "checkpoint": m.checkpoint, "share": m.share} for m in members]
    write_atomically(folder / FILE, json.dumps({"members": rows, **more}, indent=2) + "\n")


def read(folder: Path) -> tuple[Member, ...]:
    """The members that a folder names, their shares with the sum 1. Raises ConfigError."""
    path = folder / FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["members"]
        found = [Member(folder / str(r["run"]), str(r["checkpoint"]), float(r["share"])) for r in rows]
        if not found or any(not 0 <= m.share < math.inf for m in found) or not sum(m.share for m in found):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: does not name members with shares at least 0; restore it, or name the runs themselves"
        ) from error
    gone = [member.run for member in found if not (member.run / "config.yaml").is_file()]
    if gone:
        raise ConfigError(f"{path}: names {gone[0]}, which is no run folder; put it back, or take it out of the file")
    return _normalised(found)


def _normalised(members: Sequence[Member]) -> tuple[Member, ...]:
    whole = sum(member.share for member in members)
    return tuple(replace(member, share=member.share / whole) for member in members)


# --- from words ------------------------------------------------------------------------------------------------------


def check_checkpoints(text: str, faults: list[str]) -> tuple[str, ...]:
    """ "best,last", "all", "1000,2000" as a tuple; what is none of them is a fault."""
    named = tuple(text.strip("[]").split(","))
    faults += [
        f"checkpoint: must be best, last, all or a step, not {which!r}"
        for which in named
        if which not in ("best", "last", "all") and not which.isdecimal()
    ]
    return named


def checkpoints_of(run: Path, asked: Sequence[str]) -> list[str]:
    """Those asked for of a run, `all` being those that stay; best and last are one where there is no best.

    Raises ConfigError where there is none.
    """
    kept, chosen = run / "checkpoints", list[str]()
    for which in asked:
        if which == "all":
            chosen += [str(int(file.stem)) for file in reversed(numbered(kept))]
        elif which != "best" or (kept / "best.pt").is_file() or "last" not in asked:
            chosen.append(which)
    if not chosen:
        raise ConfigError(f"{run}: keeps no checkpoints by step; train with keep_every, or choose best or last")
    return list(dict.fromkeys(chosen))


def parts_of(runs: Iterable[Path], asked: Sequence[str] | None, otherwise: Sequence[str]) -> list[Part]:
    """What these folders stand for: each checkpoint of a run, each mixture as a whole.

    asked: checkpoints, None where none were named: then `otherwise`, and of a mixture those that it names itself; a
    mixture takes one of them, of all its members. Raises ConfigError.
    """
    found = []
    for run in runs:
        if not is_mixture(run):
            found += [Part((Member(run, which),), run) for which in checkpoints_of(run, asked or otherwise)]
            continue
        members = read(run)
        if asked is not None and (len(asked) > 1 or asked == ("all",)):
            raise ConfigError(f"checkpoint: {','.join(asked)} is of one run, and {run} is a mixture; choose one step")
        found.append(Part(tuple(replace(m, checkpoint=asked[0]) for m in members) if asked else members, run))
    return found


def shares_of(text: str, count: int, faults: list[str]) -> tuple[float, ...]:
    """ "0.7,0.3" as shares of `count` parts; "uniform" and "by_mode" are even ones."""
    if text in ("uniform", "by_mode"):
        return (1.0,) * count
    try:
        shares = tuple(float(word) for word in text.strip("[]").split(","))
    except ValueError:
        shares = ()
    if len(shares) != count or any(not 0 <= share < math.inf for share in shares) or not sum(shares):
        faults.append(f"mixture: must be uniform, by_mode, or {count} shares at least 0 like 0.7,0.3, not {text!r}")
    return shares


def together(parts: Sequence[Part], shares: Sequence[float]) -> Part:
    """All parts as one mixture; a mixture among them hands its share on to its members."""
    members = [
        replace(member, share=share * member.share)
        for part, share in zip(parts, shares, strict=True)
        for member in part.members
    ]
    return Part(_normalised(members))


def told(members: Sequence[Member], trained: Sequence[Trained], weights: Weights | None = None) -> list[dict[str, Any]]:
    """The members as a protocol names them: run, step, the generator's weights, share."""
    return [
        {
            "run": "/".join(one.path.absolute().parts[-2:]),
            "step": one.step,
            "generator": sampling.chosen_generator(one.gan, weights)[1],
            "share": round(member.share, 6),
        }
        for member, one in zip(members, trained, strict=True)
    ]


# --- drawing ---------------------------------------------------------------------------------------------------------


class Mixture:
    """An opened mixture: `gantrick.mixture.open_folder(FOLDER).sample(64)`."""

    def __init__(self, members: Sequence[Member], trained: Sequence[Trained]):
        self.members, self.trained = tuple(members), tuple(trained)
        self.shares = [member.share for member in members]
        unlike = {_data_of(one): one.path for one in trained}
        if len(unlike) > 1:
            first, second, *_ = unlike.values()
            raise ConfigError(f"mixture: {second} is of other data than {first}; mix runs of one data set")

    def sample(
        self, count: int, seed: int = 0, weights: Weights | None = None, labels: Sequence[int] | None = None
    ) -> Tensor:
        """As `Trained.sample`: (count, C, H, W) in [-1, 1] or points (count, D), on the CPU."""
        for one in self.trained if labels is not None else ():
            one.check_labels(labels or ())
        gans = [one.gan for one in self.trained]
        drawn = sampling.draw_mixture(gans, self.shares, count, seed, weights=weights, labels=labels)
        return torch.cat(list(drawn)).cpu()

    def sample_by_mode(self, count: int, seed: int = 0, weights: Weights | None = None) -> Tensor:
        """The same with an even share for each mode of the data, from the member that finds it most often.

        Raises ConfigError where the data know no modes.
        """
        first = self.trained[0]
        mode_of, modes = modes_of(first.gan.assembly.dataset, first.recipe.resolved.get("extractor"))
        gans = [one.gan for one in self.trained]
        return torch.cat(list(sampling.draw_by_mode(gans, mode_of, modes, count, seed, weights=weights))).cpu()


def _data_of(trained: Trained) -> str:
    """What a run learns, however it is read and weighted."""
    dataset: Mapping[str, Any] = trained.recipe.work["dataset"]
    return json.dumps({k: v for k, v in dataset.items() if k != "weights"}, sort_keys=True, default=str)


def open_members(members: Sequence[Member], device: str = "auto") -> Mixture:
    """Raises GantrickError naming what is missing, and where the members are of unlike data."""
    return Mixture(members, [load(member.run, member.checkpoint, device) for member in members])


def open_folder(folder: str | Path, device: str = "auto") -> Mixture:
    """The mixture that a folder names. Raises GantrickError."""
    place = Path(os.path.expanduser(folder))
    if not is_mixture(place):
        raise GantrickError(f"{place}: is no mixture, it has no {FILE}; gantrick.load opens a run")
    return open_members(read(place), device)
