"""The laws of the stages, on components made for the purpose."""

from __future__ import annotations

import pytest
import torch
from playing import Game, recipe
from torch import nn

import gantrick.registry as registry
from gantrick.stages import STAGES, Arrangement, Component, Forbidden, check_class, refusals
from gantrick.types import ConfigError, Judged, Scored, Targets


class Loss(Component):
    provides = frozenset({"targets"})

    def d_loss(self, real: Judged, fake: Judged, targets: Targets) -> Scored:
        return Scored({"real": -real.scores, "fake": fake.scores})

    def g_loss(self, real: Judged | None, fake: Judged, targets: Targets) -> Scored:
        return Scored({"fake": -fake.scores})


class Double(Component):
    def augment(self, images):
        return images * 2


class Shift(Component):
    def augment(self, images):
        return images + 1


class OwnGLoss(Component):
    replaces = frozenset({"g_loss"})

    def g_loss(self, real, fake, targets):
        return Scored({"features": fake.output.features})


class Packs(Component):
    claims = frozenset({"d.input"})

    def pack(self, images):
        return images


class OtherPacks(Packs):
    pass


def labelled(**components: Component) -> dict[str, Component]:
    for label, component in components.items():
        component.label = label
    return components


def test_chain_follows_the_config_and_one_speaks_alone() -> None:
    images = torch.ones(2, 3)
    assert Arrangement(labelled(a=Double(), b=Shift())).chain("augment", images)[0, 0] == 3
    assert Arrangement(labelled(b=Shift(), a=Double())).chain("augment", images)[0, 0] == 4
    assert Arrangement(labelled(loss=Loss())).one("pack") is None


def test_replacing_component_speaks_in_the_loss_place() -> None:
    components = labelled(loss=Loss(), fm=OwnGLoss())
    assert refusals(components, {}) == []
    assert Arrangement(components)["g_loss"] == [components["fm"]]
    assert Arrangement(components)["d_loss"] == [components["loss"]]


def test_silent_where_it_is_set_so() -> None:
    """A class may speak in more stages than one of its instances: then nobody waits for it, and it conflicts with none."""
    components = labelled(loss=Loss(), fm=OwnGLoss())
    components["fm"].replaces, components["fm"].silent = frozenset(), frozenset({"g_loss"})
    assert refusals(components, {}) == []
    assert Arrangement(components)["g_loss"] == [components["loss"]]
    components["fm"].silent = frozenset()
    assert len(refusals(components, {})) == 1


def test_two_in_a_stage_for_one_and_in_a_slot_are_refused_by_name() -> None:
    faults = refusals(labelled(loss=Loss(), one=Packs(), two=OtherPacks()), {})
    assert len(faults) == 2
    assert all("one" in fault and "two" in fault and "leave one of them out" in fault for fault in faults)


class JoinsTwo(Component):
    joins = frozenset({"g.norm", "g.condition"})

    def augment(self, images):
        return images


class ClaimsTwo(Component):
    claims = frozenset({"g.norm", "g.condition"})

    def augment(self, images):
        return images


def test_slots_that_are_shared_and_slots_that_are_held_alone() -> None:
    def found(**components: Component) -> list[str]:
        return refusals(labelled(loss=Loss(), **components), {})

    assert found(a=JoinsTwo(), b=JoinsTwo()) == []
    both = "both hold g.condition and g.norm, which have room for one each; leave one of them out"
    assert found(a=ClaimsTwo(), b=ClaimsTwo()) == [f"a and b: {both}"]
    assert found(a=JoinsTwo(), b=ClaimsTwo(), c=JoinsTwo()) == [f"b and a: {both}", f"b and c: {both}"]
    taken = {"model.autoencoder": frozenset({"d.input"})}
    assert refusals(labelled(loss=Loss()), {}, taken=taken) == []
    one = "both hold d.input, which has room for one; leave one of them out"
    assert refusals(labelled(loss=Loss(), p=Packs()), {}, taken=taken) == [f"model.autoencoder and p: {one}"]


def test_needs_and_forbids_say_who_why_and_what_to_do() -> None:
    class Needs(Component):
        needs = frozenset({"labels"})

    class Forbids(Component):
        forbids = {"d.random": Forbidden("it cannot be", "do without")}

    class Brings(Component):
        provides = frozenset({"d.random"})

    faults = refusals(labelled(loss=Loss(), n=Needs(), f=Forbids(), b=Brings()), {}, lambda tag: ["dataset=mnist"])
    assert faults == [
        "n: needs that the data have labels, and nothing here provides it; choose dataset=mnist, or leave n out",
        "f with b: it cannot be; do without",
    ]
    assert refusals(labelled(loss=Loss(), n=Needs()), {"labels": "dataset.mnist"}) == []


def test_a_run_needs_a_loss() -> None:
    assert [f.split(":")[0] for f in refusals({}, {})] == ["d_loss", "g_loss"]


def test_a_method_that_is_no_stage_is_refused_when_registered() -> None:
    class Wrong(Component):
        def augmnt(self, images):
            return images

        def augment(self, image):
            return image

        needs = frozenset({"nothing_known"})

    with pytest.raises(ConfigError) as refused:
        check_class(Wrong, "trick.wrong")
    text = str(refused.value)
    assert "did you mean augment?" in text and "must take (images), not (image)" in text and "nothing_known" in text


def test_lazy_penalties_are_scaled_by_their_interval() -> None:
    class Penalty(Component):
        def d_penalty(self, inputs):
            return torch.ones(())

    lazy = Penalty()
    lazy.weight, lazy.interval = 3.0, 4
    arrangement = Arrangement(labelled(p=lazy))
    assert [f for step in range(8) for _, f, _ in arrangement.penalties("discriminator", step)] == [
        12.0,
        0,
        0,
        0,
        12.0,
        0,
        0,
        0,
    ]


def test_every_stage_is_called_by_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that speaks in every stage is heard in each that training, drawing and evaluating pass through."""
    heard: set[str] = set()

    def method(stage):
        def call(self, *values):
            heard.add(stage.name)
            give = {
                "streams": {},
                "watch": None,
                "param_groups": list(values[1].parameters())
                if len(values) > 1 and isinstance(values[1], nn.Module)
                else None,
                "mix": values,
                "d_penalty": None,
                "accept": values[0] if values else None,
            }
            if stage.name in ("d_penalty", "g_penalty"):
                return values[0].fake.scores.sum() * 0
            if stage.name == "update_rule":
                values[0].turn("discriminator")
                values[0].turn("generator")
            return give[stage.name] if stage.name in give else (values[0] if values else None)

        source = f"lambda self, {', '.join(stage.takes)}: call(self, {', '.join(stage.takes)})" if stage.takes else ""
        made = eval(source or "lambda self: call(self)", {"call": call})
        made.__name__ = stage.name
        return made

    methods = {name: method(stage) for name, stage in STAGES.items() if name not in ("d_loss", "g_loss")}
    everything = type("Everything", (Component,), methods)
    registry.register("trick.everything")(everything)
    monkeypatch.setitem(registry._registered, "trick.everything", everything)
    game = Game(recipe(trick={"everything": {}})).rounds(1)
    game.samples()
    elsewhere = {"watch", "encode"}  # seen in tests/test_trainer.py and tests/test_sampling.py
    assert heard == set(methods) - elsewhere
    registry._registered.pop("trick.everything", None)
