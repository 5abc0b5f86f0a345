"""The training step: draw, judge, score, penalise, differentiate, move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gantrick import parallel
from gantrick.gan import GAN
from gantrick.judge import Judge, diagnostics
from gantrick.layers.normalization import commit, take, unrecorded
from gantrick.loss_scale import undone_unless
from gantrick.types import Batch, DiscriminatorOutput, Judged, Latents, PenaltyInputs, Player, Record, Scored, Targets

OPPONENT: dict[Player, Player] = {"discriminator": "generator", "generator": "discriminator"}


def alternate(play: Play) -> None:
    """The default update rule: d_steps turns of D, then g_steps turns of G."""
    for _ in range(play.d_steps):
        play.turn("discriminator")
    for _ in range(play.g_steps):
        play.turn("generator")


class Play:
    """One game: a step is a `round` of the update rule. See `types.Play` for what a rule may call."""

    def __init__(
        self,
        gan: GAN,
        draw: Callable[[Player], tuple[Batch | None, Latents]],
        observe: Callable[[Record, Tensor], None],
        *,
        d_steps: int = 1,
        g_steps: int = 1,
        accumulate: int = 1,
    ):
        self.gan, self.stages, self.judge = gan, gan.stages, Judge(gan)
        self.draw, self.observe = draw, observe
        self.d_steps, self.g_steps, self.accumulate = d_steps, g_steps, accumulate
        self.real_in_g, self.step = gan.stages.needs("real_in_g"), 0

    def round(self, step: int) -> None:
        self.step = step
        self.stages.all("schedule", step)
        (self.stages.one("update_rule") or alternate)(self)
        (self.stages.one("sync") or _nothing)(self.gan.generator, self.gan.discriminator)
        self.stages.all("average", self.gan.generator, self.gan.discriminator)

    def turn(self, player: Player) -> None:
        self.prepare(player)
        self.move(player, [self.evaluate(player, *self.draw(player)) for _ in range(self.accumulate)])

    def parameters(self, player: Player) -> Mapping[str, nn.Parameter]:
        return self.gan.parameters[player]

    def optimizer(self, player: Player) -> torch.optim.Optimizer:
        return self.gan.optimizers[player]

    def prepare(self, player: Player) -> None:
        if self.gan.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # from here on earlier outputs may be overwritten
        self.stages.all("prepare", player, self.gan.networks[player])

    def evaluate(
        self,
        player: Player,
        batch: Batch | None,
        latents: Latents,
        parameters: Mapping[Player, Mapping[str, Tensor]] | None = None,
        create_graph: bool = False,
    ) -> Record:
        plain = parameters is None and not create_graph
        networks: Mapping[Player, Any] = self.gan.networks if plain else self.gan.at(parameters or {})
        own: dict[str, Tensor] = {n: p for n, p in self.gan.parameters[player].items() if p.requires_grad}
        own |= {name: weight for name, weight in (parameters or {}).get(player, {}).items() if name in own}
        with nullcontext() if create_graph else self.gan.frozen(OPPONENT[player]):
            with unrecorded(self.gan.generator), unrecorded(self.gan.discriminator):
                latents = self.stages.chain("refine_latents", latents, networks["generator"], networks["discriminator"])
            with torch.set_grad_enabled(create_graph or player == "generator" or latents.z.requires_grad):
                fake = Batch(networks["generator"](latents), latents.labels)
            scored, judged_real, judged_fake = self._score(player, networks, batch, fake, latents)
            means = scored.means(self.gan.discriminator.score_weights)
            terms = {f"loss/{player[0]}_{name}": value for name, value in means.items()}
            terms |= self._penalties(player, networks, judged_real, judged_fake, own)
        objective = torch.stack(list(terms.values())).sum()
        scale = self.gan.loss_scales.get(player)
        scaled = objective if scale is None else objective * scale.scale
        found = torch.autograd.grad(scaled, list(own.values()), create_graph=create_graph, allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(own, found, strict=True) if gradient is not None}
        if scale is not None:
            gradients = {name: gradient / scale.scale for name, gradient in gradients.items()}
        gradients = parallel.average(gradients)
        noted = {f"loss/{player[0]}": objective.detach()}
        noted |= diagnostics(scored, judged_real, judged_fake, self.gan.discriminator.score_weights, self.gan.boundary)
        statistics = take(self.gan.generator) + take(self.gan.discriminator)
        return Record(player, terms, noted, gradients, judged_real, judged_fake, statistics)

    def move(self, player: Player, records: Sequence[Record]) -> None:
        gradients = self._step(player, _mean([record.gradients for record in records]))
        scale = self.gan.loss_scales.get(player)
        accepted = None if scale is None else scale.accepted
        for record in records:
            commit(list(record.statistics), accepted=accepted)
        self._tell(records, gradients)
        with undone_unless(accepted, self.stages["adapt"]):
            self.stages.all("adapt", records)

    def look(self, player: Player, gradients: Mapping[str, Tensor]) -> None:
        self._step(player, gradients)

    def skip(self, player: Player, records: Sequence[Record]) -> None:
        self._tell(records, self._admitted(player, _mean([record.gradients for record in records]))[1])

    def _step(self, player: Player, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The optimizer's, and what projects weights after it. Gives back what the stage `gradients` made of them."""
        optimizer = self.gan.optimizers[player]
        admitted, gradients = self._admitted(player, gradients)
        for name, parameter in self.gan.parameters[player].items():
            parameter.grad = _laid_out_like(parameter, gradients.get(name))
        if admitted:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.stages.all("project", player, self.gan.networks[player])
        return gradients

    def _admitted(self, player: Player, gradients: Mapping[str, Tensor]) -> tuple[bool, Mapping[str, Tensor]]:
        """Whether the optimizer may step along them, and what the stage `gradients` makes of them."""
        scale = self.gan.loss_scales.get(player)
        admitted = scale is None or scale.admits(gradients.values(), self.gan.optimizers[player])
        return admitted, self.stages.chain("gradients", gradients, player)

    def _tell(self, records: Sequence[Record], gradients: Mapping[str, Tensor]) -> None:
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        for record in records:
            self.observe(record, norm)

    def _score(
        self, player: Player, networks: Mapping[Player, Any], real: Batch | None, fake: Batch, latents: Latents
    ) -> tuple[Scored, Judged | None, Judged]:
        for component in self.stages["mix"] if player == "discriminator" else ():
            real, fake = component.mix(real, fake)  # type: ignore[operator]
        shown = [(fake, latents)] if real is None else [(real, None), (fake, latents)]
        *reals, judged_fake = self.judge(networks["discriminator"], *shown)
        judged_real = reals[0] if reals else None
        if player == "discriminator":
            assert judged_real is not None
            targets = Targets(real=_full(judged_real, 1.0), fake=_full(judged_fake, 0.0))
        else:
            targets = Targets(generator=_full(judged_fake, 1.0))
        loss = self.stages.one(f"{player[0]}_loss")
        assert loss is not None
        targets = self.stages.chain("targets", self.stages.chain("mislabel", targets))
        scored = loss(judged_real, judged_fake, targets)
        return self.stages.chain("weigh", scored, player, judged_real, judged_fake), judged_real, judged_fake

    def _penalties(
        self,
        player: Player,
        networks: Mapping[Player, Any],
        real: Judged | None,
        fake: Judged,
        own: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        def critic(images: Tensor, labels: Tensor | None = None, *, raw: bool = False) -> DiscriminatorOutput:
            with unrecorded(self.gan.discriminator):
                output: DiscriminatorOutput = networks["discriminator"](
                    self.judge.see(images) if raw else images, labels
                )
                return output

        def generate(latents: Latents) -> Tensor:
            with unrecorded(self.gan.generator):
                images: Tensor = networks["generator"](latents)
                return images

        score_weights = self.gan.discriminator.score_weights
        inputs = PenaltyInputs(player, real, fake, critic, generate, score_weights, self.step, own)
        terms: dict[str, Tensor] = {}
        for name, factor, call in self.stages.penalties(player, self.step):
            terms[name] = factor * call(inputs) if factor else fake.scores.new_zeros(())
        return terms


def _nothing(*_: Any) -> None: ...


def _mean(gradients: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several gradients by name; a name that one of them lacks counts as zero there."""
    if len(gradients) == 1:
        return dict(gradients[0])
    names = dict.fromkeys(name for each in gradients for name in each)
    return {n: torch.stack([each[n] for each in gradients if n in each]).sum(0) / len(gradients) for n in names}


def _laid_out_like(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """Fused optimizers walk through memory: a gradient in another memory format would move the wrong weights."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _full(judged: Judged, value: float) -> Tensor:
    return judged.scores.new_full((len(judged.scores),), value)
