"""All losses × all pairs of regularizers and tricks: trains, or is refused exactly where the hand-written table says so.

The whole product is slow; the default suite has every loss with every one of them, and a sample of the pairs.
"""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from conflict_table import REFUSED, WARNED, Row
from playing import Game, equal, networks, recipe

from gantrick import registry
from gantrick.gan import bring_together, warnings
from gantrick.types import ConfigError

# Every regularizer and trick at its exercise settings, and some at several.
VARIED = (
    "spectral_norm", "ct", "feature_matching", "rejection_sampling", "label_concat", "experience_replay",
    "extragradient", "wgan_div",
)  # fmt: skip
ENTRIES: list[tuple[str, str, dict]] = [
    (group, name, dict(registry.load(group, name).exercise))
    for group in ("regularizer", "trick")
    for name in registry.names(group)
    if name not in VARIED
]
ENTRIES += [("trick", "spectral_norm", {"network": n}) for n in ("discriminator", "generator", "both")]
ENTRIES += [("regularizer", "ct", {"perturb": p}) for p in ("dropout", "noise")]
ENTRIES += [("regularizer", "feature_matching", {"alone": alone}) for alone in (False, True)]
ENTRIES += [("trick", "label_concat", {"d_place": place}) for place in ("input", "none")]
ENTRIES += [("trick", "experience_replay", {"how": how}) for how in ("replace", "add")]
ENTRIES += [("trick", "extragradient", {"from_past": past}) for past in (False, True)]
ENTRIES += [("regularizer", "wgan_div", {"power": 2.0, "at": at}) for at in ("lines", "ends")]
ENTRIES += [("trick", "rejection_sampling", {"head": h, "samples": 50}) for h in ("features", "none")]
LOSSES = registry.names("loss")
PAIRS = [p for p in itertools.combinations(ENTRIES, 2) if p[0][:2] != p[1][:2]]
SAMPLE = random.Random(20).sample([(loss, pair) for loss in LOSSES for pair in PAIRS], 200)
NORMS = ("auto", "batch", "layer", "instance", "none")


def chosen(loss: str, entries: tuple, d_norm: str, **more):
    groups: dict = {"regularizer": {}, "trick": {}}
    for group, name, options in entries:
        groups[group][name] = options
    model = {"d_norm": d_norm}
    if any("g.batch_statistics" in registry.load(group, name).needs for group, name, _ in entries):
        model["g_norm"] = "batch"
    return recipe(loss=loss, model=model, **groups, **more)


def holds(row: Row, loss: str, entries: tuple, d_norm: str) -> bool:
    present = {f"loss.{loss}", f"model.d_norm={d_norm}", *(f"{g}.{n}" for g, n, _ in entries)}
    settings = {f"{g}.{n}.{k}": v for g, n, options in entries for k, v in options.items()}
    return {row[0], row[1]} <= present and all(settings.get(k) == v for k, v in row[2].items())


def name(entry: tuple) -> str:
    return ".".join([entry[1], *map(str, entry[2].values())])


def trains_or_is_refused_as_the_table_says(loss: str, pair: tuple) -> None:
    made = chosen(loss, pair, "auto")
    expected = [row for row in REFUSED if holds(row, loss, pair, "auto")]
    if expected:
        with pytest.raises(ConfigError) as refused:
            bring_together(made)
        partners = {f"trick.{part.key}" for part in made.tricks} - {f"{group}.{key}" for group, key, _ in pair}
        own = [fault for fault in refused.value.faults if not any(partner in fault for partner in partners)]
        assert len(own) <= len(expected), "one sentence may name several"
        for row in expected:
            assert any(row[1] in fault for fault in refused.value.faults)
        for fault in own:
            assert any(row[1] in fault for row in expected)
        return
    game = Game(made, batch_size=4).rounds(2)
    assert game.meter.first_bad() is None and game.meter.read()
    assert all(torch.isfinite(v).all() for v in game.state().values())
    told = [w for w in warnings(game.gan.assembly) if "redundant" in w]
    assert bool(told) == any(holds(row, loss, pair, "auto") for row in WARNED)
    for group, key, _ in pair if told else ():
        assert f"{group}.{key}" in told[0]


def the_order_does_not_matter(loss: str, pair: tuple) -> None:
    """Both orders give the same plan, or, where a chain stage has both, the same weights after training."""
    if any(holds(row, loss, pair, "auto") for row in REFUSED):
        return  # in any order, as the check above shows
    one, other = chosen(loss, pair, "auto"), chosen(loss, pair[::-1], "auto")
    plans = [
        {s: [c.label for c in actors] for s, actors in bring_together(m).stages.actors.items()} for m in (one, other)
    ]
    chains = (
        "build",
        "augment",
        "disturb",
        "mislabel",
        "targets",
        "mix",
        "weigh",
        "gradients",
        "sample_latents",
        "refine_latents",
    )
    if all(plans[0][stage] == plans[1][stage] for stage in chains):
        return
    first, second = Game(one, batch_size=4).rounds(2), Game(other, batch_size=4).rounds(2)
    assert equal(networks(first.state()), networks(second.state()))


def ids(value: object) -> str:
    return value if isinstance(value, str) else "+".join(map(name, value))  # type: ignore[call-overload]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_one_component(loss: str, entry: tuple) -> None:
    trains_or_is_refused_as_the_table_says(loss, (entry,))


@pytest.mark.parametrize(("loss", "pair"), SAMPLE, ids=ids)
def test_some_pairs(loss: str, pair: tuple) -> None:
    trains_or_is_refused_as_the_table_says(loss, pair)
    the_order_does_not_matter(loss, pair)


@pytest.mark.product
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_every_pair(loss: str, entry: tuple) -> None:
    for pair in PAIRS:
        if pair[0] is entry:
            trains_or_is_refused_as_the_table_says(loss, pair)
            the_order_does_not_matter(loss, pair)


@pytest.mark.parametrize("d_norm", NORMS)
@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_norm_of_d(entry: tuple, d_norm: str) -> None:
    loss = "non_saturating" if registry.create(*entry).needs & {"targets", "probability_scores"} else "hinge"
    made = chosen(loss, (entry,), d_norm)
    if any(holds(row, loss, (entry,), d_norm) for row in REFUSED):
        with pytest.raises(ConfigError, match=r"d_norm=batch.*set model\.d_norm to"):
            bring_together(made)
        return
    assembly = bring_together(made)
    if d_norm == "auto":  # never refused: it gives way to whatever forbids batch statistics
        forbidden = any(holds(row, loss, (entry,), "batch") for row in REFUSED)
        assert not (forbidden and "d.batch_statistics" in assembly.tags)
    Game(made, batch_size=4).rounds(1)


DRAWN = {"rejection_sampling": {"samples": 50}, "standing_statistics": {"batches": 2}, "ema": {"decay": 0.5}}
MOVED = {"diffaugment": {}, "latent_optimization": {"beta": 0.1}}
MANY = {
    "wgan_ct": ("wgan", {"gp": {}, "ct": {}}, {"cascading": {}, **MOVED, **DRAWN}),
    "labels": ("hinge", {}, {"conditional_batch_norm": {}, "projection": {}, "cascading": {}, **MOVED, **DRAWN}),
    "packs": ("non_saturating", {"r1": {}}, {"pacgan": {}, "diffaugment": {}, "standing_statistics": {"batches": 2}}),
}


@pytest.mark.parametrize("name", MANY)
def test_many_at_once(name: str) -> None:
    """They train, draw finite samples, and in the opposite order the same weights and the same samples."""
    loss, regularizers, tricks = MANY[name]
    found = []
    for ordered in (tricks, dict(reversed(tricks.items()))):
        game = Game(recipe(loss, regularizers, ordered, {"g_norm": "batch", "d_norm": "none"})).rounds(2)
        found.append((networks(game.state()), game.samples()))
    assert torch.isfinite(found[0][1]).all() and equal(found[0][0], found[1][0]) and torch.equal(*[s for _, s in found])


def test_all_refusals_come_at_once() -> None:
    entries = (("regularizer", "gp", {}), ("regularizer", "weight_clip", {}), ("trick", "label_smoothing", {}))
    entries += (("trick", "spectral_norm", {}),)
    with pytest.raises(ConfigError) as refused:
        bring_together(chosen("wgan", entries, "batch"))
    text = "\n".join(refused.value.faults)
    assert len(refused.value.faults) == 3
    for part in (
        "regularizer.gp",
        "d_norm=batch",
        "regularizer.weight_clip",
        "spectral_norm",
        "label_smoothing",
        "loss=",
    ):
        assert part in text
