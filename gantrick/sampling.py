"""Latents -> images of a trained generator."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from gantrick import checkpoint, parallel
from gantrick.feed import stream
from gantrick.gan import GAN, bring_together, resolve_device
from gantrick.recipe import Recipe, recorded
from gantrick.types import DataShape, GantrickError, Latents

Weights = Literal["ema", "raw"]
PATIENCE = 100  # rounds without a single sample accepted


def generator_of(gan: GAN, weights: Weights | None = None) -> tuple[nn.Module, str]:
    """The generator to draw from: by default the averaged one where there is one. Raises GantrickError."""
    network, name = gan.drawing_generator
    if weights in (None, name):
        return network, name
    if weights == "ema":
        raise GantrickError("weights=ema: this run keeps no averaged weights; take raw, or train with trick=ema")
    return gan.generator, "raw"


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
    through: Callable[[Tensor, Tensor | None], Tensor] = lambda images, labels: images,
) -> Iterator[Tensor]:
    """Batches of images (b, C, H, W) in [-1, 1] or points (b, D), `count` in all; or `through` of each, of b rows too,
    and of the labels (b,) that its generator was asked for.

    All latents come from one draw, so that the batch size changes nothing. Refused samples (`accept`) are drawn again.
    Several processes share the batches, and each is given all of them.
    """
    network, _ = generator_of(gan, weights)
    stages, left = gan.stages, count
    for round_ in itertools.count():
        source = torch.Generator(gan.device).manual_seed(stream(seed, f"latents {round_}"))
        with apart(gan.device, stream(seed, f"draw {round_}")), parallel.alone():
            latents = stages.chain("truncate", gan.latents(left, source))

        def one(start: int, latents: Latents = latents, round_: int = round_) -> Tensor:
            part = Latents(
                latents.z[start : start + batch_size],
                None if latents.labels is None else latents.labels[start : start + batch_size],
            )
            # Nothing stays changed while the caller holds a batch: it may train, draw, or never come back.
            with apart(gan.device, stream(seed, f"draw {round_} {start}")), evaluating(network, gan.discriminator):
                part = stages.chain("refine_latents", part, network, gan.discriminator)
                images: Tensor = network(part)
                labels = part.labels
                if stages["accept"]:
                    scores = gan.discriminator(images, labels).scores
                    mask = stages.chain("accept", images.new_ones(len(images)).bool(), images, scores)
                    images, labels = images[mask], None if labels is None else labels[mask]
            return through(images, labels) if len(images) else images

        for found in parallel.in_shares(one, range(0, left, batch_size)):
            if len(found):
                left -= len(found)
                yield found
        if left == 0:
            return
        if left == count and round_ == PATIENCE:
            raise GantrickError("drawing: every sample was refused; leave the component that accepts samples out")


class Trained:
    """A trained run, opened for drawing: `gantrick.load(RUN).sample(64)`."""

    def __init__(self, recipe: Recipe, gan: GAN, step: int, path: Path):
        self.recipe, self.gan, self.step, self.path = recipe, gan, step, path

    def sample(self, count: int, seed: int = 0, weights: Weights | None = None) -> Tensor:
        """`count` samples, (count, C, H, W) in [-1, 1] or points (count, D), on the CPU; the same for the same seed.

        Raises GantrickError where `count` is no whole number above 0.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise GantrickError(f"sample: the count must be a whole number at least 1, not {count!r}")
        return torch.cat(list(draw(self.gan, count, seed, weights=weights))).cpu()


def load(run: str | Path, which: str = "best", device: str = "auto") -> Trained:
    """The run in a folder, at its best or last checkpoint. Raises GantrickError naming what is missing."""
    folder = Path(os.path.expanduser(run))
    recipe = recorded(folder)
    path = folder / "checkpoints" / f"{which}.pt"
    if which == "best" and not path.is_file():
        path = path.with_name("last.pt")
    state = checkpoint.load(path)
    shape = state.get("data")  # which the first version's checkpoints lack
    data = None if shape is None else DataShape(tuple(shape["shape"]), shape["classes"])
    place = resolve_device(device)
    with apart(place, 0):
        gan = GAN(bring_together(recipe, data), place)
    try:
        gan.load_state_dict(state["gan"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise GantrickError(
            f"{path}: does not fit the run's config.yaml; use the version of gantrick that environment.json names"
        ) from error
    return Trained(recipe, gan, int(state["step"]), folder)
