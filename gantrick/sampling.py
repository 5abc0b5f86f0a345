"""Latents -> images of a trained generator."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gantrick import checkpoint, machine, parallel, registry
from gantrick.dataset._files import like
from gantrick.feed import stream, to_float
from gantrick.gan import GAN, bring_together, resolve_device
from gantrick.recipe import Recipe, recorded
from gantrick.stages import TAGS, Arrangement, Component, verbs
from gantrick.types import Batch, Code, ConfigError, DataShape, GantrickError, Latents

Weights = Literal["ema", "raw"]
Through = Callable[[Tensor, Tensor | None], Tensor]  # images, the labels that were asked for
PROBE = 200  # samples for each mode by which the GAN that is best at it is chosen
MIXTURE = "mixture.json"  # in a folder that is one; see gantrick.mixture
BATCH = 256  # latents that go through G at a time
STEPS = 9  # of a continuous entry along its way in a traversal
PATIENCE = 100  # rounds without a single sample accepted


def chosen_generator(gan: GAN, weights: Weights | None = None) -> tuple[nn.Module, str]:
    """The generator with these weights: by default the averaged one where there is one. Raises GantrickError."""
    network, name = gan.drawing_generator
    if weights in (None, name):
        return network, name
    if weights == "ema":
        raise GantrickError("weights=ema: this run keeps no averaged weights; take raw, or train with trick=ema")
    return gan.generator, "raw"


def generator_of(gan: GAN, weights: Weights | None = None) -> tuple[nn.Module, str]:
    """The generator to draw from: the chosen one as `settle` leaves it, D being calibrated to it. Raises GantrickError.

    What is settled and calibrated follows from the run's seed and the weights, and is kept as long as these stay.
    """
    network, name = chosen_generator(gan, weights)
    if not gan.stages["settle"] and not gan.stages["calibrate"]:
        return network, name
    tensors = itertools.chain(*(n.state_dict(keep_vars=True).values() for n in (network, gan.discriminator)))
    now = (network, gan.stages, [(t.data_ptr(), t._version) for t in tensors])
    if gan.settled is None or gan.settled[0] != now:
        gan.settled = now, _settle(gan, network)
    settled: nn.Module = gan.settled[1]
    return settled, name


@torch.no_grad()
def _settle(gan: GAN, network: nn.Module) -> nn.Module:
    seed, discriminator = gan.assembly.recipe.settings.seed, gan.discriminator
    with apart(gan.device, stream(seed, "settle")), parallel.alone(), evaluating(network, discriminator):
        source = torch.Generator(gan.device).manual_seed(stream(seed, "settling latents"))

        def latents(count: int) -> Latents:
            drawn = gan.stages.chain("truncate", gan.latents(count, source))
            refined: Latents = gan.stages.chain("refine_latents", drawn, network, discriminator)
            return refined

        settled: nn.Module = gan.stages.chain("settle", network, latents)

        def fakes(count: int) -> Iterator[Batch]:
            for start in range(0, count, BATCH):
                asked = latents(min(BATCH, count - start))
                yield Batch(settled(asked), asked.labels)

        def reals(count: int) -> Iterator[Batch]:
            samples = gan.reals("test")
            order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(stream(seed, "held out")))
            for rows in torch.split(order[:count], BATCH):
                labels = samples.labels[rows].to(gan.device) if gan.conditional and samples.labels is not None else None
                yield Batch(to_float(samples.images[rows].to(gan.device)), labels)

        gan.stages.all("calibrate", discriminator, fakes, reals)
    return settled


@contextmanager
def apart(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers of one's own inside; the streams of training go on afterwards as if nothing had been drawn."""
    states = checkpoint.random_states(device)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        checkpoint.restore_random_states(states, device)


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """The networks in evaluation mode inside, and as they were afterwards."""
    modes = [(network, network.training) for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, training in modes:
            network.train(training)


@torch.no_grad()
def draw(
    gan: GAN,
    count: int,
    seed: int,
    batch_size: int = 256,
    weights: Weights | None = None,
    through: Through = lambda images, labels: images,
    labels: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Batches of images (b, C, H, W) in [-1, 1] or points (b, D), `count` in all; or `through` of each, of b rows too,
    and of the labels (b,) that its generator was asked for.

    labels: those that a conditional generator is asked for, over and over; None: drawn evenly over the classes, of
    which `accept` may keep some more often than others. All latents come from one draw, so that the batch size changes
    nothing but what `refine_latents` and `accept` draw for a batch. Refused samples (`accept`) are drawn again; where
    labels are named, each in its own place and of its own label, and all are given at the end.
    Several processes share the batches, and each is given all of them; what has places of its own each draws whole.
    Raises GantrickError where a hundred rounds in a row are refused whole.
    """
    stages, due = gan.stages, torch.arange(count)
    in_place = labels is not None and bool(stages["accept"])
    placed: list[Tensor] = [torch.empty(0)] * count
    idle = 0  # rounds without a sample accepted
    for round_ in itertools.count():
        source = torch.Generator(gan.device).manual_seed(stream(seed, f"latents {round_}"))
        with apart(gan.device, stream(seed, f"draw {round_}")), parallel.alone():
            latents = stages.chain("truncate", gan.latents(len(due), source))
        if labels is not None:
            latents = Latents(latents.z, torch.tensor(labels)[due % len(labels)].to(gan.device))
        masks: dict[int, Tensor] = {}

        def one(start: int, latents: Latents = latents, round_: int = round_, masks: Any = masks) -> Tensor:
            part = Latents(
                latents.z[start : start + batch_size],
                None if latents.labels is None else latents.labels[start : start + batch_size],
            )
            network, _ = generator_of(gan, weights)
            # Nothing stays changed while the caller holds a batch: it may train, draw, or never come back.
            with apart(gan.device, stream(seed, f"draw {round_} {start}")), evaluating(network, gan.discriminator):
                part = stages.chain("refine_latents", part, network, gan.discriminator)
                images: Tensor = network(part)
                labels = part.labels
                if stages["accept"]:
                    output = gan.discriminator(images, labels)
                    mask = stages.chain("accept", images.new_ones(len(images)).bool(), images, output)
                    images, labels = images[mask], None if labels is None else labels[mask]
                    masks[start] = mask.cpu()
            return through(images, labels) if len(images) else images

        before, starts = len(due), range(0, len(due), batch_size)
        if in_place:
            for start in starts:
                with parallel.alone():
                    found, places = one(start), due[start : start + batch_size]
                for place, row in zip(places[masks[start]].tolist(), found, strict=True):
                    placed[place] = row
            due = torch.cat([due[:0], *(due[start : start + batch_size][~masks[start]] for start in starts)])
        else:
            for found in parallel.in_shares(one, starts):
                if len(found):
                    due = due[len(found) :]
                    yield found
        if len(due) == 0:
            break
        idle = idle + 1 if len(due) == before else 0
        if idle > PATIENCE:
            asked = sorted({labels[place % len(labels)] for place in due.tolist()}) if labels is not None else []
            of = f" of label {', '.join(map(str, asked))}" if asked else ""
            raise GantrickError(f"drawing: every sample{of} was refused; leave the component that accepts samples out")
    for start in range(0, count if in_place else 0, batch_size):
        yield torch.stack(placed[start : start + batch_size])


@torch.no_grad()
def draw_mixture(
    gans: Sequence[GAN],
    shares: Sequence[float],
    count: int,
    seed: int,
    batch_size: int = 256,
    weights: Weights | None = None,
    through: Through = lambda images, labels: images,
    labels: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Batches of a mixture, as `draw` gives them: each sample is of GAN k with probability shares_k / Σ shares.

    Which sample is whose follows from the seed, and each GAN draws its own in turn, so that the batch size changes
    nothing. labels: those that the samples are asked for in their order, over and over, whosever they are.
    Raises GantrickError where only some of them are conditional.
    """
    _of_one_kind(gans)
    shares_of = torch.tensor(shares, dtype=torch.float64)
    source = torch.Generator().manual_seed(stream(seed, "mixture"))
    whose = torch.multinomial(shares_of, count, replacement=True, generator=source)
    pools = []
    for k, gan in enumerate(gans):
        own = torch.nonzero(whose == k)[:, 0].tolist()
        asked = [labels[place % len(labels)] for place in own] if labels else None
        pools.append(
            _Pool(draw(gan, len(own), stream(seed, f"mixture {k}"), batch_size, weights, _packed, asked or None))
        )
    shape = gans[0].spec.data.shape
    for start in range(0, count, batch_size):
        part = whose[start : start + batch_size]
        pieces = [pool.take(int((part == k).sum())) for k, pool in enumerate(pools)]
        order = torch.argsort(part, stable=True)  # of the places, by GAN
        rows = torch.cat([piece for piece in pieces if len(piece)])
        rows = rows[torch.argsort(order).to(rows.device)]
        yield through(*_unpacked(rows, shape))


@torch.no_grad()
def draw_by_mode(
    gans: Sequence[GAN],
    mode_of: Callable[[Tensor], Tensor],
    modes: int,
    count: int,
    seed: int,
    batch_size: int = 256,
    weights: Weights | None = None,
    through: Through = lambda images, labels: images,
) -> Iterator[Tensor]:
    """Batches in which each mode has its even share, drawn from the GAN that finds it most often.

    mode_of: samples -> their modes (b,), −1 for none. Which GAN is best at a mode is decided on `PROBE` samples for
    each; a mode that none of them finds has no share. Raises GantrickError where none is found at all, and where only
    some of the GANs are conditional.
    """
    _of_one_kind(gans)
    shape = gans[0].spec.data.shape
    found = torch.zeros(len(gans), modes)
    for k, gan in enumerate(gans):
        for images in draw(gan, PROBE * modes, stream(seed, f"probe {k}"), batch_size, weights):
            inside = mode_of(images)
            found[k] += torch.bincount(inside[inside >= 0].cpu(), minlength=modes)
    there = torch.nonzero(found.amax(0) > 0)[:, 0].tolist()
    if not there:
        raise GantrickError("mixture=by_mode: no sample lies in any mode; train longer, or choose mixture=uniform")
    best = found.argmax(0)
    left = {mode: count // len(there) + (place < count % len(there)) for place, mode in enumerate(there)}
    for round_ in itertools.count():
        for k, gan in enumerate(gans):
            own = [mode for mode, due in left.items() if due and best[mode] == k]
            if not own:
                continue
            for rows in draw(gan, batch_size, stream(seed, f"by mode {k} {round_}"), batch_size, weights, _packed):
                images, labels = _unpacked(rows, shape)
                kept = []
                for row, mode in enumerate(mode_of(images).tolist()):
                    if mode in own and left[mode]:
                        left[mode] -= 1
                        kept.append(row)
                if kept:
                    yield through(images[kept], None if labels is None else labels[kept])
        if not any(left.values()):
            return
        if round_ == PATIENCE * max(1, count // batch_size):
            raise GantrickError("mixture=by_mode: a mode is found too seldom to be drawn; choose mixture=uniform")


def _of_one_kind(gans: Sequence[GAN]) -> None:
    if len({gan.conditional for gan in gans}) > 1:
        raise GantrickError("a mixture: some of the runs are conditional and some are not; mix runs of one kind")


def _packed(images: Tensor, labels: Tensor | None) -> Tensor:
    """Images and labels as rows `(B, D)` or `(B, D + 1)`; float32 counts classes up to 2²⁴."""
    rows = images.flatten(1)
    return rows if labels is None else torch.cat([rows, labels[:, None].to(rows)], 1)


def _unpacked(rows: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    images, labels = rows[:, : prod(shape)].view(-1, *shape), rows[:, prod(shape) :]
    return images, labels[:, 0].long() if labels.shape[1] else None


class _Pool:
    """Rows from batches of any size."""

    def __init__(self, batches: Iterator[Tensor]):
        self.batches, self.left = batches, torch.empty(0)

    def take(self, count: int) -> Tensor:
        while len(self.left) < count:
            more = next(self.batches)
            self.left = torch.cat([self.left, more]) if len(self.left) else more
        taken, self.left = self.left[:count], self.left[count:]
        return taken


class Trained:
    """A trained run, opened for drawing: `gantrick.load(RUN).sample(64)`."""

    def __init__(self, recipe: Recipe, gan: GAN, step: int, path: Path):
        self.recipe, self.gan, self.step, self.path = recipe, gan, step, path
        self.ways: dict[str, Any] = {}  # by stage, the tricks that draw in the place of the run's own, for protocols

    def sample(
        self, count: int, seed: int = 0, weights: Weights | None = None, labels: Sequence[int] | None = None
    ) -> Tensor:
        """`count` samples, (count, C, H, W) in [-1, 1] or points (count, D), on the CPU; the same for the same seed.

        labels: the classes asked for, over and over. Raises GantrickError where `count` is no whole number above 0, or
        the run knows no such label.
        """
        if labels is not None:
            self.check_labels(labels)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise GantrickError(f"sample: the count must be a whole number at least 1, not {count!r}")
        return torch.cat(list(draw(self.gan, count, seed, weights=weights, labels=labels))).cpu()

    def check_labels(self, labels: Sequence[int]) -> None:
        """Raises GantrickError where the run cannot be asked for one of these labels."""
        classes = self.gan.spec.data.classes or 0
        if not self.gan.conditional:
            raise GantrickError(f"{self.path}: the run is not conditional, so no label can be asked for; leave it out")
        if any(not 0 <= label < classes for label in labels):
            raise GantrickError(f"{self.path}: has the labels 0 to {classes - 1}; ask for one of these")

    def interpolate(
        self,
        count: int,
        columns: int,
        seed: int = 0,
        weights: Weights | None = None,
        labels: Sequence[int] | None = None,
    ) -> Tensor:
        """`count` rows of `columns` samples, (count · columns, …), each from one latent z₀ to another z₁.

        Along the great circle between them, sin((1 − t) ω)/sin ω z₀ + sin(t ω)/sin ω z₁ (White, arXiv 1609.04468), as
        the straight line leaves the shell where normal latents lie; along the line for uniform ones. Of codes, as
        trick=infogan's, continuous ones go along the line, and a kind is that of the nearer end.
        """
        gan = self.gan
        source = torch.Generator(gan.device).manual_seed(stream(seed, "latents 0"))
        with apart(gan.device, seed):
            latents = gan.stages.chain("truncate", gan.latents(2 * count, source))
        ends, codes = latents.z.double().view(count, 2, -1), self._codes
        t = torch.linspace(0, 1, columns, dtype=torch.float64, device=gan.device)[None, :, None]
        a, b = ends[:, :1], ends[:, 1:]
        z = line = (1 - t) * a + t * b
        if gan.spec.z_distribution == "normal":
            noise = min((place for place, _ in codes), default=z.shape[2])
            cosine = torch.nn.functional.cosine_similarity(a[..., :noise], b[..., :noise], dim=-1)[..., None]
            angle = cosine.clamp(-1, 1).acos()
            around = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
            z = torch.where(torch.sin(angle) > 1e-6, around, line)
        for place, code in codes:
            entries = slice(place, place + code.entries)
            z[..., entries] = torch.where(t < 0.5, a, b)[..., entries] if code.kinds else line[..., entries]
        asked = self._asked(labels, count, None if latents.labels is None else latents.labels[::2])
        z = z.flatten(0, 1).to(latents.z.dtype)
        return self._made_of(Latents(z, None if asked is None else asked.repeat_interleave(columns)), seed, weights)

    def traverse(
        self,
        count: int,
        seed: int = 0,
        weights: Weights | None = None,
        labels: Sequence[int] | None = None,
        entries: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """What each code does: by its name, c1, c2 …, `count` rows of samples (count · columns, …), each row of one z.

        In a row that code alone changes: a category is each of its kinds, a continuous one goes from −2 to 2 in `STEPS`
        steps. entries: the places in z, from 0, to look at in place of the codes (z0, z1 …); entries of uniform latents
        go from −1 to 1. labels: those of the rows, over and over; None: as drawn. Raises GantrickError where there are
        neither codes nor entries.
        """
        gan, names = self.gan, dict[str, tuple[int, Code]]()
        if not gan.spec.data.is_image:
            raise GantrickError(f"{self.path}: makes points, and a traversal is looked at; take samples of it")
        size = gan.spec.z_size
        if any(not 0 <= entry < size for entry in entries):
            raise GantrickError(f"{self.path}: z has the entries 0 to {size - 1}; ask for one of these")
        names |= {f"c{number}": code for number, code in enumerate(self._codes if not entries else (), 1)}
        names |= {f"z{entry}": (entry, Code()) for entry in entries}
        if not names:
            raise GantrickError(
                f"{self.path}: has no codes, as trick=infogan gives them, and no entry of z means anything by itself; "
                "name some with --entry, or take --interpolate"
            )
        source = torch.Generator(gan.device).manual_seed(stream(seed, "latents 0"))
        with apart(gan.device, seed):
            latents: Latents = gan.stages.chain("truncate", gan.latents(count, source))
        asked = self._asked(labels, count, latents.labels)
        reach = 1.0 if entries and gan.spec.z_distribution == "uniform" else 2.0
        found = {}
        for name, (place, code) in names.items():
            ways = torch.eye(code.kinds) if code.kinds else torch.linspace(-reach, reach, STEPS)[:, None]
            z = latents.z[:, None].repeat(1, len(ways), 1)
            z[:, :, place : place + code.entries] = ways.to(z)
            of_rows = None if asked is None else asked.repeat_interleave(len(ways))
            found[name] = self._made_of(Latents(z.flatten(0, 1), of_rows), seed, weights)
        return found

    @property
    def _codes(self) -> list[tuple[int, Code]]:
        """The codes at the end of z, and the first place of each."""
        codes = [code for component in self.gan.stages.components.values() for code in component.z_codes]
        ends = itertools.accumulate((code.entries for code in codes), initial=0)
        start = self.gan.spec.z_size - sum(code.entries for code in codes)
        return [(start + end, code) for end, code in zip(ends, codes, strict=False)]

    def pictures(self, path: str | Path, count: int, label: str = "pictures") -> Tensor:
        """The first `count` pictures of a folder or a zip, uint8 (N, C, H, W), cut and resized as the run's own data.

        label: what a message calls the path. Raises GantrickError.
        """
        folder = Path(os.path.expanduser(path))
        return like(self.gan.assembly.dataset, self.gan.spec.data, folder, label)[:count]

    def reconstruct(
        self, images: Tensor, weights: Weights | None = None, labels: Sequence[int] | None = None
    ) -> Tensor:
        """G(E(x)) of uint8 images (N, C, H, W), by the component that encodes: (N, C, H, W) in [-1, 1], on the CPU.

        labels: the images' classes, over and over, of a conditional run. Raises GantrickError where nothing encodes.
        """
        gan = self.gan
        encode = gan.stages.one("encode")
        if encode is None:
            able = " or ".join(registry.speakers("encode"))
            raise GantrickError(f"{self.path}: has no encoder, so it reconstructs nothing; a run with {able} does")
        if gan.conditional and labels is None:
            raise GantrickError(
                f"{self.path}: G is asked for a label, and pictures have none; give theirs with --label"
            )
        asked = self._asked(labels, len(images), None)
        latents = []
        with torch.no_grad(), apart(gan.device, 0), evaluating(gan.discriminator):
            for start in range(0, len(images), BATCH):
                part = slice(start, start + BATCH)
                batch = Batch(to_float(images[part].to(gan.device)), None if asked is None else asked[part])
                latents.append(encode(batch, gan.discriminator).z)
        return self._made_of(Latents(torch.cat(latents), asked), 0, weights)

    def _asked(self, labels: Sequence[int] | None, count: int, drawn: Tensor | None) -> Tensor | None:
        """The labels of so many rows: these, over and over, or those that were drawn."""
        if labels is None:
            return drawn
        self.check_labels(labels)
        return torch.tensor(labels, device=self.gan.device).repeat(-(-count // len(labels)))[:count]

    @torch.no_grad()
    def _made_of(self, latents: Latents, seed: int, weights: Weights | None) -> Tensor:
        """Samples of just these latents, on the CPU."""
        network, _ = generator_of(self.gan, weights)
        with apart(self.gan.device, seed), evaluating(network):
            parts = []
            for start in range(0, len(latents), BATCH):
                part = slice(start, start + BATCH)
                labels = None if latents.labels is None else latents.labels[part]
                parts.append(network(Latents(latents.z[part], labels)).cpu())
        return torch.cat(parts)

    def truncate(self, threshold: float) -> None:
        """From here on latents are drawn with |z_j| ≤ threshold, whatever the run itself did. Raises ConfigError."""
        self._draw_by("truncation", {"threshold": threshold})

    def stand(self, batches: int) -> None:
        """From here on G's batch norms draw by standing statistics of so many batches. Raises ConfigError."""
        self._draw_by("standing_statistics", {"batches": batches})

    def _draw_by(self, name: str, options: Mapping[str, Any]) -> None:
        """Draws with a trick in the place of the run's own of that name. Raises ConfigError where it does not fit."""
        trick: Component = registry.create("trick", name, options, name)
        trick.label = f"trick.{name}"
        tags = self.gan.assembly.tags
        faults = [f"needs that {TAGS[tag]}, which is not so here; leave it out" for tag in sorted(trick.needs - tags)]
        faults += [f"{why.reason}; {why.remedy}" for tag, why in trick.forbids.items() if tag in tags]
        if faults:
            raise ConfigError(*(f"{self.path}: {name}: {fault}" for fault in faults))
        others = {k: c for k, c in self.gan.stages.components.items() if not isinstance(c, type(trick))}
        self.gan.stages = Arrangement({**others, trick.label: trick})
        for stage in verbs(type(trick)):
            if stage == "build":
                self.gan.spec = trick.build(self.gan.spec)  # type: ignore[operator]
            else:
                told = {option: getattr(trick, option) for option in signature(type(trick)).parameters}
                self.ways[stage] = {trick.label: told}


def load(run: str | Path, which: str | int = "best", device: str = "auto") -> Trained:
    """The run in a folder, at its best or last checkpoint, or at one that stays under its step's number.

    Raises GantrickError naming what is missing.
    """
    folder = Path(os.path.expanduser(run))
    if (folder / MIXTURE).is_file():
        raise GantrickError(f"{folder}: is a mixture and not a run; open it by gantrick.mixture.open_folder")
    recipe = recorded(folder)
    path = checkpoint_of(folder, which)
    state = checkpoint.load(path)
    shape = state.get("data")  # which the first version's checkpoints lack
    data = None if shape is None else DataShape(tuple(shape["shape"]), shape["classes"])
    place = resolve_device(device)
    with apart(place, 0):
        gan = GAN(bring_together(recipe, data), place, machine.compute_type(recipe.settings.precision, place))
    try:
        gan.load_state_dict(state["gan"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise GantrickError(
            f"{path}: does not fit the run's config.yaml; use the version of gantrick that environment.json names"
        ) from error
    return Trained(recipe, gan, int(state["step"]), folder)


def checkpoint_of(folder: Path, which: str | int) -> Path:
    """The file of "best", "last" or a step. A run without a metric has no best, and its last is meant.

    Raises GantrickError that names the checkpoints there are.
    """
    kept = folder / "checkpoints"
    if which == "best" and not (kept / "best.pt").is_file():
        which = "last"
    path = kept / (f"{which}.pt" if which in ("best", "last") else f"{int(which):07d}.pt")
    if not path.is_file() and which not in ("best", "last"):
        there = ", ".join(str(int(file.stem)) for file in reversed(checkpoint.numbered(kept)))
        raise GantrickError(
            f"{folder}: has no checkpoint of step {which}; choose best or last" + (f", or one of {there}" * bool(there))
        )
    return path
