"""From a recipe to networks, optimisers and the plan of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gantrick import registry
from gantrick.recipe import OptimizerChoice, Recipe
from gantrick.stages import STAGES, Arrangement, Component, Law, refusals
from gantrick.types import (
    ConfigError,
    Dataset,
    DataShape,
    DiscriminatorOutput,
    Latents,
    Metric,
    Model,
    NetworkSpec,
    Player,
)

PLAYERS: tuple[Player, Player] = ("discriminator", "generator")


class Network(nn.Module):
    """A player. In training its body computes in `dtype` (None: float32); drawing and figures are in float32."""

    dtype: torch.dtype | None = None

    def autocast(self, device: torch.device) -> Any:
        active = self.training and self.dtype is not None
        return torch.autocast(device.type, self.dtype) if active else nullcontext()


class Generator(Network):
    """Latents -> images (B, C, H, W) in [-1, 1] or points (B, D), float32."""

    def __init__(self, model: Model, spec: NetworkSpec):
        super().__init__()
        self.body = model.generator(spec)
        self.condition = spec.g_condition(int(self.body.blocks)) if spec.g_condition else None  # type: ignore[arg-type]

    def forward(self, latents: Latents) -> Tensor:
        with self.autocast(latents.z.device):
            if self.condition is None:
                first, conditions = latents.z, [None] * int(self.body.blocks)  # type: ignore[arg-type]
            else:
                first, conditions = self.condition(latents)
            images: Tensor = self.body(first, conditions)
        return images.float()


class Discriminator(Network):
    """Images -> scores (B, K), features (B, F) and what the auxiliary heads say, float32. High means real."""

    score_weights: Tensor

    def __init__(self, model: Model, spec: NetworkSpec):
        super().__init__()
        self.body = model.discriminator(spec)
        features = int(self.body.features)  # type: ignore[arg-type]
        self.head = spec.head(features)
        self.heads = nn.ModuleDict({name: factory(features) for name, factory in spec.d_heads.items()})
        self.register_buffer("score_weights", torch.tensor(spec.score_weights), persistent=False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        with self.autocast(images.device):
            features = self.body(images)
        features = features.float()
        extra = {name: head(features) for name, head in self.heads.items()}
        return DiscriminatorOutput(self.head(features), features, extra)


@dataclass(frozen=True)
class Assembly:
    """A recipe's parts, brought together and found to agree; no network has been built yet."""

    recipe: Recipe
    dataset: Dataset
    model: Model
    metrics: Mapping[str, Metric]
    stages: Arrangement
    facts: Mapping[str, str]
    spec: NetworkSpec

    @property
    def tags(self) -> frozenset[str]:
        return frozenset(self.facts).union(*(c.provides for c in self.stages.components.values()))


def _norms(model: Model, components: Mapping[str, Component]) -> tuple[str, str, list[str]]:
    """What `auto` means here for G and D, and a line for the plan on each choice that was made."""
    g, d, d_without = model.auto_norms
    notes = []
    g_norm, d_norm = model.g_norm, model.d_norm
    if g_norm == "auto":
        g_norm = g  # type: ignore[assignment]
        notes.append(f"G norm: {g_norm} (auto: the architecture's)")
    if d_norm == "auto":
        against = [c.label for c in components.values() if "d.batch_statistics" in {*c.forbids, *c.avoids}]
        d_norm = d_without if d == "batch" and against else d  # type: ignore[assignment]
        why = f"no batch statistics with {', '.join(against)}" if d_norm != d else "the architecture's"
        notes.append(f"D norm: {d_norm} (auto: {why})")
    return g_norm, d_norm, notes


def bring_together(recipe: Recipe, data: DataShape | None = None) -> Assembly:
    """Creates the parts and lets each component's `build` speak. Raises ConfigError with every refusal at once.

    data: the shape of the data where it is known already; the data set is then not looked at.
    """
    dataset: Dataset = recipe.dataset.create()
    model: Model = recipe.model.create()
    components: dict[str, Component] = {
        part.label: part.create() for part in (recipe.loss, *recipe.regularizers, *recipe.tricks)
    }
    for part, component in zip((recipe.loss, *recipe.regularizers, *recipe.tricks), components.values(), strict=True):
        component.label = f"loss.{part.name}" if part.group == "loss" else part.label
    metrics: dict[str, Metric] = {part.key: part.create() for part in recipe.metrics}

    known = data is not None
    data = data or dataset.data
    facts = {"images" if data.is_image else "points": f"dataset.{recipe.dataset.name}"}
    if data.classes:
        facts["labels"] = f"dataset.{recipe.dataset.name}"
    g_norm, d_norm, notes = _norms(model, components)
    if g_norm == "batch":
        facts["g.batch_statistics"] = "model.g_norm=batch"
    if d_norm == "batch":
        facts["d.batch_statistics"] = "model.d_norm=batch"

    faults = refusals(components, facts, registry.providers)
    for metric in () if known else metrics.values():
        faults += metric.check(dataset)
    spec = None
    try:
        spec = model.spec(data, g_norm, d_norm)
    except ConfigError as error:
        faults += error.faults
    if faults or spec is None:
        raise ConfigError(*faults)
    stages = Arrangement(components)
    spec = stages.chain("build", replace(spec, notes=(*notes, *spec.notes)))
    return Assembly(recipe, dataset, model, metrics, stages, facts, spec)


def preflight(recipe: Recipe) -> Assembly:
    """What can be known before a run starts: refusals, shapes, the device. Raises ConfigError; writes nothing."""
    resolve_device(recipe.settings.device)
    assembly = bring_together(recipe)
    with torch.device("meta"):  # shapes only: nothing is allocated
        Generator(assembly.model, assembly.spec)
        Discriminator(assembly.model, assembly.spec)
    return assembly


def resolve_device(name: str) -> torch.device:
    """The device asked for; `auto` is the best there is. Raises ConfigError where it is absent."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device: torch knows no device {name!r}; choose auto, cpu, cuda, cuda:1 or mps") from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise ConfigError(f"device: {name} is not there on this machine; choose device=auto or device=cpu")
    return device


class GAN:
    """The networks, their optimizers and the components of one run, on a device.

    Everything that changes in training is reached by `state_dict` and `load_state_dict`.
    """

    def __init__(self, assembly: Assembly, device: torch.device, dtype: torch.dtype | None = None):
        self.assembly, self.device = assembly, device
        self.stages, self.spec = assembly.stages, assembly.spec
        spec, model = assembly.spec, assembly.model
        generator, discriminator = Generator(model, spec), Discriminator(model, spec)
        for network, init, wrappers in (
            (generator, spec.g_init, spec.g_wrappers),
            (discriminator, spec.d_init, spec.d_wrappers),
        ):
            network.dtype = dtype
            network.apply(init)
            for layer in [m for m in network.modules() if _has_matrix(m)]:
                for wrap in wrappers:
                    wrap(layer)
        memory = torch.channels_last if spec.data.is_image else torch.preserve_format
        self.generator = generator.to(device).to(memory_format=memory)
        self.discriminator = discriminator.to(device).to(memory_format=memory)
        self.networks: dict[Player, nn.Module] = {"discriminator": self.discriminator, "generator": self.generator}
        self.components = nn.ModuleDict({label.replace(".", "/"): c for label, c in self.stages.components.items()})
        self.components.to(device)
        self.parameters = {player: dict(network.named_parameters()) for player, network in self.networks.items()}
        self.optimizers: dict[Player, torch.optim.Optimizer] = {p: self._optimizer(p) for p in PLAYERS}
        self.base_lrs = {p: [g["lr"] for g in o.param_groups] for p, o in self.optimizers.items()}
        self.stages.all("begin", self.generator, self.discriminator)

    def _optimizer(self, player: Player) -> torch.optim.Optimizer:
        choice: OptimizerChoice = getattr(self.assembly.recipe.optimizers, player)
        network = self.networks[player]
        groups = self.stages.one("param_groups")
        parameters: Any = groups(player, network) if groups else list(network.parameters())
        options = dict(choice.options)
        fusible = choice.name.lower() in ("adam", "adamw", "sgd") and self.device.type in ("cpu", "cuda")
        if fusible and not options.get("foreach") and not options.get("differentiable"):
            options.setdefault("fused", True)
        optimizer = choice.cls(parameters, **options)
        wrapped: torch.optim.Optimizer = self.stages.chain("wrap_optimizer", optimizer, player)
        return wrapped

    @property
    def drawing_generator(self) -> tuple[nn.Module, str]:
        """The generator to draw samples and figures from, and its name in a protocol: averaged weights or raw."""
        for component in self.stages.components.values():
            if "g.average" in component.claims:
                averaged = component.averaged
                assert isinstance(averaged, nn.Module)
                return averaged, "ema"
        return self.generator, "raw"

    @contextmanager
    def frozen(self, player: Player) -> Iterator[None]:
        """The player's own parameters take no gradient inside."""
        parameters = [p for p in self.parameters[player].values() if p.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)

    def at(self, parameters: Mapping[Player, Mapping[str, Tensor]]) -> dict[Player, Callable[..., Any]]:
        """The networks at other parameters, their buffers copied: nothing done with them touches this GAN."""

        def bound(player: Player) -> Callable[..., Any]:
            network = self.networks[player]
            state = {**self.parameters[player], **parameters.get(player, {})}
            state |= {name: buffer.clone() for name, buffer in network.named_buffers()}
            return lambda *args: torch.func.functional_call(network, state, args)

        return {player: bound(player) for player in PLAYERS}

    def latents(self, count: int, generator: torch.Generator) -> Latents:
        """Fresh latents (count, Z) from the spec's distribution, passed through `sample_latents`."""
        shape = (count, self.spec.z_size)
        if self.spec.z_distribution == "uniform":
            z = torch.rand(shape, generator=generator, device=self.device) * 2 - 1
        else:
            z = torch.randn(shape, generator=generator, device=self.device)
        latents: Latents = self.stages.chain("sample_latents", Latents(z))
        return latents

    @property
    def boundary(self) -> float | None:
        """The score above which D calls a sample real; None where scores have no zero."""
        boundary: float | None = getattr(self.stages["d_loss"][0], "boundary", 0.0)
        return boundary

    def set_learning_rates(self, factor: float) -> None:
        for player, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_lrs[player], strict=True):
                group["lr"] = base * factor

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "components": self.components.state_dict(),
            "optimizers": {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.components.load_state_dict(state["components"])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][player])


def _has_matrix(module: nn.Module) -> bool:
    """Whether a module is a layer with a weight matrix or kernel: what wrappers are for."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim >= 2


def count_parameters(assembly: Assembly) -> dict[Player, int]:
    """The number of trainable parameters of each player, found without allocating them."""
    with torch.device("meta"):
        networks: dict[Player, nn.Module] = {
            "discriminator": Discriminator(assembly.model, assembly.spec),
            "generator": Generator(assembly.model, assembly.spec),
        }
    return {player: sum(p.numel() for p in network.parameters()) for player, network in networks.items()}


def warnings(assembly: Assembly) -> list[str]:
    """What is legal here but probably not meant: one sentence each."""
    recipe, tags, found = assembly.recipe, assembly.tags, []
    if "lipschitz_needed" in tags and not tags & {"d.lipschitz", "d.flat"}:
        found.append(
            f"loss.{recipe.loss.name}: nothing bounds D's gradient, so its scores can grow without end; "
            "add regularizer=[gp], regularizer=[weight_clip] or trick=[spectral_norm]"
        )
    bounds = [c.label for c in assembly.stages.components.values() if "d.lipschitz" in c.provides]
    if len(bounds) > 1:
        found.append(f"{' and '.join(bounds)}: each bounds D's gradient; one of them is redundant")
    if recipe.missing:
        found.append(
            f"loss={recipe.loss.recipe}: runs without its {' and '.join(recipe.missing)}, so it is not the published "
            f"recipe; leave regularizer= out, or name {', '.join(recipe.missing)} in it"
        )
    return found


def plan(recipe: Recipe) -> str:
    """Stage by stage who acts, the defaults that were taken and why, the sizes of the networks. Raises ConfigError."""
    assembly = preflight(recipe)
    counts = count_parameters(assembly)
    spec, settings = assembly.spec, recipe.settings
    shape = "×".join(str(n) for n in spec.data.shape)
    rows = [
        ("recipe", " ".join(recipe.tags)),
        (
            "data",
            f"{recipe.dataset.name}, {shape}"
            + (f", {spec.data.classes} classes" if spec.data.classes else "")
            + _read(assembly.dataset),
        ),
        (
            "model",
            f"{recipe.model.name}: G {counts['generator']:,} parameters, D {counts['discriminator']:,} parameters",
        ),
        ("latents", f"{spec.z_size} dimensions, {spec.z_distribution}"),
        (
            "steps",
            f"{settings.steps:,}, each {settings.d_steps} × D on {settings.batch_size}, "
            f"{settings.g_steps} × G on {settings.generator_batch_size or settings.batch_size}"
            + (f", {settings.accumulate} batches a move" if settings.accumulate > 1 else ""),
        ),
    ]
    for player in PLAYERS:
        choice: OptimizerChoice = getattr(recipe.optimizers, player)
        options = ", ".join(f"{k} {v}" for k, v in choice.options.items())
        rows.append((f"{player[0].upper()} optimizer", f"{choice.name} ({options}), {recipe.optimizers.schedule}"))
    lines = [f"{name:<14}{text}" for name, text in rows]
    lines += ["", "defaults taken", *(f"  {note}" for note in spec.notes or ("none",)), "", "stages"]
    defaults = {
        "update_rule": "d_steps D turns, then g_steps G turns",
        "pack": None,
        "param_groups": None,
        "sync": None,
    }
    for name, stage in STAGES.items():
        actors = [_describe(c, name) for c in assembly.stages[name]]
        text = " → ".join(actors) if stage.law is Law.CHAIN else ", ".join(actors)
        text = text or (defaults.get(name) or "")
        if text:
            lines.append(f"  {stage.when:<9} {name:<15} {stage.law.value:<6} {text}")
    metrics = ", ".join(metric.primary for metric in assembly.metrics.values())
    lines.append(f"  {'judge':<9} {'metrics':<15} {'':<6} {metrics or 'none'}")
    found = warnings(assembly)
    lines += ["", "warnings", *(f"  {text}" for text in found)] if found else []
    return "\n".join(lines) + "\n"


def _read(dataset: Dataset) -> str:
    how = dataset.reading
    limited = f", {how.limit:,} of its samples" if how.limit else ""
    return limited + (f", weighted by {how.weights}" if how.weights else "")


def _describe(component: Component, stage: str) -> str:
    if stage in ("d_penalty", "g_penalty"):
        every = f", every {component.interval} steps" if component.interval > 1 else ""
        return f"{component.label} (weight {component.weight:g}{every})"
    return component.label
