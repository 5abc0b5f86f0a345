"""A run of a few rounds in memory, for tests: no files, no Hydra, no evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from gantrick import parallel, registry
from gantrick.feed import Feed
from gantrick.gan import GAN, preflight
from gantrick.meter import Meter
from gantrick.recipe import Recipe, check
from gantrick.sampling import draw
from gantrick.step import Play
from gantrick.types import GantrickError, Latents

Entries = Mapping[str, Mapping[str, Any]]
ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.5, 0.9]}


def recipe(
    loss: str = "non_saturating",
    regularizer: Entries | None = None,
    trick: Entries | None = None,
    model: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    partners: bool = True,
    **settings: Any,
) -> Recipe:
    """A tiny DCGAN on 8-pixel digits, or what is asked for instead; entries are {key: options}.

    partners: a trick that needs labels in the other player is given one that brings them there.
    """
    energy = "d.energy" in registry.load("loss", loss).needs if loss in registry.names("loss") else False
    body = {"name": "autoencoder" if energy else "dcgan", "g_width": 4, "d_width": 4, "z_size": 6}
    trick = with_partners(loss, trick or {}) if partners else trick
    named = {
        "regularizer": {k: {"name": k, **v} for k, v in (regularizer or {}).items()},
        "trick": {k: {"name": k, **v} for k, v in (trick or {}).items()},
    }
    return check(
        {
            "model": {**body, **(model or {})},
            "loss": {"name": loss},
            "dataset": dict(dataset or {"name": "digits", "size": 8}),
            "metric": {},
            "optimizer": {"generator": ADAM, "discriminator": ADAM},
            **named,
            **settings,
        }
    )


def with_partners(loss: str, tricks: Entries) -> Entries:
    """The tricks, with one that brings labels into a player where another, or the loss, needs them there.

    Which one depends on what holds G's norms and D's head already.
    """
    found = dict(tricks)

    def parts() -> list[Any]:
        made = []
        for key, options in found.items():
            rest = {k: v for k, v in options.items() if k != "name"}
            with suppress(GantrickError):  # told by whoever checks the recipe
                made.append(registry.create("trick", str(options.get("name", key)), rest))
        return [registry.load("loss", loss), *made]

    def wanting(tag: str) -> bool:
        return any(tag in c.needs for c in parts()) and not any(tag in c.provides for c in parts())

    if wanting("g.labels"):
        if "self_modulation" in found:
            found["self_modulation"] = {**found["self_modulation"], "labels": True}
        elif "skip_z" in found:
            found["shared_embedding"] = {}
        else:
            if any("g.norm" in c.claims for c in parts()):
                found["label_concat"] = {"d_place": "none"}
            else:
                found["conditional_batch_norm"] = {}
    if wanting("d.labels"):
        taken = any("d.direction" in c.claims or "d.energy" in c.needs for c in parts())
        found["acgan" if taken else "projection"] = {}
    return found


class Game:
    """A GAN and its play on the CPU; `rounds` trains, `state` is everything that training changed.

    batch_size is that of all processes together, where there are several.
    """

    def __init__(self, made: Recipe, seed: int = 0, batch_size: int = 6):
        assembly = preflight(made)
        torch.manual_seed(seed)
        device = torch.device("cpu")
        reals = assembly.dataset.load("train")
        self.gan = GAN(assembly, device, reals=Feed(reals, device, seed).next)
        torch.manual_seed(seed + 1)
        share = (parallel.rank(), parallel.world())
        self.feed = Feed(reals, device, seed, share=share)
        extra = {
            name: (s.size, Feed(s.of(reals), device, seed, share=share)) for name, (_, s) in assembly.streams.items()
        }
        self.meter = Meter()
        self.step = 0
        source = torch.Generator().manual_seed(seed)
        real_in_g = assembly.stages.needs("real_in_g")
        s = made.settings

        def drawn(player: str) -> Any:
            real = self.feed.next(batch_size) if player == "discriminator" or real_in_g else None
            if real is not None and extra:
                real = replace(real, extra={name: feed.next(size) for name, (size, feed) in extra.items()})
            latents = self.gan.latents(batch_size, source)
            labels = None if latents.labels is None else parallel.rows(latents.labels)
            return real, Latents(parallel.rows(latents.z), labels)

        def observe(record: Any, norm: torch.Tensor) -> None:
            self.meter.add({**record.terms, **record.diagnostics, f"norm/{record.player[0]}": norm}, self.step)

        self.play = Play(self.gan, drawn, observe, d_steps=s.d_steps, g_steps=s.g_steps, accumulate=s.accumulate)

    def rounds(self, count: int) -> Game:
        for _ in range(count):
            self.play.round(self.step)
            self.step += 1
        return self

    def state(self) -> dict[str, torch.Tensor]:
        """Networks and optimizers, flat."""
        state = self.gan.state_dict()
        flat: dict[str, torch.Tensor] = {}
        for part in ("generator", "discriminator", "components"):
            flat |= {f"{part}.{k}": v.clone() for k, v in state[part].items()}
        for player, optimizer in state["optimizers"].items():
            for index, slots in optimizer["state"].items():
                flat |= {f"{player}.{index}.{k}": v.clone() for k, v in slots.items() if isinstance(v, torch.Tensor)}
        return flat

    def samples(self, count: int = 5) -> torch.Tensor:
        return torch.cat(list(draw(self.gan, count, 0)))


def networks(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The part of a state that belongs to the networks."""
    return {
        k: v
        for k, v in state.items()
        if k.startswith(("generator.", "discriminator.")) and not k.split(".")[1].isdigit()
    }


def equal(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    """The same names and the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
