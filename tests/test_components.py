"""One law for every component that there is; a new one is found by the registry and judged by the same tests."""

from __future__ import annotations

import inspect
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from playing import Game, equal, networks, recipe

from gantrick import registry
from gantrick.gan import bring_together, preflight
from gantrick.recipe import check
from gantrick.stages import STAGES, verbs
from gantrick.types import ConfigError

ROOT = Path(__file__).parents[1]
ACTING = [(group, name) for group in ("regularizer", "trick") for name in registry.names(group)]
LOSSES = registry.names("loss")
EVERY = [(group, name) for group in registry.GROUPS for name in registry.names(group)]
NO_SWITCH = {
    "acgan",
    "conditional_batch_norm",
    "contragan",
    "d2d_ce",
    "extragradient",
    "infogan",
    "label_concat",
    "minibatch_discrimination",
    "minibatch_stddev",
    "orthogonal_init",
    "projection",
    "rejection_sampling",
    "rotation",
    "self_modulation",
    "shared_embedding",
    "simultaneous",
    "skip_z",
    "spectral_norm",
    "unrolled",
    "virtual_batch_norm",
    "weight_norm",
}


def made(group: str, name: str, options: dict | None = None, **more):
    if group == "loss":
        return recipe(loss=name, **more)
    cls = registry.load(group, name)
    loss = "non_saturating" if "targets" in cls.needs else "hinge"
    return recipe(loss=loss, **{group: {name: options if options is not None else dict(cls.exercise)}}, **more)


def bare(group: str, name: str) -> dict:
    """Norms, so that what a component forbids changes nothing else."""
    return {"g_norm": "batch" if "g.batch_statistics" in registry.load(group, name).needs else "none", "d_norm": "none"}


@pytest.mark.parametrize(("group", "name"), EVERY, ids=lambda v: v)
def test_mirror_of_module_config_and_test(group: str, name: str) -> None:
    cls = registry.load(group, name)
    config = ROOT / "configs" / group / f"{name}.yaml"
    assert config.is_file()
    assert (ROOT / "tests" / group / f"test_{name}.py").is_file()
    assert cls.__doc__ and cls.__doc__.strip(), "a docstring opens with the formula"
    text = config.read_text()
    if group in registry.LISTS:
        assert text.startswith(f"# @package {group}.{name}\n")
    parsed = yaml.safe_load(text)
    entry = parsed["dataset"] if group == "dataset" else parsed
    parameters = inspect.signature(cls).parameters
    assert entry.pop("name") == name
    given = {k: v for k, v in entry.items() if v != "???" and not str(v).startswith("${")}
    values, faults = registry.check_call(cls, given, name)
    assert [f for f in faults if "has no default" not in f] == []
    defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    if group != "dataset":
        assert entry.keys() == parameters.keys(), "the config shows every setting"
        assert values == {k: v for k, v in defaults.items() if k in values}, "the config's values are the defaults"


@pytest.mark.parametrize(("group", "name"), [*(("loss", n) for n in LOSSES), *ACTING], ids=lambda v: v)
def test_declares_stages_and_paper(group: str, name: str) -> None:
    cls = registry.load(group, name)
    assert verbs(cls), "a component that speaks in no stage does nothing"
    assert set(verbs(cls)) <= set(STAGES)
    assert cls.paper is not None and cls.paper.bibtex().startswith("@")


# Constants of papers and their code, written down from those: what a user gets who asks for the name alone.
PAPERS: dict[tuple[str, str], dict[str, object]] = {
    ("loss", "lsgan"): {"a": 0, "b": 1, "c": 1},
    ("loss", "gan_qp"): {"scale": 10},
    ("loss", "o_gan"): {"square_weight": 0.25, "code_weight": 0.5},
    ("loss", "began"): {"diversity": 0.5, "k_rate": 1e-3},
    ("regularizer", "gp"): {"weight": 10, "target": 1, "sides": "two"},
    ("regularizer", "ct"): {"weight": 2, "margin": 0, "feature_weight": 0.1},
    ("regularizer", "dragan"): {"weight": 10, "target": 1, "spread": 0.5},
    ("regularizer", "wgan_div"): {"weight": 2, "power": 6},
    ("regularizer", "r1"): {"weight": 10},
    ("regularizer", "weight_clip"): {"bound": 0.01},
    ("regularizer", "orthogonal"): {"weight": 1e-4},
    ("regularizer", "self_orthogonality"): {"gamma": 10, "sum_weight": 100, "square_weight": 1},
    ("regularizer", "historical_averaging"): {"weight": 1},
    ("regularizer", "pulling_away"): {"weight": 0.1},
    ("regularizer", "temporal_ensembling"): {"weight": 1, "margin": 0, "decay": 0.6},
    ("trick", "critic_schedule"): {"boost": 100, "warm_up": 25, "every": 500},
    ("trick", "spectral_norm"): {"iterations": 1, "epsilon": 1e-12},
    ("trick", "label_smoothing"): {"real": 0.9, "fake": 0},
    ("trick", "instance_noise"): {"sigma": 0.1},
    ("trick", "minibatch_discrimination"): {"kernels": 100, "dims": 5},
    ("trick", "topk"): {"gamma": 0.99, "nu": 0.5},
    ("trick", "experience_replay"): {"share": 0.5, "how": "replace"},
    ("trick", "self_modulation"): {"hidden": 32},
    ("trick", "rotation"): {"d_weight": 1, "g_weight": 0.2},
    ("trick", "diffaugment"): {"translation": 0.125, "cutout": 0.5},
    ("trick", "latent_optimization"): {"alpha": 0.9, "beta": 5, "weight": 300, "keep": 0.8},
    ("trick", "rejection_sampling"): {"percentile": 80},
    ("trick", "standing_statistics"): {"batches": 16},
    ("trick", "unrolled"): {"steps": 5, "inner": "adam", "first_order": False},
    ("trick", "lookahead"): {"every": 5, "alpha": 0.5},
    ("trick", "optimistic_adam"): {"optimism": 1},
    ("trick", "infogan"): {"weight": 1},
    ("trick", "contragan"): {"weight": 1, "temperature": 1, "size": 512},
    ("trick", "d2d_ce"): {"weight": 0.5, "temperature": 0.5, "m_p": 0.98},
    ("trick", "shared_embedding"): {"size": 128},
}


@pytest.mark.parametrize(("group", "name"), PAPERS, ids=lambda v: v)
def test_defaults_are_the_papers(group: str, name: str) -> None:
    parameters = inspect.signature(registry.load(group, name)).parameters
    assert {key: parameters[key].default for key in PAPERS[group, name]} == PAPERS[group, name]


@pytest.mark.parametrize(("group", "name"), ACTING, ids=lambda v: v)
def test_acts(group: str, name: str) -> None:
    """Weights, statistics or draws differ from those of the run without it."""
    if set(verbs(registry.load(group, name))) == {"watch"}:
        return  # it speaks to the trainer alone, and is seen to act in its own test
    with_it = Game(made(group, name, model=bare(group, name))).rounds(3)
    loss = with_it.gan.assembly.recipe.loss.name
    without = Game(recipe(loss=loss, model=bare(group, name))).rounds(3)
    same = equal(networks(with_it.state()), networks(without.state()))
    assert not same or not torch.equal(with_it.samples(), without.samples())


@pytest.mark.parametrize(("group", "name"), ACTING, ids=lambda v: v)
def test_neutral_settings_equal_its_absence(group: str, name: str) -> None:
    neutral = registry.load(group, name).neutral
    if neutral is None:
        assert name in NO_SWITCH, "has settings that switch it off, or stands in this list"
        return
    with_it = Game(made(group, name, dict(neutral), model=bare(group, name))).rounds(3)
    loss = with_it.gan.assembly.recipe.loss.name
    without = Game(recipe(loss=loss, model=bare(group, name))).rounds(3)
    assert torch.equal(with_it.samples(), without.samples())
    for player in ("generator", "discriminator"):
        mine, theirs = with_it.gan.networks[player], without.gan.networks[player]
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a.flatten(), b.flatten())


@pytest.mark.parametrize(("group", "name"), [*(("loss", n) for n in LOSSES), *ACTING], ids=lambda v: v)
def test_state_round_trip_and_seed(group: str, name: str) -> None:
    """The same seed gives the same bits, and a state loaded into a fresh GAN is the state."""
    first = Game(made(group, name)).rounds(3)
    second = Game(made(group, name)).rounds(3)
    assert equal(first.state(), second.state())
    fresh = Game(made(group, name), seed=9)
    assert not equal(networks(fresh.state()), networks(first.state()))
    fresh.gan.load_state_dict(first.gan.state_dict())
    assert equal(fresh.state(), first.state())
    assert torch.equal(fresh.samples(), first.samples())


@pytest.mark.parametrize(("group", "name"), [*(("loss", n) for n in LOSSES), *ACTING], ids=lambda v: v)
def test_evaluating_writes_nothing(group: str, name: str) -> None:
    game = Game(made(group, name)).rounds(1)
    before = game.state()
    for player in ("discriminator", "generator"):
        record = game.play.evaluate(player, *game.play.draw(player))
        assert record.gradients and all(torch.isfinite(g).all() for g in record.gradients.values())
    assert equal(before, game.state())


@pytest.mark.parametrize(("group", "name"), [*(("loss", n) for n in LOSSES), *ACTING], ids=lambda v: v)
def test_looking_before_a_run_draws_nothing(group: str, name: str) -> None:
    """A resumed run looks again, and goes on with the random numbers of its checkpoint."""
    before = torch.get_rng_state()
    preflight(made(group, name))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("group", "name"), ACTING, ids=lambda v: v)
def test_points_as_well_as_images(group: str, name: str) -> None:
    ring = {"name": "ring", "samples": 500}
    mlp = {"name": "mlp", "g_width": 8, "d_width": 8, "z_size": 4}
    cls = registry.load(group, name)
    if "images" in cls.needs:
        with pytest.raises(ConfigError, match=r"needs that the data are images"):
            one = recipe(dataset=ring, **{group: {name: dict(cls.exercise)}}).resolved
            bring_together(check({**one, "model": mlp}))
        return
    loss = "non_saturating" if "targets" in cls.needs else "hinge"
    one = {group: {name: dict(cls.exercise)}}
    config = recipe(loss=loss, dataset=ring, **one).resolved

    game = Game(check({**config, "model": {**mlp, "g_norm": bare(group, name)["g_norm"]}})).rounds(2)
    assert torch.isfinite(game.samples()).all()
    assert game.samples().shape == (5, 2)


def weights_of(group: str, name: str) -> list[str]:
    """The settings that multiply a penalty of its."""
    cls = registry.load(group, name)
    settings = [s for s in ("weight", "d_weight", "g_weight") if s in inspect.signature(cls).parameters]
    return settings if {"d_penalty", "g_penalty"} & verbs(cls).keys() else []


@pytest.mark.parametrize(("group", "name"), [one for one in ACTING if weights_of(*one)], ids=lambda v: v)
def test_a_penalty_is_in_proportion_to_its_weight(group: str, name: str) -> None:
    """Once: each setting `weight`, or a player's own, by 2.5 multiplies its term by 2.5 and no other of the same state."""
    settings = weights_of(group, name)
    game = Game(made(group, name)).rounds(2)
    component = next(c for c in game.gan.stages.components.values() if c.label == f"{group}.{name}")
    scaled = 0
    for player in ("discriminator", "generator"):
        drawn, random = game.play.draw(player), torch.get_rng_state()
        found = []
        for factor in (1.0, 2.5):
            before = {setting: getattr(component, setting) for setting in settings}
            for setting, value in before.items():
                setattr(component, setting, factor * value)
            torch.set_rng_state(random)
            terms = game.play.evaluate(player, *drawn).terms
            found.append({key: float(value.detach()) for key, value in terms.items()})
            for setting, value in before.items():
                setattr(component, setting, value)
        own = {key for key in found[0] if key.startswith("penalty/") and key.endswith(name)}
        for key, value in found[0].items():
            assert found[1][key] == pytest.approx(value * (2.5 if key in own else 1.0), rel=1e-4, abs=1e-9), key
            scaled += key in own and value != 0
    assert scaled, "its term was nothing"


RULES = [name for group, name in ACTING if group == "trick" and "update_rule" in verbs(registry.load(group, name))]


@pytest.mark.parametrize("name", RULES)
def test_an_update_rule_prepares_each_move(name: str) -> None:
    """Before every move along a new gradient, once: that is when spectral norms iterate."""
    game = Game(made("trick", name, d_steps=2))
    told: list[tuple[str, str]] = []
    for act in ("prepare", "look", "move", "skip"):
        inner = getattr(game.play, act)
        setattr(game.play, act, lambda player, *rest, act=act, inner=inner, **more: (
            told.append((act, player)), inner(player, *rest, **more))[1])  # fmt: skip
    game.rounds(2)
    for player in ("discriminator", "generator"):
        acts = [act for act, who in told if who == player]
        # A look that nothing was prepared for goes along an old gradient.
        acts = [act for before, act in pairwise(["", *acts]) if act != "look" or before == "prepare"]
        assert acts and acts[::2] == ["prepare"] * (len(acts) // 2) and "prepare" not in acts[1::2]
