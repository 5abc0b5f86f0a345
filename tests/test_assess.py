"""`gantrick eval`: the figures of trained runs are those that training took, whoever asks and however."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from playing import recipe
from processes import Pool, assessed

from gantrick import assess, cli, sampling
from gantrick.assess import Assessor, request
from gantrick.evaluation import Taken
from gantrick.recipe import Recipe, check
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.types import ConfigError, DataShape, GantrickError

FID = {"fid": {"name": "fid", "extractor": "digits_cnn", "samples": 100}}
NAME = "fid/digits_cnn"


def made(**more: object) -> Recipe:
    settings = {"steps": 4, "batch_size": 6, "log_every": 2, "eval_every": 2, "sample_every": 0, "checkpoint_every": 2}
    resolved = recipe(
        **{**settings, "keep_every": 2, "wandb": {"mode": "disabled"}, "eval_samples": 60, **more}
    ).resolved
    return check({"extractor": "digits_cnn", **resolved, "metric": FID})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        assert run(made(seed=seed, trick={"ema": {}}), folder / str(seed), console=Console(quiet=True)) == 0
    return [folder / "0", folder / "1"]


def figures(*words: str | Path) -> list[float]:
    return [each.taken.figures[NAME] for each in Assessor(request([*map(str, words)]))]


def members(found: assess.Assessed) -> list[tuple[str, int, str, float]]:
    rows = found.taken.protocols[NAME]["mixture"]
    return [(row["run"].rpartition("/")[2], row["step"], row["generator"], row["share"]) for row in rows]


def test_the_figure_is_the_one_of_training_bit_for_bit(runs: list[Path]) -> None:
    report = json.loads((runs[0] / "evaluation.json").read_text())
    best, last = Assessor(request([str(runs[0]), "protocol=training"]))
    for found, name in ((best, "best"), (last, "last")):
        assert found.checkpoint == name and found.step == report[name]["step"]
        assert found.taken.figures == report[name]["figures"]
        assert found.taken.protocols == report[name]["protocol"]
    kept = [json.loads(line) for line in (runs[0] / "evaluations" / "figures.jsonl").read_text().splitlines()]
    assert [row["figures"] for row in kept[-2:]] == [report["best"]["figures"], report["last"]["figures"]]


def test_every_checkpoint_that_stays(runs: list[Path]) -> None:
    rows = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    of_step = {row["step"]: row[NAME] for row in rows if NAME in row}
    found = list(Assessor(request([str(runs[0]), "protocol=training", "checkpoint=all"])))
    assert {each.step: each.taken.figures[NAME] for each in found} == {step: of_step[step] for step in (2, 4)}
    assert figures(runs[0], "protocol=training", "checkpoint=2") == [of_step[2]]


def test_another_batch_size_changes_rounding_alone(runs: list[Path]) -> None:
    words = [runs[0], "checkpoint=last", "metric.fid.samples=50"]
    assert figures(*words, "metric.fid.batch_size=7") == pytest.approx(figures(*words), rel=1e-6)


def test_the_protocol_of_the_field_is_the_default_and_the_user_wins(runs: list[Path]) -> None:
    assessor = Assessor(request([str(runs[0]), "metric.fid.split=test"]))
    trained = sampling.load(runs[0])
    [metric] = assessor._metrics_of(trained, assessor._judging(trained)).values()
    assert (metric.samples, metric.split) == (50_000, "test")
    assessor = Assessor(request([str(runs[0]), "protocol=studiogan"]))
    judging = assessor._judging(trained)
    [metric] = assessor._metrics_of(trained, judging).values()
    assert (metric.samples, metric.split) == (len(judging.reals("train")), "train")
    assert judging.limit is None, "the limit of training is not that of a final figure"


def test_the_seed_and_the_weights_are_asked_for(runs: list[Path]) -> None:
    words = [runs[0], "checkpoint=last", "metric.fid.samples=50"]
    plain = figures(*words)
    assert figures(*words, "seed=0") == plain and figures(*words, "seed=5") != plain
    assert figures(*words, "weights=ema") == plain and figures(*words, "weights=raw") != plain
    assert figures(*words, "truncation=0.3") != plain


def test_what_changes_the_drawing_is_in_the_protocol(runs: list[Path]) -> None:
    """Figures of several truncations, or of standing statistics, have protocols of their own."""
    words = [str(runs[0]), "checkpoint=last", "metric.fid.samples=50"]
    found = list(Assessor(request([*words, "truncation=0.3,0.6,none"])))
    found += Assessor(request([*words, "standing_statistics=2"]))
    protocols = [each.taken.protocols[NAME] for each in found]
    assert len({protocol["fingerprint"] for protocol in protocols}) == 4
    assert protocols[0]["truncate"]["trick.truncation"]["threshold"] == 0.3 and "truncate" not in protocols[2]
    assert protocols[3]["settle"] == {"trick.standing_statistics": {"batches": 2, "batch_size": 64}}


def test_a_mixture_is_drawn_in_its_shares(runs: list[Path]) -> None:
    gans = [sampling.load(folder, "last").gan for folder in runs]
    before = None
    for batch_size in (7, 64):
        drawn = torch.cat(list(sampling.draw_mixture(gans, (3.0, 1.0), 2000, 3, batch_size)))
        own = [
            torch.cat(list(sampling.draw(gan, 2000, sampling.stream(3, f"mixture {k}")))) for k, gan in enumerate(gans)
        ]
        nearest = torch.stack([torch.cdist(drawn.flatten(1), o.flatten(1)).amin(1) for o in own])
        assert nearest.amin(0).max() < 1e-4, "every sample is one of a part's own"
        share = float((nearest[0] < nearest[1]).float().mean())
        assert abs(share - 0.75) < 4.5 * (0.75 * 0.25 / 2000) ** 0.5  # wrong in 1 of 150,000, the seed is fixed
        before = drawn if before is None else before
    torch.testing.assert_close(drawn, before, rtol=0, atol=1e-5)
    pure = next(iter(Assessor(request([*map(str, runs), "mixture=0,1", "metric.fid.samples=40", "checkpoint=last"]))))
    assert members(pure) == [("0", 4, "ema", 0.0), ("1", 4, "ema", 1.0)]
    uniform = next(iter(Assessor(request([*map(str, runs), "mixture=uniform", "metric.fid.samples=40"]))))
    assert [share for *_, share in members(uniform)] == [0.5, 0.5] and uniform.checkpoint == "mixture"
    alone = next(iter(Assessor(request([str(runs[0]), "metric.fid.samples=40", "checkpoint=last"]))))
    prints = {each.taken.protocols[NAME]["fingerprint"] for each in (pure, uniform, alone)}
    assert len(prints) == 3, "of whom a mixture is, and how, is in the fingerprint"


def test_by_mode_each_mode_comes_from_the_part_that_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two generators that stand still: one finds modes 0 and 1, the other 1 (more often) and 2; none finds mode 3."""
    shares = {"a": [0.7, 0.1, 0.0], "b": [0.0, 0.6, 0.2]}
    spec = SimpleNamespace(data=DataShape((1,)))
    gans: list[Any] = [SimpleNamespace(name=name, conditional=True, spec=spec) for name in shares]

    def stand_in(gan: Any, count: int, seed: int, batch_size: int, weights: None, through: Any = lambda x, y: x):
        source = torch.Generator().manual_seed(seed)
        p = torch.tensor([*shares[gan.name], 1 - sum(shares[gan.name])])
        modes = torch.multinomial(p, count, replacement=True, generator=source)
        yield through(modes[:, None] + 10.0 * (gan.name == "b"), modes + 100)  # asked for the mode that it found

    monkeypatch.setattr(sampling, "draw", stand_in)
    mode_of = lambda x: torch.where(x[:, 0] % 10 == 3, -1, (x[:, 0] % 10).long())  # noqa: E731
    asked: list[torch.Tensor] = []

    def through(images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        assert labels is not None and torch.equal(labels, mode_of(images) + 100), "each with its own label"
        asked.append(labels)
        return images

    drawn = torch.cat(list(sampling.draw_by_mode(gans, mode_of, 4, 100, 0, 64, through=through)))[:, 0]
    assert sum(map(len, asked)) == 100
    counts = {value: int((drawn == value).sum()) for value in drawn.unique().tolist()}
    assert counts == {0.0: 34, 11.0: 33, 12.0: 33}, "34 of mode 0 from a, 33 of modes 1 and 2 from b"


def test_by_mode_of_runs(runs: list[Path]) -> None:
    [found] = Assessor(request([*map(str, runs), "mixture=by_mode", "metric.fid.samples=40", "checkpoint=last"]))
    assert found.taken.protocols[NAME]["by_mode"] is True and len(members(found)) == 2 and found.taken.figures[NAME] > 0


def test_two_processes_find_the_same_figure(runs: list[Path]) -> None:
    words = [str(runs[0]), "checkpoint=last", "metric.fid.samples=150", "metric.fid.batch_size=32"]
    pool = Pool()
    try:
        found = pool(assessed, words)
    finally:
        pool.close()
    assert found[0] == found[1] and found[0][0][NAME] == pytest.approx(figures(*words)[0], rel=1e-6)


def test_a_sweep_stands_for_its_jobs(runs: list[Path]) -> None:
    parts = request([str(runs[0].parent), "checkpoint=last"]).parts
    assert [part.folder for part in parts] == runs


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "eval: names no run; give one or more run folders"),
        (["nowhere"], "nowhere: not a run folder, it has no config.yaml; name a folder under runs/"),
        (["{run}", "chekpoint=best"], "eval: there is no key chekpoint; did you mean checkpoint?"),
        (["{run}", "checkpoint=bets"], "checkpoint: must be best, last, all or a step, not 'bets'"),
        (["{run}", "protocol=studio"], "protocol: there is none called studio; choose field"),
        (["{run}", "weights=emma"], "weights: must be ema or raw, not emma"),
        (["{run}", "truncation=-1"], "truncation: must be numbers above 0, or none, not '-1'"),
        (["{run}", "{run}", "mixture=0.5"], "mixture: must be uniform, by_mode, or 2 shares at least 0 like 0.7,0.3, not '0.5'"),
        (["{run}", "standing_statistics=x"], "standing_statistics: must be a whole number at least 0, not x"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_met_is_refused_at_once(runs: list[Path], words: list[str], fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        request([word.format(run=runs[0]) for word in words])
    assert any(found.startswith(fault) for found in raised.value.faults), raised.value.faults


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("metric.kid.samples=3", "metric.kid.samples: kid is not among the metrics fid; add it by metric=[…]"),
        ("metric.fid.sample=3", "did you mean"),
        ("metric=[fidd]", "did you mean fid?"),
        ("checkpoint=77", "has no checkpoint of step 77; choose best or last, or one of 2, 4"),
    ],
)  # fmt: skip
def test_what_only_the_run_can_tell_is_refused_too(runs: list[Path], word: str, fault: str) -> None:
    with pytest.raises(GantrickError, match=fault.replace("[", r"\[")):
        list(Assessor(request([str(runs[0]), word])))


def test_interpolation_goes_along_the_great_circle(runs: list[Path]) -> None:
    trained = sampling.load(runs[0], "last")
    asked: list[torch.Tensor] = []
    network, _ = sampling.generator_of(trained.gan)
    hook = network.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].z.double()))
    images = trained.interpolate(3, 5, seed=1)
    hook.remove()
    assert images.shape[0] == 15
    z = asked[0].view(3, 5, -1)
    a, b = z[:, 0], z[:, -1]
    angle = torch.acos(torch.nn.functional.cosine_similarity(a, b))
    middle = (a + b) * (torch.sin(angle / 2) / torch.sin(angle))[:, None]
    torch.testing.assert_close(z[:, 2], middle, rtol=1e-5, atol=1e-5)
    z = trained.sample(6, seed=1)
    torch.testing.assert_close(images.view(3, 5, *images.shape[1:])[:, 0], z[::2], rtol=0, atol=1e-4)


def test_the_command(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", str(runs[0]), str(runs[1]), "metric.fid.samples=40", "checkpoint=last"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith(f"{NAME}  (") and "fakes 40" in lines[0]
    assert str(runs[1]) in lines[2] and "last (step 4)" in lines[2]
    assert cli.main(["eval", str(runs[0]), "metric.fid.samples=40", "checkpoint=last", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"][NAME] == pytest.approx(float(lines[1].split()[0]), rel=1e-4)
    assert cli.main(["eval", str(runs[0]), "los=3"]) == 2
    assert (
        capsys.readouterr().err
        == "gantrick eval: error: eval: there is no key los; there are " + ", ".join(assess.KEYS) + "\n"
    )
    folder = tmp_path / "drawn"
    words = ["sample", *map(str, runs), "--n", "5", "--folder", str(folder), "--grid", str(tmp_path / "grid.png")]
    assert cli.main(words) == 0
    assert sorted(file.name for file in folder.iterdir()) == [f"{n:07d}.png" for n in range(5)]


def test_the_curve_is_a_picture(tmp_path: Path) -> None:
    found = [
        assess.Assessed((Path("a"),), "best", 3, t, Taken({"precision/digits_cnn": p, "recall/digits_cnn": 1 - p}))
        for t, p in ((0.5, 0.9), (1.0, 0.7), (None, 0.5))
    ]
    assert assess.curve(found, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (750, 750)
    assert not assess.curve(found[:1], tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def test_published_figures_stand_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their own protocol, below the run's own, and of the figures that were taken; nothing where there are none."""
    monkeypatch.chdir(tmp_path)
    theirs = {"metric": NAME, "dataset": "digits", "value": 7.25, "protocol": "10 of each", "source": "https://x.y/z"}
    published = {
        "paper": theirs,
        "elsewhere": {**theirs, "dataset": "cifar10", "value": 1.0},
        "other": {**theirs, "metric": "fid/inception", "value": 2.0},
    }
    assert run(made(published=published, steps=2, seed=0), tmp_path / "a", console=Console(quiet=True)) == 0
    assert run(made(steps=2, seed=1), tmp_path / "b", console=Console(quiet=True)) == 0
    words = ["checkpoint=last", "metric.fid.samples=40"]

    def shown(*more: str) -> list[str]:
        assert cli.main(["eval", *more, *words]) == 0
        return capsys.readouterr().out.splitlines()

    (_, own, title, line) = shown("a")
    assert own.endswith("a last (step 2)") and "7.25" not in own
    assert title == f"{NAME} published  (each by a protocol of its own, not the ones above)"
    assert line == "        7.25  paper; 10 of each; https://x.y/z"
    assert not [line for line in shown("b") if "published" in line]
    assert shown("a", "b")[-1] == f"{line}  [a]"
    titles = [line for line in shown("a", "b", "mixture=uniform") if line.startswith(f"{NAME} published")]
    assert not titles, "a mixture is no recipe"
    for name, wanted in (("a", {"paper": theirs}), ("b", {})):
        (row,) = [json.loads(line) for line in shown(name, "--json")]
        assert row["published"] == wanted and row["figures"].keys() == {NAME}
