"""The nouns: what the stages hand to one another.

Shapes are written `(B, C, H, W)` for images and `(B, D)` for points; images are in [-1, 1]. Scores are `(B, K)`: K is
1 for an ordinary head and the number of scores of a cascading one. A high score means real.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gantrick import parallel

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

Player = Literal["discriminator", "generator"]
Norm = Literal["auto", "batch", "layer", "instance", "none"]
ModuleFactory = Callable[[int], nn.Module]
Wrapper = Callable[[nn.Module], nn.Module]


class GantrickError(Exception):
    """A user's mistake or a state the program cannot work in; its text is one sentence: who, what, remedy."""


class ConfigError(GantrickError):
    """A config that cannot be run. `faults` holds every fault found, one sentence each."""

    def __init__(self, *faults: str):
        self.faults = faults
        super().__init__("\n".join(faults))


# --- values of a config, checked against a constructor's signature ---------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """Limits of a number in a signature: `Annotated[float, Bound(ge=0)]`."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __str__(self) -> str:
        names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        return " and ".join(f"{text} {getattr(self, k):g}" for k, text in names.items() if getattr(self, k) is not None)

    def holds(self, value: float) -> bool:
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )


Count = Annotated[int, Bound(ge=1)]
Whole = Annotated[int, Bound(ge=0)]
Positive = Annotated[float, Bound(gt=0)]
NonNegative = Annotated[float, Bound(ge=0)]
Fraction = Annotated[float, Bound(ge=0, le=1)]
Rate = Annotated[float, Bound(ge=0, lt=1)]


@dataclass(frozen=True)
class Paper:
    """Where a technique comes from; `gantrick cite` turns it into BibTeX."""

    key: str
    title: str
    authors: str
    year: int
    arxiv: str | None = None
    venue: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        return f"arXiv {self.arxiv}" if self.arxiv else f"{self.authors.split(' and ')[0]} {self.year}"

    def bibtex(self) -> str:
        fields = {"title": f"{{{self.title}}}", "author": self.authors, "year": str(self.year)}
        if self.venue:
            fields["booktitle"] = self.venue
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"}
        if self.url:
            fields["url"] = self.url
        kind = "inproceedings" if self.venue else "misc"
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@{kind}{{{self.key},\n{body}\n}}"


# --- what flows through a step ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Images `(B, C, H, W)` in [-1, 1] or points `(B, D)`, and their labels `(B,)` where there are any.

    index: of reals, which of the `population` samples that are fed each is, int64 `(B,)`.
    """

    images: Tensor
    labels: Tensor | None = None
    extra: Mapping[str, Batch] = field(default_factory=dict)  # the streams that a component asked for, by name
    index: Tensor | None = None
    population: int = 0

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Latents:
    """Latents z `(B, Z)` and the labels `(B,)` that a conditional generator is asked for.

    step: the move (B, Z) that refining proposed for each z, where it did.
    """

    z: Tensor
    labels: Tensor | None = None
    step: Tensor | None = None

    def __len__(self) -> int:
        return len(self.z)


@dataclass(frozen=True)
class Code:
    """Entries of z that an image tells: `kinds` of them, one of which is 1, or (None) one that is any number."""

    kinds: int | None = None

    @property
    def entries(self) -> int:
        return self.kinds or 1


@dataclass(frozen=True)
class DiscriminatorOutput:
    """Scores `(B, K)`, features `(B, F)` (the input of the head) and what auxiliary heads said, all float32."""

    scores: Tensor
    features: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """A batch together with what D saw of it (after augmentation and packing) and said of it."""

    batch: Batch
    seen: Tensor
    output: DiscriminatorOutput
    latents: Latents | None = None  # of fakes

    @property
    def scores(self) -> Tensor:
        return self.output.scores

    @property
    def images(self) -> Tensor:
        return self.batch.images


@dataclass(frozen=True)
class Targets:
    """What a loss of labels aims at, as probabilities of being real `(B,)`: of reals, fakes, and fakes in G's turn.

    In the turn of a player the other's entries are None.
    """

    real: Tensor | None = None
    fake: Tensor | None = None
    generator: Tensor | None = None


CLASSES = "classes"  # where the logits (B, classes) of a D that tells classes stand in its output's `extra`


@dataclass(frozen=True)
class Scored:
    """Values of a loss per sample and score `(B, K)`, by term, and the weight `(B,)` of each sample in its term's mean.

    diagnostics: numbers to look at, `(K,)` each; no gradient is taken of them.
    """

    values: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    def means(self, score_weights: Tensor) -> dict[str, Tensor]:
        """Σ_k λ_k Σ_b w_b v_bk / Σ_b w_b of each term: scalars, whose means over processes are the batch's."""
        out = {}
        for name, value in self.values.items():
            per_sample = value @ score_weights
            weight = self.weights.get(name)
            out[name] = (
                per_sample.mean() if weight is None else (weight * per_sample).sum() / parallel.mean(weight.sum())
            )
        return out


class Critic(Protocol):
    """D as a penalty calls it: fresh dropout masks, no statistics updated. `raw` images pass the augmentation first."""

    def __call__(self, images: Tensor, labels: Tensor | None = None, *, raw: bool = False) -> DiscriminatorOutput: ...


@dataclass(frozen=True)
class PenaltyInputs:
    """What a penalty may look at. `real` is None in G's turn unless a component needs `real_in_g`."""

    player: Player
    real: Judged | None
    fake: Judged
    critic: Critic
    generate: Callable[[Latents], Tensor]
    score_weights: Tensor  # (K,)
    step: int
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # the player's own, by name, as the objective has them

    def score(self, images: Tensor, labels: Tensor | None = None, *, raw: bool = False) -> Tensor:
        """The weighted sum over scores Σ_k λ_k s_k of each sample: `(B,)`."""
        return self.critic(images, labels, raw=raw).scores @ self.score_weights


@dataclass(frozen=True)
class Record:
    """What one evaluation of a player found; nothing has been moved yet.

    terms: scalars by name, summed to the player's objective. diagnostics: scalars to look at, not part of it.
    gradients: by the parameter's name within the player's network. statistics: what batch normalisations saw; a move
    writes it.
    """

    player: Player
    terms: Mapping[str, Tensor]
    diagnostics: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    real: Judged | None
    fake: Judged
    statistics: Sequence[Any] = ()


class Play(Protocol):
    """The running game as an update rule sees it: `prepare`, `draw`, `evaluate` (pure), `move`, or a whole `turn`."""

    step: int
    d_steps: int
    g_steps: int
    accumulate: int
    real_in_g: bool  # whether G's objective looks at reals

    def prepare(self, player: Player) -> None:
        """Due once before each move of a player: spectral norm's power iteration and its like."""

    def draw(self, player: Player) -> tuple[Batch | None, Latents]:
        """The next reals and latents of a player's turn; in G's no reals unless a component needs `real_in_g`."""

    def evaluate(
        self,
        player: Player,
        batch: Batch | None,
        latents: Latents,
        parameters: Mapping[Player, Mapping[str, Tensor]] | None = None,
        create_graph: bool = False,
    ) -> Record:
        """The player's objective and its gradients at the present weights or at `parameters`; writes nothing."""

    def move(self, player: Player, records: Sequence[Record]) -> None:
        """One optimizer step along the mean of the records' gradients, and what follows a move."""

    def look(self, player: Player, gradients: Mapping[str, Tensor]) -> None:
        """One optimizer step that the rule will take back. Weights are projected, but nothing else follows: no `adapt`,
        no running statistics, no row.
        """

    def skip(self, player: Player, records: Sequence[Record]) -> None:
        """What was found in a turn in which the player does not move: it is in the rows, and nothing else follows."""

    def turn(self, player: Player) -> None:
        """Prepare, draw, evaluate and move: an ordinary turn."""

    def parameters(self, player: Player) -> Mapping[str, nn.Parameter]:
        """The player's trained weights by name; a rule may put others in their place between two moves."""

    def optimizer(self, player: Player) -> torch.optim.Optimizer:
        """The player's optimizer, to read its rates and moments."""


# --- networks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataShape:
    """What a network must know of the data: `(C, H, W)` of images or `(D,)` of points, and the number of classes."""

    shape: tuple[int, ...]
    classes: int | None = None

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3


@dataclass(frozen=True)
class NetworkSpec:
    """The two networks as factories; they are called after the last component's `build` has spoken.

    The model fills it in, each component's `build` hands on a changed copy (`spec.but(...)`).
    """

    data: DataShape
    z_size: int
    z_distribution: Literal["normal", "uniform"]
    g_norm: ModuleFactory  # channels -> layer called as norm(h, condition)
    d_norm: ModuleFactory
    d_dropout: Callable[[float], nn.Module]  # the rate this place of the architecture suggests -> layer
    head: Callable[[int, ModuleFactory], nn.Module]  # (F, direction) -> module: features (B, F), labels -> (B, K)
    direction: ModuleFactory  # features F -> `layers.heads.Direction`, of which a head is made
    tail: Callable[[], nn.Module]  # (B, C, h, w) -> (B, F)
    g_init: Callable[[nn.Module], None]  # called with each module of the network
    d_init: Callable[[nn.Module], None]
    score_weights: tuple[float, ...] = (1.0,)
    d_channels: int | None = None  # input channels of D where they differ from the data's (packs)
    d_inputs: tuple[Callable[[], nn.Module], ...] = ()  # -> modules: what D sees and labels -> more channels
    necks: tuple[ModuleFactory, ...] = ()  # F -> module: features, labels -> (B, `features`), before the heads
    g_wrappers: tuple[Wrapper, ...] = ()  # applied to every layer with a weight
    d_wrappers: tuple[Wrapper, ...] = ()
    d_heads: Mapping[str, ModuleFactory] = field(default_factory=dict)  # auxiliary heads: features F -> module
    g_condition: Callable[[int], nn.Module] | None = (
        None  # blocks -> module: Latents -> (z of the first layer, [c_1 …])
    )
    g_blocks: int = 0  # how many parts of G are handed a condition each; 0: the model does not say
    g_last_norm: ModuleFactory | None = None  # before G's last layer, where it is not one of `g_norm`
    g_reference: int = 0  # latents of a fixed batch, drawn once, that goes through G before the rows of every other
    energy: Callable[[Tensor, Tensor], Tensor] | None = None  # (what D saw, reconstruction) -> (B,); see `Model`
    score: Callable[[Mapping[str, Tensor]], Tensor] | None = None  # what `d_heads` said -> (B, K), in a head's place
    notes: tuple[str, ...] = ()  # defaults taken and why, for the plan

    def but(self, note: str | None = None, **changes: Any) -> NetworkSpec:
        """A copy with these fields changed, and a line for the plan."""
        notes = (*self.notes, note) if note else self.notes
        return replace(self, notes=notes, **changes)


class Model(ABC):
    """An architecture: its own spec, and the two bodies built from the final one.

    `g_norm` and `d_norm` are what the user asked for; `auto_norms` is what `auto` means for (G, D), and for D where
    batch statistics are ruled out. `claims` are slots that leave no room for a component, `provides` tags.
    """

    paper: ClassVar[Paper | None] = None
    claims: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    auto_norms: ClassVar[tuple[str, str, str]] = ("batch", "batch", "none")
    g_norm: Norm
    d_norm: Norm

    @abstractmethod
    def spec(self, data: DataShape, g_norm: str, d_norm: str) -> NetworkSpec:
        """The spec before any component has spoken. Raises ConfigError where the data does not fit."""

    @abstractmethod
    def generator(self, spec: NetworkSpec) -> nn.Module:
        """A module: (first (B, Z), conditions) -> images (B, C, H, W) or points (B, D).

        `conditions` has one entry for each of its `blocks` (an int attribute), None where there is no condition.
        """

    @abstractmethod
    def discriminator(self, spec: NetworkSpec) -> nn.Module:
        """A module: images -> features (B, F), the tail included; it has an int attribute `features`.

        Where the spec has an `energy` it gives (features, reconstruction of the images), and the score is −energy.
        """


# --- data and figures ------------------------------------------------------------------------------------------------


Rows = slice | Sequence[int] | np.ndarray | Tensor


def _rows(rows: Rows) -> slice | np.ndarray:
    return rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)


class Pictures(ABC):
    """uint8 images (N, C, H, W) that are read when they are asked for: `pictures[rows]` is a tensor of those rows.

    rows: a slice or whole numbers. `numbers` are the source's numbers of the rows; `workers` is how many processes
    read ahead for a feed ("auto": as many as there are free CPUs, 8 at most; 0: the run's own). An instance is sent
    to other processes, so it holds no open file.
    """

    workers: int | Literal["auto"] = "auto"

    def __init__(self, shape: tuple[int, int, int], count: int):
        self.shape_of_one, self.numbers = shape, np.arange(count)

    @abstractmethod
    def decode(self, number: int) -> np.ndarray:
        """uint8 (C, H, W). Raises anything where the picture is no good."""

    @abstractmethod
    def name(self, number: int) -> str:
        """What a message calls a picture."""

    def refusal(self, faults: Mapping[int, Exception], of: int) -> ConfigError:
        """All that is wrong with `of` pictures that were asked for; `faults` are by number."""
        return ConfigError(f"dataset: cannot read {listed(self, faults, of)}; mend or remove them")

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.shape_of_one)

    def take(self, rows: Rows) -> Self:
        """Some of the pictures, in the order of `rows`, none of them read."""
        some = copy.copy(self)
        some.numbers = self.numbers[_rows(rows)]
        return some

    def __getitem__(self, rows: Rows) -> Tensor:
        """Raises ConfigError with all pictures among them that are no good."""
        return self.read(rows, os.cpu_count() or 1)

    def read(self, rows: Rows, threads: int) -> Tensor:
        """What `pictures[rows]` is, by so many threads."""
        numbers = self.numbers[_rows(rows)]
        images = np.empty((len(numbers), *self.shape_of_one), dtype=np.uint8)
        faults: dict[int, Exception] = {}

        def decode(place: int) -> None:
            try:
                images[place] = self.decode(int(numbers[place]))
            except Exception as error:  # decoders raise whatever their formats do
                faults[int(numbers[place])] = error

        if threads == 1 or len(numbers) < 2:
            for place in range(len(numbers)):
                decode(place)
        else:
            pool = ThreadPoolExecutor(threads)
            try:
                list(pool.map(decode, range(len(numbers))))
            finally:
                pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest
        if faults:
            raise self.refusal(faults, len(numbers))
        return torch.from_numpy(images)


NAMED = 10  # pictures named in one message


def listed(pictures: Pictures, faults: Mapping[int, Exception], of: int) -> str:
    """ "2 of 8 pictures: a.png (not a picture), b.png (…)"."""
    words = [f"{pictures.name(number)} ({_reason(faults[number])})" for number in sorted(faults)]
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return f"{len(words)} of {of} pictures: {', '.join(words[:NAMED])}{more}"


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


@dataclass(frozen=True)
class Samples:
    """A split: uint8 images (N, C, H, W) or float32 points (N, D), labels int64 (N,) or None.

    Images are held in memory or are `Pictures`; of both, `images[rows]` with a slice or whole numbers is a tensor.
    `weights`, float64 (N,), are the relative rates at which training draws them; None: each once an epoch.
    """

    images: Tensor | Pictures
    labels: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> Samples:
        """Some of the samples, int64 (n,), in this order; pictures are not read."""
        images = self.images[rows] if isinstance(self.images, Tensor) else self.images.take(rows)
        labels, weights = (None if t is None else t[rows] for t in (self.labels, self.weights))
        return Samples(images, labels, weights)


@dataclass(frozen=True)
class Stream:
    """An extra batch that a component asks for with every batch of reals: `size` samples of the train split.

    rows: which of its samples the batches are of, int64 (n,); None: all. It is asked once, before the run starts, and
    may raise ConfigError.
    """

    size: int
    rows: Callable[[Samples], Tensor] | None = None

    def of(self, samples: Samples) -> Samples:
        return samples if self.rows is None else samples.take(self.rows(samples))


@dataclass(frozen=True)
class Reading:
    """How a data set is read, whichever it is: the keys that stand beside its own in `dataset`.

    limit: so many samples of the train split, always the same (`gantrick.dataset._reading`). weights: a file with a
    weight for each sample of the whole train split. resident: whether pictures are held in memory; auto: up to 1 GiB.
    workers: processes that read ahead those that are not.
    """

    limit: Annotated[int, Bound(ge=2)] | None = None
    weights: str | None = None
    resident: Literal["auto"] | bool = "auto"
    workers: Literal["auto"] | Whole = "auto"


class Dataset(ABC):
    """A source of real samples. The shape is known without loading; `load` may read, decode or download.

    `flip` asks for random horizontal flips of the training images, done on the device, `shift` for random moves by up
    to so many pixels either way.
    """

    paper: ClassVar[Paper | None] = None
    flip: bool = False
    shift: int = 0
    reading: Reading = Reading()

    @property
    @abstractmethod
    def data(self) -> DataShape: ...

    @abstractmethod
    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        """The whole of a split, in memory or as `Pictures`. Raises ConfigError naming the file or folder at fault."""


@dataclass(frozen=True)
class Networks:
    """Both players in evaluation mode, with the weights that are being trained.

    discriminator: (what it sees, labels) -> DiscriminatorOutput. see: samples as data -> what D sees of them, packed
    where it judges packs, without augmentation. tags: the run's (`stages.TAGS`).
    """

    generator: nn.Module
    discriminator: nn.Module
    see: Callable[[Tensor], Tensor]
    tags: frozenset[str] = frozenset()


class Evaluation(Protocol):
    """What a metric may ask for. Every draw comes from streams of its own, so that training never notices."""

    step: int
    folder: Path | None  # the run's `samples/` for pictures; None where none are wanted, or another process makes them
    cache: dict[Any, Any]  # lives as long as the run: reference statistics
    held: dict[Any, Any]  # lives as long as this evaluation: what metrics share of its fakes

    @property
    def weights(self) -> str:
        """ "ema" or "raw": which generator is drawn from."""

    @property
    def drawing(self) -> Mapping[str, Any]:
        """How fakes are drawn, for the protocol: "generator" (`weights`), and by stage the components of drawing."""

    @property
    def dataset(self) -> Dataset: ...

    @property
    def device(self) -> torch.device: ...

    def fakes(
        self, count: int, batch_size: int = 256, features: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[Tensor]:
        """Generated samples as data: uint8 (B, C, H, W) after the round trip, or float32 points (B, D).

        features: what is wanted of them instead, (B, …) -> (B, F); several processes share this work.
        """

    def labelled_fakes(
        self, count: int, batch_size: int, features: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (B, F) of fakes as in `fakes`, and the labels (B,) that each was asked for.

        Raises GantrickError where the run's generator is asked for none.
        """

    def reals(self, split: Literal["train", "test"] = "train") -> Samples: ...

    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """D's weighted score (B,) of samples as data, uint8 (B, C, H, W) or points (B, D), with their labels (B,).

        Raises GantrickError where D looks at labels and there are none.
        """

    def scores_of_fakes(self, count: int, batch_size: int = 256) -> Iterator[Tensor]:
        """`scores` of fakes as in `fakes`, each with the label that it was asked for."""

    @property
    def discriminators(self) -> Sequence[str]:
        """Whose class logits there are to ask for: "ema" first, where D's weights are averaged, then "raw"."""

    def class_logits(self, images: Tensor, weights: str) -> Tensor:
        """What D says of the classes of samples as data: (B, classes). Raises GantrickError where it says nothing."""

    def networks(self) -> AbstractContextManager[Networks]:
        """The players themselves, inside; whoever looks at them leaves them as they are."""

    def tell(self, sentence: str) -> object:
        """A warning for the user."""


Act = Literal["stop", "roll_back", "reseed"]


@dataclass(frozen=True)
class Verdict:
    """What a component that watches a run asks of the trainer.

    stop: end here. roll_back: networks, optimizers and components as at the best checkpoint, the learning rates times
    `lr_factor`, and go on. reseed: begin again from a seed of its own. After `times` acts there is nothing but to stop.
    """

    act: Act
    reason: str
    lr_factor: float = 1.0
    times: int | None = None
    by: str = ""  # the component's label, filled in by the trainer


@dataclass(frozen=True)
class Figures:
    """Numbers by metric name (`fid/digits_cnn`), the protocol that made them, and pictures left in the run folder.

    A protocol is given its `fingerprint`, the sha256 over all else in it. `details` are for the row in metrics.jsonl
    alone: what is too much for a table, by a name of its own, as JSON.
    """

    values: Mapping[str, float]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.protocol and "fingerprint" not in self.protocol:
            text = json.dumps(dict(self.protocol), sort_keys=True, default=str)
            named = {**self.protocol, "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:12]}
            object.__setattr__(self, "protocol", named)


class Metric(ABC):
    """Images -> figures.

    needs: tags (`stages.TAGS`) that a run must have for this metric. forbids: tags that leave it no figure, and why.
    """

    paper: ClassVar[Paper | None] = None
    lower_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()  # tags (`stages.TAGS`) that a run must have for it
    forbids: ClassVar[Mapping[str, str]] = {}  # tags that it must not have, with the reason

    @property
    @abstractmethod
    def primary(self) -> str:
        """The name of the figure by which the best checkpoint is chosen where this metric stands first."""

    @property
    def directions(self) -> dict[str, Literal["lower", "higher"]]:
        """Which end of its figures is the better one, where that is known."""
        return {self.primary: "lower" if self.lower_is_better else "higher"}

    def check(self, dataset: Dataset) -> list[str]:
        """Faults that can be known without fetching anything: one sentence each."""
        return []

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Fetches what evaluating needs, before the run starts. Raises ConfigError where it is not to be had."""

    @abstractmethod
    def evaluate(self, evaluation: Evaluation) -> Figures: ...
