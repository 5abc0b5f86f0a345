"""Plans by hand-worked lists of arms, reports from folders written by hand against numpy and scipy, and real studies."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gantrick import cli, config
from gantrick.analysis import ablate
from gantrick.analysis.ablate import Study, request, to_do
from gantrick.analysis.ablation_report import as_json, as_markdown, judge, levels, planned, summary
from gantrick.types import ConfigError, GantrickError

FID = "fid/digits_cnn"
QUICK = ("dataset=digits", "debug=fast", "device=cpu", "wandb.mode=disabled")


def plan(*words: str) -> Study:
    with config.composer() as composing:
        return ablate.plan(composing, request([*QUICK, *words]))


def effects(study: Study) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {contrast.name: (contrast.plus, contrast.minus) for contrast in study.contrasts}


def parts(study: Study) -> dict[str, tuple[str, str, str]]:
    """What each arm is made of, composed anew."""
    found = {}
    for name, arm in study.arms.items():
        recipe = config.compose(arm.overrides)
        lists = ["+".join(part.key for part in group) for group in (recipe.regularizers, recipe.tricks)]
        found[name] = (recipe.loss.recipe or recipe.loss.name, *lists)
    return found


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_words_are_parted_from_gantrick_trains() -> None:
    words = ["loss=hinge", "seeds=3", "of=[ema,loss=wgan_gp]", "of=trick=[a,b],r1", "hydra/launcher=joblib"]
    asked = request([*words, "pairs=true", "mode=add", "alpha=0.1", "metric=[fid]"], ["--config-dir", "x"])
    assert asked.overrides == ("loss=hinge", "metric=[fid]") and asked.launcher == ("hydra/launcher=joblib",)
    assert asked.of == ("ema", "loss=wgan_gp", "trick=[a,b]", "r1") and asked.flags == ("--config-dir", "x")
    assert (asked.seeds, asked.mode, asked.pairs, asked.alpha) == (3, "add", True, 0.1)


def test_every_fault_of_the_words_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        request(["seeds=1", "mode=remove", "alpha=2", "pairs=yes", "budget=money", "of=[]", "hydra.sweep.dir=x"])
    said = "\n".join(told.value.faults)
    for word in ("seeds: must be", "mode: must be add, leave or both", "alpha: must be", "pairs: must be", "of: names"):
        assert word in said
    assert len(told.value.faults) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["of=emma"], "of: there is no trick, regularizer or loss emma; did you mean ema?"),
        ([], "of: the recipe has no regularizer, trick or loss of its own; name some, as in of=ema,topk"),
        (["of=ema", "metric=[]"], "metric: an ablation compares figures"),
        (["of=ema", "budget=seconds"], "budget=seconds: needs to know how many; set max_seconds=600"),
        (["of=ema", "max_seconds=5"], "max_seconds: ends runs by the clock"),
        (["of=ema", "budget=seconds", "max_seconds=5", "optimizer.schedule=linear"], "set optimizer.schedule=constant"),
        (["of=seed=3"], "seed=3: seed is the same in all arms; it cannot be what is compared"),
        (["of=eval_samples=10"], "eval_samples=10: changes eval_samples, by which runs are judged; it cannot"),
        (["of=dataset=mnist"], "dataset=mnist: changes metric, extractor, dataset.name, by which runs are judged"),
        (["of=dataset.limit=10"], "dataset.limit=10: changes dataset.limit, by which"),
        (["loss=wgan_clip", "trick=[label_smoothing]", "mode=leave"], "the full recipe: "),
    ],
)
def test_a_study_without_sense_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        plan(*words)
    assert message in str(told.value)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_figures_of_a_metric_say_which_end_is_better() -> None:
    study = plan("metric=[fid,prdc]", "of=ema", "mode=add")
    assert study.figure == FID and study.better == {
        FID: "lower",
        "precision/digits_cnn": "higher",
        "recall/digits_cnn": "higher",
        "coverage/digits_cnn": "higher",
    }
    with config.composer() as composing:
        ring = ablate.plan(composing, request(["dataset=ring", *QUICK[1:], "of=ema", "mode=add"])).better
    assert ring == {
        f"modes/{k}": "lower" if k == "kl" else "higher" for k in ("score", "covered", "high_quality", "kl")
    }


def test_arms_and_effects_of_a_whole_recipe() -> None:
    study = plan("loss=hinge", "regularizer=[r1]", "trick=[ema]", "trick.ema.decay=0.5", "seed=7", "seeds=3")
    assert parts(study) == {
        "base": ("non_saturating", "", ""),
        "full": ("hinge", "r1", "ema"),
        "base+r1": ("non_saturating", "r1", ""),
        "base+ema": ("non_saturating", "", "ema"),
        "base+hinge": ("hinge", "", ""),
        "full-r1": ("hinge", "", "ema"),
        "full-ema": ("hinge", "r1", ""),
        "full-hinge": ("non_saturating", "r1", "ema"),
    }
    assert effects(study) == {
        "regularizer.r1 added to the bare base": (("base+r1",), ("base",)),
        "trick.ema added to the bare base": (("base+ema",), ("base",)),
        "loss.hinge added to the bare base": (("base+hinge",), ("base",)),
        "regularizer.r1 in the full recipe": (("full",), ("full-r1",)),
        "trick.ema in the full recipe": (("full",), ("full-ema",)),
        "loss.hinge in the full recipe": (("full",), ("full-hinge",)),
    }
    assert study.seeds == (7, 8, 9) and study.runs == 24 and study.figure == FID and study.better == {FID: "lower"}
    assert config.compose(study.arms["base+ema"].overrides).tricks[0].options["decay"] == 0.5
    assert len({study.place(arm, seed) for arm in study.arms for seed in study.seeds}) == 24


def test_what_the_recipe_lacks_is_put_in_and_equal_arms_are_one() -> None:
    study = plan("trick=[ema]", "of=topk")
    assert parts(study) == {"base": ("non_saturating", "", "ema"), "full": ("non_saturating", "", "ema+topk")}
    assert effects(study) == {"trick.topk added to the bare base": (("full",), ("base",))}


def test_options_of_parts_that_the_study_brings_in_go_with_them() -> None:
    words = ["loss=hinge", "trick=[topk]", "trick.ema.decay=0.5", "trick.topk.gamma=0.9"]
    study = plan(*words, "of=[trick.ema,topk]", "mode=add")
    options = {name: [part.options for part in config.compose(a.overrides).tricks] for name, a in study.arms.items()}
    assert [found["decay"] for found in options["base+ema"]] == [0.5]
    assert [found["gamma"] for found in options["base+topk"]] == [0.9] and options["base"] == []
    with pytest.raises(ConfigError, match=r"trick\.ema\.decay: ema is not chosen"):
        plan(*words, "of=r1", "mode=add")
    for slip in ("trick.ema.decya=0.5", "trick.ema.decay=high", "trick.ema.decay=0.5,0.6", "regularizer.ema.decay=0.5"):
        with pytest.raises(ConfigError, match=slip.partition("=")[0]):
            plan(slip, "of=[ema,topk]", "mode=add")


def test_options_of_a_file_for_parts_that_are_left_out_go_with_them(tmp_path: Path) -> None:
    """The recipe's file sets ema's decay; without ema that is no half of a part, and with it the decay is there."""
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /trick: [ema]\ntrick: {ema: {decay: 0.75}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    asked, folder = request(["experiment=mine", "of=ema", "mode=leave"]), tmp_path
    with config.composer([folder]) as composing:
        study = ablate.plan(composing, asked)
    assert list(study.arms) == ["full", "full-ema"]
    full, without = (config.compose(study.arms[name].overrides, [folder]) for name in ("full", "full-ema"))
    assert full.tricks[0].options["decay"] == 0.75 and without.tricks == ()


def test_overrides_and_losses_stand_in_place() -> None:
    study = plan("trick=[ema]", "of=ema,wgan_gp,optimizer.lr=1e-3,lsgan", "mode=add")
    assert parts(study) == {
        "base": ("non_saturating", "", ""),
        "base+ema": ("non_saturating", "", "ema"),
        "base: loss=wgan_gp": ("wgan_gp", "gp", ""),
        "base: optimizer.lr=1e-3": ("non_saturating", "", ""),
        "base: loss=lsgan": ("lsgan", "", ""),
    }
    assert config.compose(study.arms["base: optimizer.lr=1e-3"].overrides).optimizers.generator.options["lr"] == 1e-3
    assert effects(study)["loss=wgan_gp set in the bare base"] == (("base: loss=wgan_gp",), ("base",))


def test_arms_that_conflict_are_refused_with_the_reason_and_the_rest_is_kept() -> None:
    study = plan("loss=wgan_gp", "of=ema,unrolled,extragradient,non_saturating", "mode=both", "pairs=true")
    assert "full" not in study.arms, "two update rules"
    assert any("update_rule" in fault or "extragradient" in fault for fault in study.refused["full"])
    assert {"base", "base+ema", "base+unrolled", "base+extragradient"} <= set(study.arms)
    assert "trick.ema and trick.unrolled together, beyond each alone, in the bare base" in effects(study)
    assert not any("unrolled and trick.extragradient" in name for name in effects(study))
    _, lines = planned(study)
    assert any(line.startswith("refused: base+unrolled+extragradient: ") for line in lines)


def test_pairs_are_differences_of_differences() -> None:
    study = plan("trick=[ema,instance_noise,topk]", "pairs=true", "mode=leave")
    name = "trick.ema and trick.topk together, beyond each alone, in the full recipe"
    assert effects(study)[name] == (("full-ema-topk", "full"), ("full-ema", "full-topk"))
    assert sum(contrast.kind == "pair" for contrast in study.contrasts) == 3 and len(study.main) == 3


def test_equal_images() -> None:
    """The recipe takes 100 × 1 × 32 real images; 4 D turns of as many take 25 steps, judged every 5th as often as before."""
    words = ["steps=100", "batch_size=32", "eval_every=20", "of=d_steps=4,batch_size=64,trick.ema.decay=0.5"]
    study = plan("trick=[ema]", *words, "budget=images", "mode=add")
    kept = {arm.name: (arm.steps, arm.reals, arm.evaluations(arm.steps)) for arm in study.arms.values()}
    assert kept["base: d_steps=4"] == (25, 128, 6) and kept["base"] == (100, 32, 6)
    assert kept["base: batch_size=64"] == (50, 64, 6)
    assert config.compose(study.arms["base: d_steps=4"].overrides).settings.eval_every == 5
    assert {arm.steps for arm in plan("trick=[ema]", *words, "mode=add").arms.values()} == {100}


def test_an_arm_whose_own_file_sets_other_steps_gets_the_recipes(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    text = "# @package _global_\nloss: {name: hinge}\nsteps: 7\neval_every: 7\nbatch_size: 16\n"
    (tmp_path / "loss" / "mine.yaml").write_text(text)
    for budget, steps in (("steps", 1000), ("images", 2000)):  # digits: 1,000 steps of 32, judged every 250
        with config.composer([tmp_path]) as composing:
            study = ablate.plan(composing, request(["device=cpu", "of=loss=mine", f"budget={budget}"]))
        [settings] = [config.compose(a.overrides, [tmp_path]).settings for a in study.arms.values() if a.name != "base"]
        assert (settings.steps, settings.eval_every, settings.batch_size) == (steps, steps // 4, 16)


def test_equal_seconds() -> None:
    study = plan("of=ema", "budget=seconds", "max_seconds=2", "steps=3")
    for arm in study.arms.values():
        settings = config.compose(arm.overrides).settings
        assert settings.max_seconds == 2 and settings.steps == ablate.UNBOUNDED
    arms = {
        name: replace(arm, second=0.01) for name, arm in study.arms.items()
    }  # 200 steps, judged every other, and first
    assert replace(study, arms=arms, evaluation=0.1).seconds == pytest.approx(2 * 5 * (2 + 101 * 0.1))
    assert study.seconds is None


def test_a_plan_is_kept_and_read_again(tmp_path: Path) -> None:
    study = plan("trick=[ema]", "of=ema,optimizer.lr=1e-3", "pairs=true")
    ablate.save(study, tmp_path / "study")
    assert ablate.load(tmp_path / "study") == study
    with pytest.raises(GantrickError, match=r"not an ablation, it has no study\.json"):
        ablate.load(tmp_path)
    (tmp_path / "study" / "study.json").write_text("{")
    with pytest.raises(GantrickError, match="cannot be read"):
        ablate.load(tmp_path / "study")


# --- the report ------------------------------------------------------------------------------------------------------


def written(folder: Path, last: float | None, best: float | None = None, start: float = 300.0, **more: Any) -> None:
    """A run folder as a run leaves it: judged at steps 0 and 4."""
    folder.mkdir(parents=True)
    second, images, extra = more.pop("second", 0.1), more.pop("images", 32), more.pop("figures", {})
    protocol = {
        "extractor": "digits_cnn",
        "fakes": 64,
        "generator": "raw",
        "fingerprint": "x",
        **more.pop("protocol", {}),
    }
    rows = [{"step": 0, "images": 0, "seconds": 0.0, FID: start}]
    rows += [{"step": k, "images": k * images // 4, "seconds": k * second, "loss/d": 1.0} for k in (1, 2, 3, 4)]
    rows.append({"step": 4, "images": images, "seconds": 4 * second, FID: last})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = {"state": "finished", "step": 4, "reason": None, "peak_memory": 2**30, **more}
    (folder / "status.json").write_text(json.dumps(status))
    report = {}
    for which, value, step in (("last", last, 4), ("best", best if best is not None else last, 2)):
        figures = {FID: value, **{name: values[which == "best"] for name, values in extra.items()}}
        report[which] = {"step": step, "figures": figures, "protocol": dict.fromkeys(figures, protocol)}
    (folder / "evaluation.json").write_text(json.dumps(report))
    counts = {"generator": 1000, "discriminator": 500 + 20 * ("ema" in folder.name)}
    (folder / "environment.json").write_text(json.dumps({"parameters": counts}))


BASE = [60.0, 55.0, 64.0, 58.0, 61.0]
EMA = [52.0, 49.0, 55.0, 51.0, 52.5]


@pytest.fixture(scope="module")
def added() -> Study:
    return plan("of=ema,topk", "mode=add")


def filled(study: Study, folder: Path, **runs: Mapping[int, Mapping[str, Any]]) -> Path:
    """All runs of base, ema and topk (0.1 worse than base, on average none); `runs` changes some, by arm and seed."""
    noise = [1.0, -2.0, 0.5, 1.5, -0.5]
    for seed in study.seeds:
        values = {"base": BASE[seed], "base+ema": EMA[seed], "base+topk": BASE[seed] + noise[seed]}
        for arm, value in values.items():
            more = {"last": value, "best": value - 5, **runs.get(arm.removeprefix("base+"), {}).get(seed, {})}
            if "ema" in arm:
                more = {"second": 0.2, "protocol": {"generator": "ema"}, **more}
            written(folder / study.place(arm, seed), **more)  # type: ignore[arg-type]
    return folder


def test_effects_are_scipys_paired_tests_at_holms_levels(added: Study, tmp_path: Path) -> None:
    report = judge(added, filled(added, tmp_path / "s"))
    ema, topk = (report.effect(contrast) for contrast in added.contrasts)
    d = np.subtract(EMA, BASE)
    assert ema.finding is not None and topk.finding is not None
    low, high = stats.ttest_rel(EMA, BASE).confidence_interval(1 - 0.05 / 2)
    assert ema.finding.interval is not None and ema.finding.interval.alpha == 0.025
    assert (ema.finding.mean, ema.finding.interval.low, ema.finding.interval.high) == pytest.approx(
        (d.mean(), low, high)
    )
    assert ema.verdict == "helps" and ema.finding.flips == pytest.approx(2 / 32)
    assert topk.finding.level == 0.05 and topk.verdict.startswith("no evidence with 5 seeds; about ")
    best = report.effect(added.contrasts[0], which="best")
    assert best.finding is not None and best.finding.mean == pytest.approx(d.mean())
    cost = report.costs[added.contrasts[0].name]
    assert cost.time == pytest.approx(2.0) and cost.memory == 0 and (cost.generator, cost.discriminator) == (0, 20)
    assert any("how samples are drawn (generator)" in note for note in report.notes), "that is no unlike protocol"
    told = json.loads(as_json(report))
    assert told["effects"][0]["verdict"] == "helps" and len(told["runs"]) == 15
    text = as_markdown(report)
    assert text.startswith("# gantrick ablate dataset=digits") and "of=ema,topk" in text and "| helps |" in text
    assert summary(report)[1][0][7] == "× 2"


def test_the_words_of_no_evidence_name_seeds_that_would_show_more(added: Study, tmp_path: Path) -> None:
    report = judge(added, filled(added, tmp_path / "s"))
    topk = report.effect(added.contrasts[1])
    words = topk.verdict.split()
    seeds, worth = int(words[words.index("about") + 1]), float(words[-1])
    assert topk.finding is not None and topk.finding.sd is not None and topk.finding.detectable is not None
    assert worth <= topk.finding.detectable / 2
    for n, reached in ((seeds, True), (seeds - 1, False)):  # by noncentral t, here in scipy's words
        critical, centre = stats.t.ppf(0.975, n - 1), worth * math.sqrt(n) / topk.finding.sd
        assert (stats.nct.sf(critical, n - 1, centre) + stats.nct.cdf(-critical, n - 1, centre) >= 0.8) == reached


def test_lost_runs_are_counted_ranked_last_and_never_left_out(added: Study, tmp_path: Path) -> None:
    lost = {
        0: {"state": "failed", "reason": "loss/d is not finite", "non_finite": "loss/d"},
        1: {"last": 310.0, "best": 80.0},
        2: {"acts": [{"act": "stop", "reason": "trick.guard: D is never wrong"}]},
        3: {"last": None},
        4: {"state": "failed", "reason": "disk full"},
    }
    report = judge(added, filled(added, tmp_path / "s", ema=lost))
    states = [report.outcomes["base+ema", seed].state for seed in range(5)]
    assert states == ["diverged", "collapsed", "collapsed", "collapsed", "failed"]
    ema = report.effect(added.contrasts[0])
    assert ema.finding is not None and ema.finding.differences == (math.inf,) * 5 and ema.finding.interval is None
    assert (
        ema.verdict
        == "no evidence with 5 seeds, by ranks: 5 of 5 pairs lost a run; ranks decide nothing with fewer than 7 seeds"
    )
    rows = {row[0]: row[1:] for row in levels(report)[1]}
    both = stats.t.ppf(0.975, 1) * (310 - 55) / 2
    assert rows["base+ema"] == (f"182.5 ± {both:.2g}", "diverged (310) (55) collapsed failed", "200 ms")
    half = stats.t.ppf(0.975, 4) * np.std(BASE, ddof=1) / math.sqrt(5)
    assert rows["base"][0] == f"{np.mean(BASE):.4g} ± {half:.2g}" and rows["base"][1].split() == [
        f"{b:.3g}" for b in BASE
    ]
    best = report.effect(added.contrasts[0], which="best").finding
    assert best is not None and best.differences[1] == pytest.approx(80 - 50) and best.lost == 2
    assert summary(report)[1][0][5] == "5 with, 0 without"
    assert sum("base+ema-seed" in note for note in report.notes) == 5
    assert report.failed == [("base+ema", 4)]
    assert json.loads(as_json(report))["effects"][0]["finding"]["differences"] == [None] * 5


def test_eight_lost_of_eight_hurt_by_ranks(tmp_path: Path) -> None:
    study = plan("of=ema", "mode=add", "seeds=8")
    for seed in study.seeds:
        for arm in study.arms:
            lost = {"state": "failed", "non_finite": "loss/d"} if arm == "full" or "ema" in arm else {}
            written(tmp_path / study.place(arm, seed), 50.0 + seed, **lost)
    report = judge(study, tmp_path)
    [effect] = [e for e in report.effects if e.which == "last"]
    assert effect.verdict == "hurts, by ranks: 8 of 8 pairs lost a run"
    assert [note.partition(":")[0] for note in report.notes] == ["base+ema, seeds 0, 1, 2, 3, 4, 5, 6, 7"]


def test_norms_that_give_way_to_a_part_are_told(added: Study, tmp_path: Path) -> None:
    folder = filled(added, tmp_path / "s")
    for seed in added.seeds:
        for arm in added.arms:
            norm = "none (auto: no batch statistics with trick.ema)" if "ema" in arm else "batch (auto: the usual)"
            own = "  G norm: virtual batch normalisation by 64 fixed latents\n" if "topk" in arm else ""
            plan = f"defaults taken\n  G norm: batch (auto: the usual)\n{own}  D norm: {norm}\n\nstages\n"
            (folder / added.place(arm, seed) / "plan.txt").write_text(plan)
    assert [note for note in judge(added, folder).notes if "norm" in note] == [
        "trick.ema added to the bare base: D's norm is none with it and batch without (auto: no batch statistics with "
        "trick.ema), which is part of its effect; set model.d_norm to have the same in all arms"
    ]


def test_unlike_protocols_are_not_compared(added: Study, tmp_path: Path) -> None:
    other = {seed: {"protocol": {"fakes": 128}} for seed in range(5)}
    report = judge(added, filled(added, tmp_path / "s", topk=other))
    assert {e.verdict for e in report.effects} == {"not compared: unlike protocols"}
    assert any(
        note.startswith(f"{FID}: taken by unlike protocols (base, base+ema against base+topk)") for note in report.notes
    )


def test_figures_whose_better_end_is_not_known_go_up_or_down(added: Study, tmp_path: Path) -> None:
    runs = {
        arm: {s: {"figures": {"recall": (high + s / 50, 0.0)}} for s in range(5)}
        for arm, high in (("base", 0.1), ("topk", 0.1))
    }
    runs["ema"] = {s: {"figures": {"recall": (0.5 + s / 60, 0.0)}} for s in range(5)}
    report = judge(added, filled(added, tmp_path / "s", **runs))
    assert report.effect(added.contrasts[0], "recall").verdict == "raises it"
    assert report.effect(added.contrasts[1], "recall").verdict == "no difference at all"


def test_an_unfinished_study_tells_so_far(added: Study, tmp_path: Path) -> None:
    folder = filled(added, tmp_path / "s", ema={4: {"state": "running"}, 3: {"state": "preempted"}})
    report = judge(added, folder)
    assert report.effect(added.contrasts[0]).verdict.endswith("so far (3 of 5 seeds)")
    assert report.unfinished == [("base+ema", 3), ("base+ema", 4)]
    left = to_do(added, folder)
    assert [next(w for w in job if w.startswith("seed=")) for job in left] == ["seed=3", "seed=4"]


def test_real_images_that_differ_are_told(added: Study, tmp_path: Path) -> None:
    report = judge(added, filled(added, tmp_path / "s", ema={s: {"images": 64} for s in range(5)}))
    assert "real images taken: base 32, base+ema 64, base+topk 32" in report.notes


def test_interactions_are_judged_by_seed(tmp_path: Path) -> None:
    study = plan("of=ema,topk", "pairs=true", "mode=add", "seeds=3")
    values = {"base": [60.0, 62, 61], "base+ema": [50.0, 51, 52], "base+topk": [58.0, 59, 60], "both": [40.0, 42, 44]}
    for seed in study.seeds:
        for arm in study.arms:
            written(tmp_path / study.place(arm, seed), values.get(arm, values["both"])[seed])
    pair = next(contrast for contrast in study.contrasts if contrast.kind == "pair")
    found = judge(study, tmp_path).effect(pair).finding
    assert found is not None and found.differences == pytest.approx(
        [40 + 60 - 50 - 58, 42 + 62 - 51 - 59, 44 + 61 - 52 - 60]
    )


# --- real studies ----------------------------------------------------------------------------------------------------

TINY = [
    "dataset=ring", "debug=fast", "device=cpu", "wandb.mode=disabled", "metric.modes.samples=64", "sample_every=0",
    "of=instance_noise", "mode=add", "seeds=2",
]  # fmt: skip


def folder_of(place: Path) -> Path:
    [found] = place.glob("ablation-*")
    return found


def stamps(study: Path) -> dict[str, int]:
    return {file.parent.name: file.stat().st_mtime_ns for file in study.glob("*/metrics.jsonl")}


def test_the_command_plans_runs_reports_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "runs"
    assert cli.main(["ablate", *TINY, f"runs_dir={place}", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "4 runs: 2 arms × 2 seeds; about" in said and "standard deviations of the paired differences" in said
    assert not place.exists(), "a plan writes nothing"
    assert cli.main(["ablate", *TINY, f"runs_dir={place}"]) == 0
    study = folder_of(place)
    assert {file.parent.name for file in study.glob("*/status.json")} == {
        f"{arm}-seed{seed}" for arm in ("base", "base+instance_noise") for seed in (0, 1)
    }
    assert json.loads((study / "report.json").read_text())["figure"] == "modes/score"
    assert "trick.instance_noise" in (study / "report.md").read_text() and "report   " in capsys.readouterr().out
    # One run lost its end, as if it had been killed after a checkpoint; nothing else is touched again.
    before = stamps(study)
    status = study / "base+instance_noise-seed1" / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "running"}))
    assert cli.main(["ablate", f"resume={study}"]) == 0
    changed = {name for name, stamp in stamps(study).items() if stamp != before[name]}
    assert changed == {"base+instance_noise-seed1"} and json.loads(status.read_text())["state"] == "finished"
    assert cli.main(["ablate", f"resume={study}", "steps=9"]) == 2
    assert "steps=9: cannot change when a study goes on" in capsys.readouterr().err
    assert cli.main(["ablate", f"resume={tmp_path}"]) == 2
    assert "not an ablation" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_in_the_middle_nothing_is_lost_and_nothing_done_twice(tmp_path: Path) -> None:
    """kill -9 in the second run; the rest in two processes: rows as of a study that was left alone, but for the clock."""
    words = [*TINY, "steps=60", "checkpoint_every=10", "log_every=10", "eval_every=20"]
    words = [word for word in words if word != "debug=fast"] + ["batch_size=8", "model.g_width=8", "model.d_width=8"]

    def started(place: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gantrick", "ablate", *more]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, env={**os.environ})

    process = started("cut", *words, "runs_dir=cut")
    deadline = time.monotonic() + 240
    while not any((tmp_path / "cut").glob("ablation-*/base+instance_noise-seed0/checkpoints/previous.pt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    study = folder_of(tmp_path / "cut")
    first = stamps(study)["base-seed0"]
    assert started("cut", f"resume={study}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2").wait(300) == 0
    assert stamps(study)["base-seed0"] == first
    assert started("alone", *words, "runs_dir=alone").wait(300) == 0
    for run in sorted(folder_of(tmp_path / "alone").glob("*-seed*")):
        clocks = ("seconds", "images_per_second")
        cut, alone = (
            [{k: v for k, v in json.loads(line).items() if k not in clocks} for line in file.read_text().splitlines()]
            for file in (study / run.name / "metrics.jsonl", run / "metrics.jsonl")
        )
        assert cut == alone and cut[-1]["step"] == 60
