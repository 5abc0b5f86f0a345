"""The verbs: the stages of a run, the law of each, and how components are arranged into them or refused.

A component's public methods are its declaration: each is the name of a stage and takes that stage's arguments, which
is checked when the class is registered. Every stage has one of four laws:

ONE    exactly one component speaks; two are a refusal that names both.
CHAIN  value -> value, in the order written in the config.
SUM    terms are added; the order is irrelevant.
ALL    each touches only what it claims.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from gantrick.types import Code, ConfigError, Paper, Player


class Law(Enum):
    ONE = "one"
    CHAIN = "chain"
    SUM = "sum"
    ALL = "all"


@dataclass(frozen=True)
class Stage:
    """A moment of a run: when it comes, its law, the arguments it hands over and what comes back."""

    name: str
    when: str
    law: Law
    takes: tuple[str, ...]
    gives: str
    required: bool = False  # ONE: some component must speak


def _table() -> dict[str, Stage]:
    one, chain, total, each = Law.ONE, Law.CHAIN, Law.SUM, Law.ALL
    rows = [
        Stage("build", "build", chain, ("spec",), "NetworkSpec"),
        Stage("streams", "build", each, (), "{name: Stream} of extra batches that the run must feed"),
        Stage("param_groups", "build", one, ("player", "network"), "parameter groups, `lr_scale` times its rate"),
        Stage("wrap_optimizer", "build", chain, ("optimizer", "player"), "optimizer"),
        Stage(
            "initialise",
            "build",
            each,
            ("generator", "discriminator", "reals"),
            "nothing; weights by data, before the first step; reals: how many at least -> a batch as D sees it",
        ),
        Stage("begin", "build", each, ("generator", "discriminator"), "nothing; allocates its state"),
        Stage("schedule", "clock", each, ("step",), "nothing; host, once per step"),
        Stage("prepare", "clock", each, ("player", "network"), "nothing; device, once before each optimizer step"),
        Stage("sample_latents", "sample", chain, ("latents",), "latents"),
        Stage("refine_latents", "sample", chain, ("latents", "generator", "discriminator"), "latents"),
        Stage("mix", "feed", chain, ("real", "fake"), "(real, fake), D's turn only"),
        Stage("augment", "feed", chain, ("images",), "images, differentiable, both turns"),
        Stage("disturb", "feed", chain, ("images",), "images with noise, after `augment`, both turns"),
        Stage("pack", "feed", one, ("images",), "packs"),
        Stage("mislabel", "loss", chain, ("targets",), "targets of 0 and 1, some of them wrong; before `targets`"),
        Stage("targets", "loss", chain, ("targets",), "targets"),
        Stage("d_loss", "loss", one, ("real", "fake", "targets"), "values per sample and score", required=True),
        Stage("g_loss", "loss", one, ("real", "fake", "targets"), "values per sample and score", required=True),
        Stage("weigh", "loss", chain, ("scored", "player", "real", "fake"), "scored, with sample weights"),
        Stage("d_penalty", "penalise", total, ("inputs",), "scalar"),
        Stage("g_penalty", "penalise", total, ("inputs",), "scalar"),
        Stage("update_rule", "update", one, ("play",), "nothing; moves the players"),
        Stage("gradients", "update", chain, ("gradients", "player"), "named gradients"),
        Stage("project", "update", each, ("player", "network"), "nothing; weights, after every move"),
        Stage("adapt", "after", each, ("records",), "nothing; own buffers, once per move, of the batches it averaged"),
        Stage("sync", "after", one, ("generator", "discriminator"), "nothing; writes trained weights"),
        Stage("average", "after", each, ("generator", "discriminator"), "nothing; reads trained weights"),
        Stage("watch", "watch", each, ("row",), "None to go on, or a Verdict"),
        Stage("settle", "draw", chain, ("generator", "latents"), "the generator to draw from: a copy, settled for it"),
        Stage("calibrate", "draw", each, ("discriminator", "fakes", "reals"), "nothing; before drawing, for `accept`"),
        Stage("truncate", "draw", chain, ("latents",), "latents"),
        Stage("encode", "draw", one, ("batch", "discriminator"), "latents, of which G makes the batch again"),
        Stage("accept", "draw", chain, ("mask", "images", "output"), "mask (B,); refused places are drawn again"),
    ]
    return {row.name: row for row in rows}


STAGES: Mapping[str, Stage] = _table()

# What components say about a run. A tag is a fact of the composed run (`provides`), something a component cannot do
# without (`needs`) or cannot live with (`forbids`), or would rather not see (`avoids`: moves only what `auto` takes).
TAGS: Mapping[str, str] = {
    "images": "the data are images",
    "points": "the data are points of a plane",
    "labels": "the data have labels",
    "g.labels": "G is asked for a label",
    "d.labels": "D looks at labels",
    "d.finds_labels": "D is to find the label of an image",
    "d.classes": "D tells the classes of samples by logits",
    "z.codes": "the last entries of z are codes, not noise",
    "d.batch_statistics": "D normalises with the statistics of a batch",
    "g.batch_statistics": "G normalises with the statistics of a batch",
    "g.reference_statistics": "G normalises with the statistics of a fixed batch",
    "d.batch_coupled": "D's score of one sample depends on the others in the batch",
    "d.compares": "D tells each sample's distance from the others in the batch",
    "d.packs": "D judges packs of several samples",
    "d.more_fakes": "D sees more fakes than reals in a batch",
    "d.random": "D draws at random in each forward, as dropout does",
    "d.energy": "D's score is minus the error of an autoencoder",
    "d.spectral_norm": "D's weights are divided by their spectral norm",
    "d.weight_norm": "the rows of D's weights have a length of their own",
    "g.spectral_norm": "G's weights are divided by their spectral norm",
    "d.lipschitz": "something bounds D's gradient",
    "d.flat": "something pulls D's gradient to zero at the samples",
    "targets": "the loss compares scores with target labels",
    "lipschitz_needed": "the loss means something only with a bound on D's gradient",
    "comparable_scores": "the score of one sample means something without another's",
    "probability_scores": "the score is the logit of a probability of being real",
    "paired_loss": "the loss compares each real with one fake",
    "real_in_g": "G's turn needs scored reals",
    "second_order": "gradients are differentiated again",
    "peers": "the figures of the sweep's other jobs are read",
    "unrolled_steps": "G's gradient runs through steps of D",
}


@dataclass(frozen=True)
class Forbidden:
    """Why a tag cannot be lived with, and what to do."""

    reason: str
    remedy: str


class Component(nn.Module):
    """Something that acts in a run: a loss, a regularizer or a trick. Its state is its buffers.

    label: "trick.ema", set by the registry. claims: slots it must hold alone. joins: slots it holds together with
    others that join them. replaces: ONE stages where it speaks in the loss's place. silent: stages of its class in
    which it does not speak as it is set. needs, provides, forbids, avoids, wants: tags (`TAGS`). neutral: settings
    under which it equals its absence; exercise: settings under which a short test sees it act.
    """

    paper: ClassVar[Paper | None] = None
    neutral: ClassVar[Mapping[str, Any] | None] = None
    exercise: ClassVar[Mapping[str, Any]] = {}
    label: str = "component"
    claims: frozenset[str] = frozenset()
    joins: frozenset[str] = frozenset()
    replaces: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()
    forbids: Mapping[str, Forbidden] = {}
    avoids: frozenset[str] = frozenset()
    wants: Mapping[str, Forbidden] = {}  # tags without which it does nothing: a warning
    weight: float = 1.0  # of its penalty term
    ignores: frozenset[str] = frozenset()  # settings of a run that have no say where it acts
    batch_multiple: int = 1  # every batch of a player, and each process's share of it, is a multiple of it
    adds: float = 0.0  # so many times its size, rounded down, a batch of D's fakes grows by
    patterns: Mapping[str, tuple[str, ...]] = {}  # by setting, names of weights, each of which must fit one
    z_entries: int = 0  # entries of z that it adds for itself, at the end; every `build` sees all of z
    z_codes: tuple[Code, ...] = ()  # what these entries are, in order, where they are codes
    interval: int = 1  # a lazy penalty acts every so many steps, times the interval

    def __init__(self) -> None:
        super().__init__()


def verbs(cls: type[Component]) -> dict[str, Callable[..., Any]]:
    """The public methods that a component declares, by name: what the class and its own bases define, not torch's."""
    found: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Component) and base is not Component:
            found |= {k: v for k, v in vars(base).items() if inspect.isfunction(v) and not k.startswith("_")}
    return found


def provided(component: Component) -> frozenset[str]:
    """The tags that a component brings; a penalty of weight 0 brings none."""
    penalty_alone = verbs(type(component)).keys() <= {"d_penalty", "g_penalty"}
    return frozenset() if penalty_alone and component.weight == 0 else component.provides


def check_class(cls: type[Component], label: str) -> None:
    """Raises ConfigError where a public method is no stage, its arguments are not the stage's, or a tag is unknown."""
    faults = []
    for name, method in verbs(cls).items():
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, 1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"a helper starts with an underscore; stages: {', '.join(STAGES)}"
            )
            faults.append(f"{label}: method {name} is not a stage; {hint}")
            continue
        takes = tuple(inspect.signature(method).parameters)[1:]
        if takes != STAGES[name].takes:
            faults.append(f"{label}: {name} must take ({', '.join(STAGES[name].takes)}), not ({', '.join(takes)})")
    for field in ("needs", "provides", "forbids", "avoids"):
        for tag in getattr(cls, field):
            if tag not in TAGS and not tag.startswith("x."):
                faults.append(f"{label}: {field} names an unknown tag {tag!r}; known ones are in gantrick.stages.TAGS")
    if faults:
        raise ConfigError(*faults)


class Arrangement:
    """Who acts in which stage. Holds the bound methods, so that a step looks nothing up."""

    def __init__(self, components: Mapping[str, Component]):
        self.components = dict(components)
        self.actors: dict[str, list[Component]] = {name: [] for name in STAGES}
        for component in self.components.values():
            for name in verbs(type(component)).keys() - component.silent:
                self.actors[name].append(component)
        for name, stage in STAGES.items():
            replacing = [c for c in self.actors[name] if name in c.replaces]
            if stage.law is Law.ONE and replacing:
                self.actors[name] = replacing
        self._calls = {name: [getattr(c, name) for c in actors] for name, actors in self.actors.items()}

    def __getitem__(self, stage: str) -> list[Component]:
        return self.actors[stage]

    def chain(self, stage: str, value: Any, *context: Any) -> Any:
        """value -> value through every component of the stage, in config order."""
        for call in self._calls[stage]:
            value = call(value, *context)
        return value

    def all(self, stage: str, *arguments: Any) -> list[Any]:
        return [call(*arguments) for call in self._calls[stage]]

    def one(self, stage: str) -> Callable[..., Any] | None:
        """The component that speaks in a ONE stage, or None."""
        calls = self._calls[stage]
        return calls[0] if calls else None

    def penalties(self, player: Player, step: int) -> Iterable[tuple[str, float, Callable[..., Tensor]]]:
        """(name, factor, call) of each penalty; a lazy one has weight × interval when it is due and 0 in between.

        The name is that of its term: "penalty/gp"; where both players have one, "penalty/d_acgan", "penalty/g_acgan".
        """
        stage, other = (f"{one}_penalty" for one in (player[0], "dg".replace(player[0], "")))
        taken = set[str]()
        for component, call in zip(self.actors[stage], self._calls[stage], strict=True):
            if component.weight != 0:
                who = f"{player[0]}_" if component in self.actors[other] else ""
                group, _, own = component.label.partition(".")
                name = f"penalty/{who}{own}" if own not in taken else f"penalty/{who}{group}.{own}"
                taken.add(own)
                due = step % component.interval == 0
                yield name, component.weight * component.interval * due, call

    def needs(self, tag: str) -> bool:
        return any(tag in component.needs for component in self.components.values())


def lacking(
    label: str, needs: Iterable[str], present: Collection[str], remedies: Callable[[str], list[str]]
) -> list[str]:
    """A sentence for each tag that is needed and not there, with what could be chosen to have it."""
    faults = []
    for tag in sorted(set(needs) - RUN_TAGS - set(present)):
        found = remedies(tag)
        remedy = f"choose {' or '.join(found)}, or leave {label} out" if found else f"leave {label} out"
        faults.append(f"{label}: needs that {TAGS.get(tag, tag)}, and nothing here provides it; {remedy}")
    return faults


RUN_TAGS = frozenset({"real_in_g", "second_order", "peers"})  # needs that the run itself answers


def refusals(
    components: Mapping[str, Component],
    facts: Mapping[str, str],
    remedies: Callable[[str], list[str]] = lambda tag: [],
    taken: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> list[str]:
    """Every reason why these components cannot act together: one sentence each, with the remedy.

    facts: tags that model and data provide, with the setting each comes from ("model.d_norm=batch"). remedies: what
    could be chosen to provide a tag ("loss=hinge"). taken: slots that others hold alone, by who they are.
    """
    faults: list[str] = []
    alone: dict[str, list[str]] = {}
    for label, slots in (*taken.items(), *((c.label, c.claims) for c in components.values())):
        for slot in slots:
            alone.setdefault(slot, []).append(label)
    crowded: dict[tuple[str, ...], list[str]] = {}
    for slot, labels in sorted(alone.items()):
        together = [c.label for c in components.values() if slot in c.joins]
        for group in [(*labels, *together)] if len(labels) > 1 else [(*labels, other) for other in together]:
            crowded.setdefault(group, []).append(slot)
    for group, held in crowded.items():
        room = "which has room for one" if len(held) == 1 else "which have room for one each"
        faults.append(f"{' and '.join(group)}: both hold {' and '.join(held)}, {room}; leave one of them out")

    arrangement = Arrangement(components)
    for name, stage in STAGES.items():
        actors = [c.label for c in arrangement[name]]
        if stage.law is Law.ONE and len(actors) > 1:
            faults.append(
                f"{' and '.join(actors)}: both decide {name}, where one component speaks; leave one of them out"
            )
        if stage.required and not actors:
            faults.append(f"{name}: no component speaks in this stage, which a run cannot do without; choose a loss")

    present: dict[str, list[str]] = {tag: [source] for tag, source in facts.items()}
    for component in components.values():
        for tag in provided(component):
            present.setdefault(tag, []).append(component.label)
    for component in components.values():
        label = component.label
        faults += lacking(label, component.needs, present, remedies)
        for tag, why in component.forbids.items():
            others = [source for source in present.get(tag, []) if source != label]
            if others:
                faults.append(f"{label} with {' and '.join(others)}: {why.reason}; {why.remedy}")
    return faults
