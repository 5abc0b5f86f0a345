"""What a metric sees of a run, and the figures that all metrics take of it: while it is trained and ever after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrick import parallel
from gantrick.feed import Reals, stream, to_float, to_uint8
from gantrick.gan import GAN
from gantrick.sampling import Through, Weights, apart, chosen_generator, draw, draw_by_mode, draw_mixture, evaluating
from gantrick.types import CLASSES, ConfigError, Dataset, Figures, GantrickError, Metric, Networks

DRAWING = ("settle", "calibrate", "truncate", "refine_latents", "accept")  # stages that change what is drawn


def _nothing(*_: Any) -> None:
    pass


@dataclass
class Judging:
    """A generator under judgement; see `types.Evaluation`. Its latents are those of the run's seed, whoever asks.

    ways: what a protocol says of drawing: by stage what is drawn by in place of the run's own parts, and what else
    there is to say of it.
    limit: no more fakes than these, whatever a metric wants. beat: told with each batch how many fakes there are, and
    of how many. tell: takes a warning.
    """

    gan: GAN
    reals: Reals
    seed: int
    step: int
    folder: Path | None = None
    drawn_by: Weights | None = None
    limit: int | None = None
    ways: Mapping[str, Any] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)
    held: dict[Any, Any] = field(default_factory=dict)
    beat: Callable[[int, int], object] = _nothing
    tell: Callable[[str], object] = _nothing

    @property
    def dataset(self) -> Dataset:
        return self.reals.dataset

    @property
    def device(self) -> torch.device:
        return self.gan.device

    @property
    def weights(self) -> str:
        return chosen_generator(self.gan, self.drawn_by)[1]

    @property
    def drawing(self) -> Mapping[str, Any]:
        """The generator's weights, and the components with their settings by stage of drawing, where there are any."""
        options = {part.label: dict(part.options) for part in self.gan.assembly.recipe.parts}
        found = {stage: {c.label: options.get(c.label, {}) for c in self.gan.stages[stage]} for stage in DRAWING}
        acting = {stage: {**parts, **self.ways.get(stage, {})} for stage, parts in found.items() if parts}
        beyond = {name: how for name, how in self.ways.items() if name not in DRAWING}
        return {"generator": self.weights, **acting, **beyond}

    def fakes(
        self, count: int, batch_size: int = 256, features: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[Tensor]:
        def through(images: Tensor, labels: Tensor | None) -> Tensor:
            return self._whole(images) if features is None else features(self._whole(images))

        return self._draw(count, batch_size, through)

    def labelled_fakes(
        self, count: int, batch_size: int, features: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        def through(images: Tensor, labels: Tensor | None) -> Tensor:
            if labels is None:
                raise GantrickError("the generator is not asked for labels; leave the metric to conditional runs")
            found = features(self._whole(images))
            return torch.cat([found, labels[:, None].to(found)], 1)  # float32 counts classes up to 2²⁴

        for found in self._draw(count, batch_size, through):
            yield found[:, :-1], found[:, -1].long()

    def _draw(self, count: int, batch_size: int, through: Through) -> Iterator[Tensor]:
        count, done = min(count, self.limit) if self.limit else count, 0

        def told(images: Tensor, labels: Tensor | None) -> Tensor:
            nonlocal done
            done += len(images)
            self.beat(done, count)
            return through(images, labels)

        return self._drawn(count, stream(self.seed, "evaluation"), batch_size, told)

    def _drawn(self, count: int, seed: int, batch_size: int, through: Through) -> Iterator[Tensor]:
        return draw(self.gan, count, seed, batch_size, self.drawn_by, through)

    def _whole(self, images: Tensor) -> Tensor:
        """Images as data. Raises GantrickError where some are not finite."""
        if not bool(torch.isfinite(images).all()):
            raise GantrickError(f"step {self.step}: the generator draws values that are not finite; no figure is taken")
        return to_uint8(images)

    def scores_of_fakes(self, count: int, batch_size: int = 256) -> Iterator[Tensor]:
        def through(images: Tensor, labels: Tensor | None) -> Tensor:
            return self.scores(self._whole(images), labels)

        return self._draw(count, batch_size, through)

    @torch.no_grad()
    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Σ_k λ_k s_k of images as data, uint8 (B, C, H, W) or points (B, D): (B,), D in evaluation mode.

        labels: (B,), of images that D scores with their labels; any other D is not shown them.
        """
        if "d.labels" not in self.gan.assembly.tags:
            labels = None
        elif labels is None:
            raise GantrickError(
                "D scores images with their labels, and these have none; leave the figure to other runs"
            )
        with evaluating(self.gan.discriminator):
            x = to_float(images.to(self.device))
            found: Tensor = self.gan.discriminator(x, labels).scores @ self.gan.discriminator.score_weights
        return found

    @property
    def discriminators(self) -> Sequence[str]:
        return ("raw",) if self.gan.averaged_discriminator is None else ("ema", "raw")

    @torch.no_grad()
    def class_logits(self, images: Tensor, weights: str) -> Tensor:
        """(B, classes) of images as data, D in evaluation mode."""
        tags, averaged = self.gan.assembly.tags, self.gan.averaged_discriminator
        if "d.classes" not in tags:
            raise GantrickError("D tells no classes of samples; leave the figure to runs with loss=semi_supervised")
        if "d.batch_coupled" in tags:
            raise GantrickError(
                "what D says of one sample depends on the others in the batch, so there is no figure of its classes; "
                "leave the trick that compares samples out"
            )
        network = averaged if weights == "ema" and averaged is not None else self.gan.discriminator
        with evaluating(network):
            found: Tensor = network(to_float(images.to(self.device))).extra[CLASSES]
        return found

    def networks(self) -> AbstractContextManager[Networks]:
        return self._networks()

    @contextmanager
    def _networks(self) -> Iterator[Networks]:
        pack = self.gan.stages.one("pack")

        def see(samples: Tensor) -> Tensor:
            images = to_float(samples.to(self.device))
            return images if pack is None else pack(images)

        with evaluating(self.gan.generator, self.gan.discriminator):
            yield Networks(self.gan.generator, self.gan.discriminator, see, self.gan.assembly.tags)


@dataclass
class JudgingMixture(Judging):
    """The same of several generators together; `gan` is the first of them."""

    gans: Sequence[GAN] = ()
    shares: Sequence[float] = ()

    def _drawn(self, count: int, seed: int, batch_size: int, through: Through) -> Iterator[Tensor]:
        return draw_mixture(self.gans, self.shares, count, seed, batch_size, self.drawn_by, through)

    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        raise GantrickError("a mixture of generators has no discriminator to ask; take the figure of each run")

    def class_logits(self, images: Tensor, weights: str) -> Tensor:
        raise GantrickError("a mixture of generators has no discriminator to ask; take the figure of each run")

    def networks(self) -> AbstractContextManager[Networks]:
        raise GantrickError("a mixture of generators has no networks of its own; take the figure of each run")


@dataclass
class JudgingByMode(JudgingMixture):
    """The same where each mode of the data is drawn from the generator that finds it most often."""

    mode_of: Callable[[Tensor], Tensor] = lambda images: images
    modes: int = 1

    def _drawn(self, count: int, seed: int, batch_size: int, through: Through) -> Iterator[Tensor]:
        return draw_by_mode(self.gans, self.mode_of, self.modes, count, seed, batch_size, self.drawn_by, through)


def modes_of(dataset: Dataset, extractor: str | None) -> tuple[Callable[[Tensor], Tensor], int]:
    """(samples -> their modes (b,), −1 for none; how many modes): of points those within 3 σ of a centre of the data,
    of images the classes as an extractor that ships tells them. Raises ConfigError where the data have neither.
    """
    centers, std = getattr(dataset, "centers", None), getattr(dataset, "std", None)
    if centers is not None and std is not None:

        def nearest(points: Tensor) -> Tensor:
            distance, mode = torch.cdist(points.cpu().double(), centers.double()).min(1)
            return torch.where(distance <= 3 * std, mode, -1)

        return nearest, len(centers)
    from gantrick.metric import features

    if extractor not in features.shipped():
        raise ConfigError(
            f"mixture=by_mode: {extractor or 'no extractor'} tells no classes of these data; choose mixture=uniform"
        )
    network = features.extractor(extractor)

    def classified(images: Tensor) -> Tensor:
        return network.logits(to_uint8(images)).argmax(1)

    return classified, network.logits(torch.zeros(1, *dataset.data.shape, dtype=torch.uint8)).shape[1]


@dataclass
class Taken:
    """Figures by name, the protocol of each, the pictures that were made, and details for a row."""

    figures: dict[str, float] = field(default_factory=dict)
    protocols: dict[str, Any] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def take(metrics: Mapping[str, Metric], judging: Judging) -> Taken:
    """Every metric's figures; one that fails is told and left out. Raises parallel.Lost where a process is gone."""
    taken, gan = Taken(), judging.gan
    for key, metric in metrics.items():
        try:
            with apart(gan.device, stream(judging.seed, f"metric {key}")), parallel.together():
                if judging.folder is not None:
                    judging.folder.mkdir(exist_ok=True)  # the run's own folder is not made anew
                found: Figures = metric.evaluate(judging)
            values = {name: float(value) for name, value in found.values.items()}
            protocol = json.loads(json.dumps(dict(found.protocol), default=str))  # plain: it goes into a checkpoint
        except parallel.Lost:
            raise
        except Exception as error:
            judging.tell(f"metric.{key}: no figure at step {judging.step}: {type(error).__name__}: {error}")
            continue
        taken.figures |= values
        taken.protocols |= dict.fromkeys(values, protocol)
        taken.pictures += found.pictures
        taken.details |= found.details
    if taken.figures:  # the last bits decide which checkpoint is best
        taken.figures, taken.protocols = parallel.exchange((taken.figures, taken.protocols))[0]
    return taken
