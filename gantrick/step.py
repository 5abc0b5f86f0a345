"""The training step: draw, judge, score, penalise, differentiate, move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gantrick.gan import GAN
from gantrick.layers.normalization import commit, take, unrecorded
from gantrick.types import Batch, DiscriminatorOutput, Judged, Latents, PenaltyInputs, Player, Record, Scored, Targets

OPPONENT: dict[Player, Player] = {"discriminator": "generator", "generator": "discriminator"}


def alternate(play: Play) -> None:
    """The default update rule: d_steps turns of D, then g_steps turns of G."""
    for _ in range(play.d_steps):
        play.turn("discriminator")
    for _ in range(play.g_steps):
        play.turn("generator")


class Play:
    """One game: `step` is a round of the update rule. See `types.Play` for what a rule may call."""

    def __init__(
        self,
        gan: GAN,
        draw: Callable[[Player], tuple[Batch | None, Latents]],
        observe: Callable[[Record, Tensor], None],
        *,
        d_steps: int = 1,
        g_steps: int = 1,
        accumulate: int = 1,
        autocast: torch.dtype | None = None,
    ):
        self.gan, self.stages, self.draw, self.observe = gan, gan.stages, draw, observe
        self.d_steps, self.g_steps, self.accumulate, self.dtype = d_steps, g_steps, accumulate, autocast
        self.apart = bool(
            gan.assembly.tags & {"d.batch_statistics", "d.batch_coupled"}
        )  # reals and fakes: two forwards
        self.step = 0

    def round(self, step: int) -> None:
        self.step = step
        self.stages.all("schedule", step)
        (self.stages.one("update_rule") or alternate)(self)
        if (sync := self.stages.one("sync")) is not None:
            sync(self.gan.generator, self.gan.discriminator)
        self.stages.all("average", self.gan.generator, self.gan.discriminator)

    def prepare(self, player: Player) -> None:
        self.stages.all("prepare", player, self.gan.networks[player])

    def turn(self, player: Player) -> None:
        self.prepare(player)
        self.move(player, [self.evaluate(player, *self.draw(player)) for _ in range(self.accumulate)])

    def evaluate(
        self,
        player: Player,
        batch: Batch | None,
        latents: Latents,
        parameters: Mapping[Player, Mapping[str, Tensor]] | None = None,
        create_graph: bool = False,
    ) -> Record:
        networks: Mapping[Player, Any] = self.gan.networks if parameters is None else self.gan.at(parameters)
        present = {name: p for name, p in self.gan.parameters[player].items() if p.requires_grad}
        own = {**present, **(parameters or {}).get(player, {})}
        g, d = networks["generator"], networks["discriminator"]
        with nullcontext() if create_graph else self.gan.frozen(OPPONENT[player]):
            with self._autocast():
                latents = self.stages.chain("refine_latents", latents, g, d)
            with self._autocast(), torch.set_grad_enabled(create_graph or player == "generator"):
                fake = Batch(g(latents), latents.labels)
            scored, real_judged, fake_judged = self._score(player, d, batch, fake, latents)
            means = scored.means(self.gan.discriminator.score_weights)
            terms = {f"loss/{player[0]}_{name}": value for name, value in means.items()}
            terms |= self._penalties(player, networks, real_judged, fake_judged)
        objective = torch.stack(list(terms.values())).sum()
        found = torch.autograd.grad(objective, list(own.values()), create_graph=create_graph, allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(own, found, strict=True) if gradient is not None}
        diagnostics = {f"loss/{player[0]}": objective.detach(), **self._diagnostics(scored, real_judged, fake_judged)}
        statistics = take(self.gan.generator) + take(self.gan.discriminator)
        return Record(player, terms, diagnostics, gradients, real_judged, fake_judged, statistics)

    def move(self, player: Player, records: Sequence[Record]) -> None:
        network, optimizer = self.gan.networks[player], self.gan.optimizers[player]
        gradients = dict(records[0].gradients)
        if len(records) > 1:
            for name in {name: None for record in records for name in record.gradients}:
                found = [record.gradients[name] for record in records if name in record.gradients]
                gradients[name] = torch.stack(found).sum(0) / len(records)
        gradients = self.stages.chain("gradients", gradients, player)
        for name, parameter in self.gan.parameters[player].items():
            parameter.grad = _laid_out_like(parameter, gradients.get(name))
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.stages.all("project", player, network)
        for record in records:
            commit(list(record.statistics))
            self.observe(record, norm)
        self.stages.all("adapt", records)

    def _score(
        self, player: Player, d: nn.Module, real: Batch | None, fake: Batch, latents: Latents
    ) -> tuple[Scored, Judged | None, Judged]:
        if player == "discriminator":
            assert real is not None
            for component in self.stages["mix"]:
                real, fake = component.mix(real, fake)  # type: ignore[operator]
            judged_real, judged_fake = self._judge(d, [(real, None), (fake, latents)])
            targets = Targets(real=_like(judged_real, 1.0), fake=_like(judged_fake, 0.0))
            loss = self.stages.one("d_loss")
        elif real is not None:
            judged_real, judged_fake = self._judge(d, [(real, None), (fake, latents)])
            targets, loss = Targets(generator=_like(judged_fake, 1.0)), self.stages.one("g_loss")
        else:
            judged_real, (judged_fake,) = None, self._judge(d, [(fake, latents)])
            targets, loss = Targets(generator=_like(judged_fake, 1.0)), self.stages.one("g_loss")
        assert loss is not None
        scored = loss(judged_real, judged_fake, self.stages.chain("targets", targets))
        return self.stages.chain("weigh", scored), judged_real, judged_fake

    def _see(self, images: Tensor) -> Tensor:
        images = self.stages.chain("augment", images)
        pack = self.stages.one("pack")
        return images if pack is None else pack(images)

    def _judge(self, d: nn.Module, batches: Sequence[tuple[Batch, Latents | None]]) -> list[Judged]:
        seen = [self._see(batch.images) for batch, _ in batches]
        labels = [batch.labels for batch, _ in batches]
        if self.apart or len(seen) == 1:
            with self._autocast():
                outputs = [d(images, label) for images, label in zip(seen, labels, strict=True)]
        else:
            joined = None if any(label is None for label in labels) else torch.cat([x for x in labels if x is not None])
            with self._autocast():
                outputs = _split(d(torch.cat(seen), joined), [len(images) for images in seen])
        return [Judged(b, images, out, z) for (b, z), images, out in zip(batches, seen, outputs, strict=True)]

    def _penalties(
        self, player: Player, networks: Mapping[Player, Any], real: Judged | None, fake: Judged
    ) -> dict[str, Tensor]:
        def critic(images: Tensor, labels: Tensor | None = None, *, raw: bool = False) -> DiscriminatorOutput:
            with self._autocast(), unrecorded(self.gan.discriminator):
                output: DiscriminatorOutput = networks["discriminator"](self._see(images) if raw else images, labels)
                return output

        def generate(latents: Latents) -> Tensor:
            with self._autocast(), unrecorded(self.gan.generator):
                images: Tensor = networks["generator"](latents)
                return images

        weights = self.gan.discriminator.score_weights
        inputs = PenaltyInputs(player, real, fake, critic, generate, weights, self.step)
        terms: dict[str, Tensor] = {}
        for label, factor, call in self.stages.penalties(f"{player[0]}_penalty", self.step):
            short = f"penalty/{label.partition('.')[2]}"
            value = factor * call(inputs) if factor else fake.scores.new_zeros(())
            terms[short if short not in terms else f"penalty/{label}"] = value
        return terms

    @torch.no_grad()
    def _diagnostics(self, scored: Scored, real: Judged | None, fake: Judged) -> dict[str, Tensor]:
        weights = self.gan.discriminator.score_weights
        found = {name: value @ weights for name, value in scored.diagnostics.items()}
        if real is not None:
            found |= _scores("real", real.scores, weights) | _scores("fake", fake.scores, weights)
            r, f, boundary = real.scores @ weights, fake.scores @ weights, self.gan.boundary
            if boundary is None:
                found["accuracy/d"] = (r[: len(f)] > f[: len(r)]).float().mean()
            else:
                found["accuracy/d"] = ((r > boundary).float().mean() + (f < boundary).float().mean()) / 2
        return found

    def _autocast(self) -> Any:
        return nullcontext() if self.dtype is None else torch.autocast(self.gan.device.type, self.dtype)


def _laid_out_like(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """Fused optimizers walk through memory: a gradient in another memory format would move the wrong weights."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _like(judged: Judged, value: float) -> Tensor:
    return judged.scores.new_full((len(judged.scores),), value)


def _split(output: DiscriminatorOutput, sizes: list[int]) -> list[DiscriminatorOutput]:
    scores, features = torch.split(output.scores, sizes), torch.split(output.features, sizes)
    extra = {name: torch.split(value, sizes) for name, value in output.extra.items()}
    return [
        DiscriminatorOutput(scores[i], features[i], {name: parts[i] for name, parts in extra.items()})
        for i in range(len(sizes))
    ]


def _scores(name: str, scores: Tensor, weights: Tensor) -> dict[str, Tensor]:
    means = scores.mean(0)
    each = {f"score/{name}_{k + 1}": value for k, value in enumerate(means)} if len(means) > 1 else {}
    return {f"score/{name}": means @ weights, **each}
