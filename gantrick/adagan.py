"""AdaGAN: GANs trained one after another, each on what those before it lack (Tolstikhin et al., arXiv 1701.02386).

    G_1 = the ordinary run,  G_t = (1 − β_t) G_{t−1} + β_t C_t,  C_t an ordinary run on reweighted data:
    w_i = p_i (λ* − (1 − β_t) h_i)₊ / β_t,  λ* such that Σ_i w_i = 1,  h_i = (1 − c_i)/c_i

p_i is the data's own weight of sample i (1/N), c_i what a classifier of data against samples of G_{t−1} calls the
probability that it is data, so that h_i estimates the ratio of the densities dG_{t−1}/dP at it. By the paper's theorem
1 no other C_t brings (1 − β_t) G_{t−1} + β_t C_t nearer to P in any f-divergence. β_t = 1/t has all components in even
shares. Of a conditional run every class is weighted by itself, so that it keeps its part of the data, and the mixture
may be asked for labels as each component is.

The weights reach a component by `dataset.weights`, as the rate at which it draws each sample: so whatever loss,
penalty or trick a run has sees the reweighted data. A folder holds

    adagan.json  what was asked for            component-0/ …  ordinary run folders
    weights-1.npy …  what each was trained on  mixture.json    the components that are there, and their shares
    adagan.jsonl  how the weights came about, a row each
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gantrick import assess, launch, mixture, registry
from gantrick.dataset._reading import read, subset
from gantrick.feed import Feed, stream, to_float, to_uint8
from gantrick.gan import GAN, bring_together, preflight, resolve_device
from gantrick.meter import Meter
from gantrick.mixture import Member, Mixture
from gantrick.recipe import Recipe, check
from gantrick.sampling import apart, draw_mixture, evaluating
from gantrick.step import Play
from gantrick.tracking.console import Console
from gantrick.tracking.folder import RunFolder, write_atomically
from gantrick.types import (
    Batch,
    Bound,
    ConfigError,
    Count,
    Dataset,
    GantrickError,
    Latents,
    Model,
    Paper,
    Player,
    Positive,
    Record,
    Samples,
)

FILE = "adagan.json"
PAPER = Paper(
    "tolstikhin2017adagan",
    "AdaGAN: Boosting Generative Models",
    'Ilya Tolstikhin and Sylvain Gelly and Olivier Bousquet and Carl-Johann Simon-Gabriel and Bernhard Sch{\\"o}lkopf',
    2017,
    "1701.02386",
    "Advances in Neural Information Processing Systems",
)
EPOCHS = 5.0
SCORED = 500  # samples that the classifier scores at a time


@dataclass(frozen=True)
class Settings:
    """What `gantrick adagan` takes beside the keys of a run.

    beta: uniform is β_t = 1/t, a number is every β_t from the second on. The classifier passes `classifier_epochs`
    times over the data, by Adam at a rate that falls from `classifier_lr` to 0; null: 5 times as in the authors' code,
    or as many moves as D makes in a component, whichever is less.
    """

    components: Count = 5
    beta: Literal["uniform"] | Annotated[float, Bound(gt=0, lt=1)] = "uniform"
    classifier_epochs: Positive | None = None
    classifier_lr: Positive = 1e-3

    def rate(self, t: int) -> float:
        """β_t of the t-th component, t = 1, 2, …"""
        if t == 1:
            return 1.0
        return 1 / t if self.beta == "uniform" else float(self.beta)

    def shares(self, count: int) -> list[float]:
        """α_k of the first `count` components: β_k Π_{t>k} (1 − β_t)."""
        found: list[float] = []
        for t in range(1, count + 1):
            found = [(1 - self.rate(t)) * share for share in found] + [self.rate(t)]
        return found


KEYS = tuple(inspect.signature(Settings).parameters)


# --- the weights -----------------------------------------------------------------------------------------------------


def next_weights(p: Tensor, h: Tensor, beta: float) -> tuple[Tensor, float]:
    """(w, λ*): w_i = p_i (λ* − (1 − β) h_i)₊ / β with Σ_i w_i = 1, where p (N,) has the sum 1 and h (N,) is at least 0.

    Of the samples by rising h the first k have weight: λ* = (β + (1 − β) Σ_{i≤k} p_i h_i) / Σ_{i≤k} p_i for the
    smallest k where that is no more than (1 − β) h_{k+1}.
    """
    there = torch.nonzero(p > 0)[:, 0]
    there = there[torch.argsort(h[there], stable=True)]
    r = (1 - beta) * h[there].double()
    q = p[there].double()
    lambdas = (beta + (q * r).cumsum(0)) / q.cumsum(0)
    following = torch.cat([r[1:], r.new_full((1,), torch.inf)])
    k = int(torch.nonzero(lambdas <= following)[0, 0])
    lam = float(lambdas[k])
    w = p.double() * (lam - (1 - beta) * h.double()).clamp_min(0) / beta
    return w / w.sum(), lam


def weights_by_class(p: Tensor, h: Tensor, beta: float, labels: Tensor | None) -> tuple[Tensor, float]:
    """The same, class by class where there are labels (N,): each keeps its part Σ p of the whole. λ* is their mean."""
    if labels is None:
        return next_weights(p, h, beta)
    w, mean = torch.zeros_like(p, dtype=torch.float64), 0.0
    for label in set(labels.tolist()):
        own = labels == label
        part = float(p[own].sum())
        if part > 0:
            found, lam = next_weights(p[own] / part, h[own], beta)
            w[own], mean = part * found, mean + part * lam
    return w, mean


def measure(dataset: Dataset) -> tuple[Samples, Tensor]:
    """(the whole train split, p (N,) with the sum 1): 0 outside dataset.limit, in proportion to dataset.weights."""
    how = dataset.reading
    dataset.reading = replace(how, limit=None)
    try:
        samples = read(dataset)
    finally:
        dataset.reading = how
    p = torch.ones(len(samples), dtype=torch.float64) if samples.weights is None else samples.weights.clone()
    if how.limit is not None:
        inside = torch.from_numpy(subset(len(samples), how.limit, samples.labels))
        p[torch.ones_like(p).bool().index_fill_(0, inside, False)] = 0
    return replace(samples, weights=None if bool((p == p[0]).all()) else p), p / p.sum()


# --- the classifier --------------------------------------------------------------------------------------------------


class _AsGiven(nn.Module):
    """A generator whose latents are the samples."""

    def forward(self, latents: Latents) -> Tensor:
        return latents.z


class Classifier:
    """Data against a mixture: a discriminator of the run's own architecture, without its tricks and normalisation.

    It learns as D does in a game whose G is the mixture and stands still: by −ln C(x) − ln(1 − C(x̃)), C = sigmoid of
    the score. Fakes are new in every batch, rounded to the 256 levels that data have, and of the labels of the batch
    where the run is conditional; D then sees labels by projection (Miyato and Koyama, arXiv 1802.05637).
    """

    def __init__(self, recipe: Recipe, of: Mixture, samples: Samples, seed: int, settings: Settings):
        self.mixture, self.seed, self.settings = of, seed, settings
        self.conditional = of.trained[0].gan.conditional
        device = of.trained[0].gan.device
        dataset: Dataset = recipe.dataset.create()
        self.batch_size = recipe.settings.batch_size
        count = len(samples) if samples.weights is None else int((samples.weights > 0).sum())
        self.steps = math.ceil((settings.classifier_epochs or EPOCHS) * count / self.batch_size)
        if settings.classifier_epochs is None:
            self.steps = min(self.steps, recipe.settings.steps * recipe.settings.d_steps)
        with apart(device, stream(seed, "classifier")):
            self.gan = GAN(bring_together(self._recipe(recipe), dataset.data), device)
        self.gan.networks["generator"] = _AsGiven()  # type: ignore[assignment]
        self.feed = Feed(samples, device, stream(seed, "classifier data"), dataset.flip, shift=dataset.shift)
        self.meter, self.step = Meter(), 0

    def _recipe(self, recipe: Recipe) -> Recipe:
        """Of another architecture where the run's D gives energies, which are no logits."""
        model = dict(recipe.resolved["model"])
        cls: type[Model] = registry.load("model", model["name"])
        if "d.energy" in cls.provides:
            model = {"name": "dcgan"}
            cls = registry.load("model", "dcgan")
        model |= {"g_norm": "auto", "d_norm": cls.auto_norms[2]}
        tricks = ("conditional_batch_norm", "projection") if self.conditional else ()
        adam = {"name": "adam", "lr": self.settings.classifier_lr, "betas": [0.9, 0.999]}
        return check(
            {
                "imports": recipe.resolved.get("imports") or [],
                "model": model,
                "dataset": {**recipe.resolved["dataset"], "weights": None},
                "loss": {"name": "non_saturating"},
                "trick": {name: {"name": name} for name in tricks},
                "optimizer": {"generator": adam, "discriminator": adam},
            }
        )

    def _draw(self, player: Player) -> tuple[Batch, Latents]:
        real = self.feed.next(self.batch_size)
        labels = real.labels if self.conditional else None
        gans = [one.gan for one in self.mixture.trained]
        asked = None if labels is None else labels.tolist()
        own = stream(self.seed, f"classifier fakes {self.step}")
        drawn = draw_mixture(gans, self.mixture.shares, self.batch_size, own, self.batch_size, labels=asked)
        fake = torch.cat(list(drawn)).to(real.images.device)
        return Batch(real.images, labels), Latents(to_float(to_uint8(fake)), labels)

    def _observe(self, record: Record, norm: Tensor) -> None:
        self.meter.add({**record.terms, **record.diagnostics}, self.step)

    def learn(self, console: Console) -> dict[str, float]:
        """Gives back what it came to in the last tenth: `loss`, `accuracy`. Raises GantrickError where it diverges."""
        play = Play(self.gan, self._draw, self._observe)
        console.start(self.steps)
        try:
            with apart(self.gan.device, stream(self.seed, "classifier training")):
                while self.step < self.steps:
                    if self.step == self.steps - max(1, self.steps // 10):
                        self.meter.read()
                    self.gan.set_learning_rates(1 - self.step / self.steps)
                    play.turn("discriminator")
                    self.step += 1
                    console.step(self.step, {})
        finally:
            console.stop()
            self.feed.close()
        found = self.meter.read()
        if (bad := self.meter.first_bad()) is not None:
            raise GantrickError(
                f"adagan: the classifier's {bad[0]} is not finite at its step {bad[1]}; lower classifier_lr"
            )
        return {"loss": found["loss/d"], "accuracy": found["accuracy/d"]}

    @torch.no_grad()
    def ratios(self, samples: Samples, rows: Tensor) -> Tensor:
        """h = (1 − c)/c = e^−score of these rows of the data: float64 (len(rows),)."""
        found = []
        with evaluating(self.gan.discriminator):
            for start in range(0, len(rows), SCORED):
                part = rows[start : start + SCORED]
                images = to_float(samples.images[part].to(self.gan.device))
                labels = None
                if self.conditional and samples.labels is not None:
                    labels = samples.labels[part].to(self.gan.device)
                scores = self.gan.discriminator(images, labels).scores @ self.gan.discriminator.score_weights
                found.append(scores.double().neg().exp().cpu())
        return torch.cat(found)


# --- the components --------------------------------------------------------------------------------------------------


class AdaGAN:
    """A folder of components; `run` trains those that are missing."""

    def __init__(self, folder: Path, recipe: Recipe, settings: Settings, console: Console | None = None):
        self.folder, self.recipe, self.settings = folder, recipe, settings
        self.console = console or Console()

    def run(self, command: str | None = None) -> int:
        """Returns the exit code: 0, or that of a component that was stopped. Raises GantrickError where one failed."""
        with RunFolder(self.folder).claimed():
            return self._run(command)

    def _run(self, command: str | None) -> int:
        asked = {**asdict(self.settings), "paper": str(PAPER), "command": command, "resolved": self.recipe.resolved}
        write_atomically(self.folder / FILE, json.dumps(asked, indent=2, default=str) + "\n")
        for k in range(self.settings.components):
            place = self.folder / f"component-{k}"
            if RunFolder(place).state() != "finished":
                self.console.event(f"component {k + 1} of {self.settings.components}")
                code = launch.run(
                    self._recipe(k),
                    place,
                    command=command,
                    sweep=self.folder.name,
                    resume=(place / "config.yaml").is_file(),
                )
                if code:
                    self.console.event(f"stopped; go on with: gantrick adagan resume={self.folder}")
                    return code
                self._record(k + 1)
                self._judge(k + 1)
        self._record(self.settings.components)
        self.console.event(f"mixture: {self.folder}\nnext: gantrick sample {self.folder} --n 64 --grid samples.png")
        return 0

    def members(self, count: int) -> list[Member]:
        """The first components at their last checkpoints: `best` is chosen against all data, and they learn a part."""
        shares = self.settings.shares(count)
        return [Member(self.folder / f"component-{k}", "last", share) for k, share in enumerate(shares)]

    def _record(self, count: int) -> None:
        mixture.write(self.folder, self.members(count), made_by="gantrick adagan", paper=str(PAPER))

    def _judge(self, count: int) -> None:
        """The mixture's figures so far, as its components take them, into evaluations/figures.jsonl."""
        if self.recipe.metrics and count > 1:
            [part] = mixture.parts_of([self.folder], None, ())
            for found in assess.Assessor(assess.Request((part,), protocol="training"), tell=self.console.warn):
                figures = ", ".join(f"{name} {value:.4g}" for name, value in found.taken.figures.items())
                self.console.event(f"mixture of {count}: {figures}")

    def _recipe(self, k: int) -> Recipe:
        """Of the k-th component, counted from 0: the run itself; then the run from another seed, on other weights."""
        if k == 0:
            return self.recipe
        resolved = self.recipe.resolved
        dataset = {**resolved["dataset"], "weights": str(self._weights(k))}
        return check({**resolved, "dataset": dataset, "seed": self._seed(k)})

    def _seed(self, k: int) -> int:
        return stream(self.recipe.settings.seed, f"adagan component {k}") >> 32  # a number that can be typed

    def _weights(self, k: int) -> Path:
        """The file of the weights that the k-th component is trained on, made where it is not there."""
        file = (self.folder / f"weights-{k}.npy").absolute()
        if file.is_file():
            return file
        seed, beta = self._seed(k), self.settings.rate(k + 1)
        samples, p = measure(self.recipe.dataset.create())
        before = mixture.open_members(self.members(k), str(resolve_device(self.recipe.settings.device)))
        classifier = Classifier(self.recipe, before, samples, seed, self.settings)
        self.console.event(f"component {k + 1}: learning to tell the data from the mixture of the {k} before it")
        learnt = classifier.learn(self.console)
        rows = torch.nonzero(p > 0)[:, 0]
        h = torch.zeros_like(p)
        h[rows] = classifier.ratios(samples, rows)
        labels = samples.labels.cpu() if classifier.conditional and samples.labels is not None else None
        w, lam = weights_by_class(p, h, beta, labels)
        told = {
            "component": k,
            "beta": beta,
            "lambda": lam,
            "classifier_steps": classifier.steps,
            "classifier_loss": learnt["loss"],
            "classifier_accuracy": learnt["accuracy"],
            "mean_ratio": float(p @ h),  # 1 where the classifier is right and the mixture stays within the data
            "left_out": float(p[w == 0].sum()),
            "effective_samples": float(1 / w.square().sum()),
        }
        self.console.event(
            f"component {k + 1}: λ* {lam:.3g}, {told['left_out']:.0%} of the data have weight 0, the rest count as "
            f"{told['effective_samples']:,.0f} even samples"
        )
        _save(file, w.numpy())
        RunFolder(self.folder).append("adagan.jsonl", told)
        return file


def _save(file: Path, array: np.ndarray) -> None:
    """Aside first, then in place: the file is whole or not there."""
    partial = file.with_name(f".{file.name}.partial")
    with open(partial, "wb") as handle:
        np.save(handle, array)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(partial, file)


# --- from words ------------------------------------------------------------------------------------------------------


def split(words: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """(own keys with their texts, the words of a run)."""
    own, rest = dict[str, str](), list[str]()
    for word in words:
        key, sign, text = word.partition("=")
        if sign and key in (*KEYS, "resume"):
            own[key] = text
        else:
            rest.append(word)
    return own, rest


def settings_of(own: Mapping[str, str], before: Mapping[str, Any] | None = None) -> Settings:
    """Raises ConfigError with every fault."""
    import yaml

    given = dict(before or {})
    for key, text in own.items():
        try:
            given[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            given[key] = text
    values, faults = registry.check_call(Settings, given, "adagan")
    if faults:
        raise ConfigError(*(fault.removeprefix("adagan.") for fault in faults))
    return Settings(**values)


def begin(folder: Path, recipe: Recipe, own: Mapping[str, str], command: str) -> int:
    """A new folder. Raises ConfigError before anything is written."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("adagan: torchrun starts one run, and these are several; leave it out and set devices=N")
    settings = settings_of(own)
    preflight(recipe)
    if (folder / FILE).exists():
        raise ConfigError(f"{folder}: already holds components; go on with: gantrick adagan resume={folder}")
    return AdaGAN(folder, recipe, settings).run(command)


def go_on(folder: Path, own: Mapping[str, str], rest: Sequence[str], command: str) -> int:
    """The components of a folder that are missing; components=N asks for more. Raises ConfigError."""
    refused = [word.partition("=")[0] for word in (*own, *rest) if word.partition("=")[0] != "components"]
    if refused:
        raise ConfigError(
            *(
                f"{key}: cannot change when a mixture is gone on with; set components=N, or begin anew"
                for key in refused
            )
        )
    try:
        asked = json.loads((folder / FILE).read_text(encoding="utf-8"))
        before, recipe = {key: asked[key] for key in KEYS}, check(asked["resolved"])
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"resume={folder}: holds no {FILE} that can be read; name a folder of gantrick adagan"
        ) from error
    settings, there = settings_of(own, before), len(list(_begun(folder)))
    if settings.components < there:
        raise ConfigError(f"components: {there} are begun in {folder} already; give no fewer")
    return AdaGAN(folder, recipe, settings).run(command)


def _begun(folder: Path) -> Iterator[Path]:
    for file in folder.glob("component-*/config.yaml"):
        yield file.parent
