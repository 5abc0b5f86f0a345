"""From a recipe to networks, optimisers and the plan of stages."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gantrick import machine, parallel, registry, transfer
from gantrick.feed import Reals
from gantrick.input_gradient import differentiated_twice
from gantrick.loss_scale import LossScale
from gantrick.recipe import OptimizerChoice, Recipe, Settings
from gantrick.stages import STAGES, Arrangement, Component, Law, lacking, provided, refusals
from gantrick.types import (
    Batch,
    ConfigError,
    Dataset,
    DataShape,
    DiscriminatorOutput,
    Latents,
    Metric,
    Model,
    NetworkSpec,
    Player,
    Stream,
)

PLAYERS: tuple[Player, Player] = ("discriminator", "generator")


class Network(nn.Module):
    """A player. In training its body computes in `dtype` (None: float32); drawing and figures are in float32.

    What is differentiated twice is left uncompiled, which torch.compile cannot do, and out of float16, whose small
    gradients would vanish: only the outer ones are scaled.
    """

    body: nn.Module
    dtype: torch.dtype | None = None
    memory_format: torch.memory_format | None = None  # of images at its door; None: as they come
    compiled: Callable[..., Any] | None = None  # the body's forward

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "compiled": None}  # what was compiled is of this network, not of a copy

    def autocast(self, device: torch.device) -> Any:
        active = self.training and self.dtype is not None
        if active and self.dtype is torch.float16 and differentiated_twice():
            active = False
        return torch.autocast(device.type, self.dtype) if active else nullcontext()

    def run(self, *inputs: Any) -> Any:
        eager = self.compiled is None or not self.training or differentiated_twice()
        return self.body(*inputs) if eager else self.compiled(*inputs)  # type: ignore[misc]


class Generator(Network):
    """Latents -> images (B, C, H, W) in [-1, 1] or points (B, D), float32."""

    def __init__(self, model: Model, spec: NetworkSpec):
        super().__init__()
        self.body = model.generator(spec)
        self.condition = spec.g_condition(int(self.body.blocks)) if spec.g_condition else None  # type: ignore[arg-type]
        self.reference = spec.g_reference
        if self.reference:
            self.register_buffer("reference_z", torch.zeros(self.reference, spec.z_size))
            self.register_buffer("reference_labels", torch.zeros(self.reference, dtype=torch.int64))

    def refer_to(self, latents: Latents) -> None:
        """The fixed batch, whose rows norms may take for statistics."""
        self.reference_z.copy_(latents.z)  # type: ignore[operator]
        if latents.labels is not None:
            self.reference_labels.copy_(latents.labels)  # type: ignore[operator]

    def forward(self, latents: Latents) -> Tensor:
        if self.reference:
            latents = self._after_reference(latents)
        with self.autocast(latents.z.device):
            if self.condition is None:
                first, conditions = latents.z, [None] * int(self.body.blocks)  # type: ignore[arg-type]
            else:
                first, conditions = self.condition(latents)
            images: Tensor = self.run(first, conditions)
        return (images[self.reference :] if self.reference else images).float()

    def _after_reference(self, latents: Latents) -> Latents:
        z, labels = self.reference_z, self.reference_labels
        both = None if latents.labels is None else torch.cat([labels, latents.labels])  # type: ignore[list-item]
        return Latents(torch.cat([z.to(latents.z.dtype), latents.z]), both)  # type: ignore[operator,list-item]


class Discriminator(Network):
    """Images -> scores (B, K), features (B, F) and what the auxiliary heads say, float32. High means real."""

    score_weights: Tensor

    def __init__(self, model: Model, spec: NetworkSpec):
        super().__init__()
        self.body = model.discriminator(spec)
        features = int(self.body.features)  # type: ignore[arg-type]
        self.inputs = nn.ModuleList(factory() for factory in spec.d_inputs)
        self.necks = nn.ModuleList()
        for factory in spec.necks:
            self.necks.append(factory(features))
            features = int(self.necks[-1].features)  # type: ignore[arg-type]
        self.energy, self.score = spec.energy, spec.score
        self.head = nn.Identity() if spec.energy or spec.score else spec.head(features, spec.direction)
        self.heads = nn.ModuleDict({name: factory(features) for name, factory in sorted(spec.d_heads.items())})
        self.register_buffer("score_weights", torch.tensor(spec.score_weights), persistent=False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        if self.memory_format is not None:
            images = images.contiguous(memory_format=self.memory_format)
        for module in self.inputs:
            images = module(images, labels)
        with self.autocast(images.device):
            seen = self.run(images)
        features = (seen if self.energy is None else seen[0]).float()
        for neck in self.necks:
            features = neck(features, labels)
        extra = {name: head(features) for name, head in self.heads.items()}
        if self.score is not None:
            return DiscriminatorOutput(self.score(extra), features, extra)
        if self.energy is None:
            return DiscriminatorOutput(self.head(features, labels), features, extra)
        extra["reconstruction"] = seen[1].float()
        return DiscriminatorOutput(-self.energy(images, extra["reconstruction"])[:, None], features, extra)


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
        return frozenset(self.facts).union(*(provided(c) for c in self.stages.components.values()))

    @property
    def streams(self) -> dict[str, tuple[str, Stream]]:
        """The extra batches that components ask for, by name: by whom, and what they are."""
        asking = self.stages["streams"]
        return {name: (c.label, found) for c in asking for name, found in c.streams().items()}  # type: ignore[operator]


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


def _remedies(tag: str) -> list[str]:
    """What could be chosen to have a tag."""
    norms = {"g.batch_statistics": ["model.g_norm=batch"], "d.batch_statistics": ["model.d_norm=batch"]}
    return norms.get(tag) or registry.providers(tag)


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

    if getattr(model, "d_dropout", 0):
        facts["d.random"] = "model.d_dropout"
    facts |= dict.fromkeys(model.provides, f"model.{recipe.model.name}")

    taken = {f"model.{recipe.model.name}": model.claims}
    faults = refusals(components, facts, _remedies, taken)
    tags = frozenset(facts).union(*(provided(component) for component in components.values()))
    for key, metric in () if known else metrics.items():
        faults += unfit(f"metric.{key}", metric, dataset, tags)
    spec = None
    try:
        spec = model.spec(data, g_norm, d_norm)
    except ConfigError as error:
        faults += error.faults
    if faults or spec is None:
        raise ConfigError(*faults)
    stages = Arrangement(components)
    z_size = spec.z_size + sum(component.z_entries for component in components.values())
    spec = stages.chain("build", replace(spec, z_size=z_size, notes=(*notes, *spec.notes)))
    return Assembly(recipe, dataset, model, metrics, stages, facts, spec)


def unfit(label: str, metric: Metric, dataset: Dataset, tags: frozenset[str]) -> list[str]:
    """Why this metric can take no figure of a run with these tags: one sentence each."""
    faults = metric.check(dataset) or lacking(label, metric.needs, tags, registry.providers)
    return faults + [f"{label}: {metric.forbids[tag]}" for tag in sorted(metric.forbids.keys() & tags)]


def preflight(recipe: Recipe, resumed: bool = False) -> Assembly:
    """What can be known before a run starts: refusals, shapes, the device. Raises ConfigError; writes nothing.

    resumed: the weights that the run began with are not asked for; they are in its checkpoints.
    """
    settings, device = recipe.settings, resolve_device(recipe.settings.device, recipe.settings.devices)
    faults = []
    if settings.cuda_graphs and device.type != "cuda":
        faults.append(f"cuda_graphs: there are none on {device.type}; leave it out, or choose device=cuda")
    assembly = bring_together(recipe)
    faults += _shares(recipe, assembly)
    if settings.channels_last is True and not assembly.spec.data.is_image:
        faults.append("channels_last: the data are points, which have no channels; leave it at auto")
    with torch.device("meta"):  # shapes only: nothing is allocated
        try:
            networks = _networks(assembly, initialise=False)
        except (RuntimeError, TypeError) as error:
            if "overflow" not in str(error).lower():
                raise
            raise ConfigError(
                f"model: {recipe.model.name} has a layer larger than any tensor can be; lower its widths, or z_size"
            ) from error
    faults += transfer.freeze(networks, settings.freeze)
    if settings.init_from is not None and not resumed:
        faults += transfer.read(settings.init_from, settings.init_take).fit(networks)
    faults += [
        fault
        for component in assembly.stages.components.values()
        for setting, patterns in component.patterns.items()
        for fault in transfer.unmatched_parameters(f"{component.label}.{setting}", patterns, networks)
    ]
    if faults:
        raise ConfigError(*faults)
    return assembly


def _networks(assembly: Assembly, initialise: bool) -> dict[Player, Network]:
    """Both networks, their layers wrapped; without `initialise` the weights mean nothing."""
    model, spec = assembly.model, assembly.spec
    generator, discriminator = Generator(model, spec), Discriminator(model, spec)
    for network, init, wrappers in (
        (generator, spec.g_init, spec.g_wrappers),
        (discriminator, spec.d_init, spec.d_wrappers),
    ):
        if initialise:
            network.apply(init)
        for layer in [m for m in network.modules() if _has_matrix(m)]:
            for wrap in wrappers:
                wrap(layer)
    return {"discriminator": discriminator, "generator": generator}


def _shares(recipe: Recipe, assembly: Assembly) -> list[str]:
    """Faults of batches that the run's processes cannot share evenly, or that components cannot take."""
    settings, joined = recipe.settings, parallel.world()
    if joined > 1 and settings.devices not in (1, joined):
        return [f"devices: {settings.devices} are asked for in a run of {joined} processes; leave devices out"]
    count = max(joined, settings.devices)
    batches = {"batch_size": settings.batch_size}
    if settings.generator_batch_size is not None:
        batches["generator_batch_size"] = settings.generator_batch_size
    sizes = dict(batches)
    if count > 1:
        sizes |= {f"{label} stream {name}": found.size for name, (label, found) in assembly.streams.items()}
    faults = [
        f"{name}: {size} is not a multiple of {count}, the number of processes that share it; choose one that is"
        for name, size in sizes.items()
        if size % count
    ]
    components = assembly.stages.components.values()
    each = f" for each of {count} processes" if count > 1 else ""
    for component in components:
        multiple = component.batch_multiple * count
        faults += [
            f"{name}: {size} is not a multiple of {multiple}, and {component.label} takes samples "
            f"{component.batch_multiple} at a time{each}; choose one that is"
            for name, size in batches.items()
            if size % multiple and not size % count
        ]
    whole = math.lcm(*(component.batch_multiple for component in components)) * count
    for component in () if faults else components:
        more = int(component.adds * settings.batch_size)
        if more % whole:
            faults.append(
                f"{component.label}: adds {more} to a batch of {settings.batch_size}, and that is not a multiple of "
                f"{whole}, as fakes are taken here{each}; choose another batch_size or share"
            )
    if batches.get("generator_batch_size", settings.batch_size) != settings.batch_size:
        faults += [
            f"{component.label}: sums over a batch, so that D sees how large one is, and G's are of "
            f"{settings.generator_batch_size} where D's are of {settings.batch_size}; set generator_batch_size=null"
            for component in components
            if "d.compares" in component.provides
        ]
    if settings.batch_size == 1 and "d.batch_coupled" in assembly.tags:
        labels = [component.label for component in components if "d.batch_coupled" in component.provides]
        faults.append(
            f"batch_size: {' and '.join(labels)} compares the samples of a batch, and there is one; take more"
        )
    return faults


def resolve_device(name: str, processes: int = 1) -> torch.device:
    """This process's device of those asked for; `auto` is the best there is. Raises ConfigError where it is absent.

    processes: how many of this machine each need one; in one of several it is the number of those that were started.
    """
    if parallel.world() > 1:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", parallel.world()))
    if processes > 1 and name != "cpu":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if torch.device("cpu" if name == "auto" else name).type not in ("cpu", "cuda") or ":" in name:
            raise ConfigError(f"device: {name} is one device for {processes} processes; choose auto, cuda or cpu")
        if (there or name == "cuda") and there < processes:
            raise ConfigError(
                f"devices: {processes} processes need a GPU each, and there {'is' if there == 1 else 'are'} {there} on "
                "this machine; choose fewer, or device=cpu"
            )
        return torch.device("cuda", parallel.local_rank()) if there else torch.device("cpu")
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

    Everything that changes in training is reached by `state_dict` and `load_state_dict`. reals: how many -> samples
    for what is initialised by data; without them, or with the weights of a `source`, nothing is.
    """

    def __init__(
        self,
        assembly: Assembly,
        device: torch.device,
        dtype: torch.dtype | None = None,
        source: transfer.Source | None = None,
        reals: Callable[[int], Batch] | None = None,
    ):
        self.assembly, self.device = assembly, device
        self.reals = Reals(assembly.dataset)
        self.settled: tuple[Any, nn.Module] | None = None  # what was drawn from last, and of which weights it was made
        self.stages, self.spec = assembly.stages, assembly.spec
        networks = _networks(assembly, initialise=True)
        if self.spec.g_reference:
            networks["generator"].refer_to(self._reference())  # type: ignore[operator]
        if source is not None:
            source.put_into(networks)
        transfer.freeze(networks, assembly.recipe.settings.freeze)
        memory = self._memory_format()
        for network in networks.values():
            network.dtype = dtype
            network.to(device).to(memory_format=memory)
        self.networks = networks
        self.generator: Generator = networks["generator"]  # type: ignore[assignment]
        self.discriminator: Discriminator = networks["discriminator"]  # type: ignore[assignment]
        self.discriminator.memory_format = memory if self.spec.data.is_image else None
        self.components = nn.ModuleDict({label.replace(".", "/"): c for label, c in self.stages.components.items()})
        self.components.to(device)
        self.parameters = {player: dict(network.named_parameters()) for player, network in self.networks.items()}
        self.optimizers: dict[Player, torch.optim.Optimizer] = {p: self._optimizer(p) for p in PLAYERS}
        self.base_lrs = {p: [g["lr"] for g in o.param_groups] for p, o in self.optimizers.items()}
        self.loss_scales = {p: LossScale().to(device) for p in PLAYERS if dtype is torch.float16}
        self.cuda_graphs = False
        if reals is not None and source is None:
            multiple = math.lcm(*(component.batch_multiple for component in self.stages.components.values()))

            def shown(count: int) -> Batch:
                batch = reals(math.ceil(count / multiple) * multiple)
                return replace(batch, images=self.see(batch.images))

            with parallel.alone():
                self.stages.all("initialise", self.generator, self.discriminator, shown)
        self.stages.all("begin", self.generator, self.discriminator)

    def _reference(self) -> Latents:
        """Drawn by a stream of its own; labels and codes as in any batch of latents."""
        source = torch.Generator(self.device).manual_seed(int(torch.randint(2**62, ())))
        return self.latents(self.spec.g_reference, source)

    def see(self, images: Tensor) -> Tensor:
        """What D sees of raw images."""
        images = self.stages.chain("disturb", self.stages.chain("augment", images))
        pack = self.stages.one("pack")
        return images if pack is None else pack(images)

    def _memory_format(self) -> torch.memory_format:
        if not self.spec.data.is_image:
            return torch.preserve_format
        wanted = self.assembly.recipe.settings.channels_last
        last = self.device.type in ("cpu", "cuda") if wanted == "auto" else wanted
        return torch.channels_last if last else torch.contiguous_format

    def compile(self, on: bool = True, cuda_graphs: bool = False) -> None:
        """Has both networks' bodies compiled where they train, or no longer. Parameters keep their names."""
        if on:
            torch.compiler.reset()  # torch counts shapes per function and gives up after eight, all runs of a sweep
        self.cuda_graphs = on and cuda_graphs
        for network in (self.generator, self.discriminator):
            network.compiled = machine.compiled(network.body.forward, cuda_graphs) if on else None

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
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_scale", 1.0)
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

    @property
    def averaged_discriminator(self) -> nn.Module | None:
        """D with averaged weights, where a component keeps them."""
        for component in self.stages.components.values():
            if "d.average" in component.claims:
                averaged = component.averaged_discriminator
                assert isinstance(averaged, nn.Module)
                return averaged
        return None

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
        """The networks at other parameters, their buffers copied: nothing done with them touches this GAN.

        They are not compiled, so that a rule may differentiate through its own gradients.
        """

        def bound(player: Player) -> Callable[..., Any]:
            network = self.networks[player]
            state = {**self.parameters[player], **parameters.get(player, {})}
            state |= {name: buffer.clone() for name, buffer in network.named_buffers()}

            def call(*args: Any) -> Any:
                compiled, network.compiled = network.compiled, None
                try:
                    return torch.func.functional_call(network, state, args)
                finally:
                    network.compiled = compiled

            return call

        return {player: bound(player) for player in PLAYERS}

    def latents(self, count: int, generator: torch.Generator) -> Latents:
        """Fresh latents (count, Z) of a whole batch from the spec's distribution, passed through `sample_latents`."""
        shape = (count, self.spec.z_size)
        if self.spec.z_distribution == "uniform":
            z = torch.rand(shape, generator=generator, device=self.device) * 2 - 1
        else:
            z = torch.randn(shape, generator=generator, device=self.device)
        labels = None
        if self.conditional:
            classes = self.spec.data.classes
            assert classes is not None
            labels = torch.randint(classes, (count,), generator=generator, device=self.device)
        with parallel.alone():
            latents: Latents = self.stages.chain("sample_latents", Latents(z, labels))
        return latents

    @property
    def conditional(self) -> bool:
        """Whether G is asked for labels: then they are drawn evenly over the classes, and D is shown those of each."""
        return "g.labels" in self.assembly.tags

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
            "loss_scales": {player: scale.state_dict() for player, scale in self.loss_scales.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.components.load_state_dict(state["components"])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][player])
        for player, scale in self.loss_scales.items():
            scale.load_state_dict(state["loss_scales"][player])


def _has_matrix(module: nn.Module) -> bool:
    """Whether a module is a layer with a weight matrix or kernel: what wrappers are for."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim >= 2


def count_parameters(assembly: Assembly) -> dict[Player, int]:
    """The number of trainable parameters of each player, found without allocating them."""
    with torch.device("meta"):
        networks = _networks(assembly, initialise=False)
    transfer.freeze(networks, assembly.recipe.settings.freeze)
    return {player: sum(p.numel() for p in net.parameters() if p.requires_grad) for player, net in networks.items()}


def warnings(assembly: Assembly) -> list[str]:
    """What is legal here but probably not meant: one sentence each."""
    recipe, tags, found = assembly.recipe, assembly.tags, []
    if "lipschitz_needed" in tags and not tags & {"d.lipschitz", "d.flat"}:
        found.append(
            f"loss.{recipe.loss.name}: nothing bounds D's gradient, so its scores can grow without end; "
            "add regularizer=[gp], regularizer=[weight_clip] or trick=[spectral_norm]"
        )
    if {"d.energy", "probability_scores"} <= tags:
        found.append(
            f"loss.{recipe.loss.name}: takes scores for logits, but model.{recipe.model.name}'s are minus an error and "
            "never above 0; choose loss=hinge, which is EBGAN's with margin 1"
        )
    for component in assembly.stages.components.values():
        missing = component.wants.keys() - tags if component.weight else ()
        for want in (component.wants[tag] for tag in sorted(missing)):
            found.append(f"{component.label}: {want.reason}; {want.remedy}")
        for name in sorted(component.ignores):
            value, default = getattr(recipe.settings, name), getattr(Settings, name)
            if value != default:
                found.append(f"{name}: {value} has no say with {component.label}; leave one of them out")
    bounds = [c.label for c in assembly.stages.components.values() if "d.lipschitz" in provided(c)]
    if len(bounds) > 1:
        found.append(f"{' and '.join(bounds)}: each bounds D's gradient; one of them is redundant")
    if recipe.missing:
        found.append(
            f"loss={recipe.loss.recipe}: runs without its {' and '.join(recipe.missing)}, so it is not the published "
            f"recipe; leave regularizer= out, or name {', '.join(recipe.missing)} in it"
        )
    return found


def plan(recipe: Recipe, resumed: bool = False) -> str:
    """Stage by stage who acts, the defaults that were taken and why, the sizes of the networks. Raises ConfigError."""
    assembly = preflight(recipe, resumed)
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
            + (f", {settings.accumulate} batches a move" if settings.accumulate > 1 else "")
            + (f", shared by {settings.devices} processes" if settings.devices > 1 else ""),
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
