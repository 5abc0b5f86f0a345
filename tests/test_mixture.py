"""Mixtures: which generators, in which shares, from folders and from words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from playing import recipe
from scipy.stats import chisquare

from gantrick import cli, mixture, sampling
from gantrick.mixture import Member
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.types import ConfigError, GantrickError

POINTS = {"model": {"name": "mlp", "z_size": 2}, "dataset": {"name": "ring", "samples": 200}}
SETTINGS: dict[str, Any] = {
    "steps": 4, "batch_size": 6, "log_every": 2, "eval_every": 0, "sample_every": 0, "keep_every": 2,
    "wandb": {"mode": "disabled"},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        assert run(recipe(**POINTS, **SETTINGS, seed=seed), folder / str(seed), console=Console(quiet=True)) == 0
    return [folder / "0", folder / "1"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "run"
    more = {**POINTS, "dataset": {"name": "ring", "samples": 300}}
    assert run(recipe(**more, **SETTINGS), folder, console=Console(quiet=True)) == 0
    return folder


class Marked:
    """A generator whose samples say whose they are and which label they were asked for."""

    def __init__(self, mark: float):
        self.mark, self.conditional = mark, True
        self.spec = SimpleNamespace(data=SimpleNamespace(shape=(2,), classes=10))


def stand_in(gan: Marked, count: int, seed: int, batch: int, weights: Any, through: Any, labels: Any) -> Iterator[Any]:
    asked = torch.arange(count) % 10 if labels is None else torch.tensor([*labels, *labels])[:count]
    for part in asked.split(7):
        yield through(torch.stack([torch.full((len(part),), gan.mark), part.float()], 1), part)


def test_samples_come_in_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong in 1 of 100,000, the seeds are fixed."""
    monkeypatch.setattr(sampling, "draw", stand_in)
    gans: Any = [Marked(0.0), Marked(1.0), Marked(2.0)]
    for seed in range(3):
        drawn = torch.cat(list(sampling.draw_mixture(gans, (2.0, 5.0, 3.0), 4000, seed, 64)))
        counts = np.bincount(drawn[:, 0].int().numpy(), minlength=3)
        assert chisquare(counts, [800, 2000, 1200]).pvalue > 1e-5
        order = drawn[:, 0].numpy()
        together = float((order[1:] == order[:-1]).mean())  # independent draws: Σ α² = 0.38
        assert abs(together - 0.38) < 4.5 * (0.38 * 0.62 / 3999) ** 0.5 * 1.2


def test_labels_are_asked_for_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "draw", stand_in)
    gans: Any = [Marked(0.0), Marked(1.0)]
    drawn = torch.cat(list(sampling.draw_mixture(gans, (1.0, 1.0), 50, 0, 16, labels=[3, 1, 4])))
    assert drawn[:, 1].tolist() == ([3.0, 1.0, 4.0] * 17)[:50]
    assert Counter(drawn[:, 0].tolist()).keys() == {0.0, 1.0}


def test_a_folder_is_read_as_it_was_written(runs: list[Path], tmp_path: Path) -> None:
    inside = tmp_path / "component-0"
    inside.symlink_to(runs[0])
    mixture.write(tmp_path, [Member(inside, "last", 3.0), Member(runs[1], "2", 1.0)], made_by="a test")
    told = json.loads((tmp_path / "mixture.json").read_text())
    assert told["made_by"] == "a test" and [m["run"] for m in told["members"]] == ["component-0", str(runs[1])]
    found = mixture.read(tmp_path)
    assert found == (Member(inside, "last", 0.75), Member(tmp_path / runs[1], "2", 0.25))
    drawn = mixture.open_folder(tmp_path).sample(300, seed=4)
    gans = [sampling.load(runs[0], "last").gan, sampling.load(runs[1], 2).gan]
    expected = torch.cat(list(sampling.draw_mixture(gans, (0.75, 0.25), 300, 4)))
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-6)
    with pytest.raises(GantrickError, match="is a mixture and not a run"):
        sampling.load(tmp_path)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "does not name members with shares at least 0"),
        ([{"run": "a", "checkpoint": "last", "share": -1}], "does not name members with shares at least 0"),
        ([{"run": "a", "checkpoint": "last"}], "does not name members with shares at least 0"),
        ([{"run": "gone", "checkpoint": "last", "share": 1}], "gone, which is no run folder"),
    ],
)
def test_a_folder_that_is_spoilt_is_refused(rows: list[Any], fault: str, tmp_path: Path) -> None:
    (tmp_path / "mixture.json").write_text(json.dumps({"members": rows}))
    with pytest.raises(ConfigError, match=fault):
        mixture.read(tmp_path)


def test_parts_and_their_shares(runs: list[Path], tmp_path: Path) -> None:
    """A mixture is one part, and hands its share on to its members."""
    mixture.write(tmp_path, [Member(runs[0], "last", 1.0), Member(runs[1], "last", 3.0)])
    parts = mixture.parts_of([tmp_path, runs[0]], None, ("best", "last"))
    assert [part.checkpoint for part in parts] == ["mixture", "last"], "there is no best, so it is the last once"
    whole = mixture.together(parts, (0.4, 0.6))
    assert [round(m.share, 6) for m in whole.members] == [0.1, 0.3, 0.6] and whole.folder is None
    assert [p.members[0].checkpoint for p in mixture.parts_of([runs[0]], ("all",), ())] == ["2", "4"]
    assert {m.checkpoint for m in mixture.parts_of([tmp_path], ("2",), ())[0].members} == {"2"}
    with pytest.raises(ConfigError, match=r"checkpoint: all is of one run, and .* is a mixture; choose one step"):
        mixture.parts_of([tmp_path], ("all",), ())


def drawn(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path)["samples"])


def whose(samples: torch.Tensor, parts: list[tuple[Path, str]], seed: int) -> list[int]:
    """How many samples are of each part, told by what it draws itself from its own stream."""
    counts = [0] * len(parts)
    own = [
        torch.cat(list(sampling.draw(sampling.load(*part).gan, len(samples), sampling.stream(seed, f"mixture {k}"))))
        for k, part in enumerate(parts)
    ]
    for sample in samples:
        counts[int(torch.stack([(o - sample).abs().sum(1).amin() for o in own]).argmin())] += 1
    return counts


@pytest.mark.parametrize(
    ("words", "parts", "shares"),
    [
        (["0", "1", "--mixture", "0.3,0.7"], [("0", "best"), ("1", "best")], [0.3, 0.7]),
        (["0", "--checkpoints", "all"], [("0", "2"), ("0", "4")], [0.5, 0.5]),
        (["0", "--checkpoint", "2,last", "--mixture", "1,0"], [("0", "2"), ("0", "last")], [1.0, 0.0]),
    ],
)
def test_sample_draws_from_what_is_named(
    words: list[str], parts: list[tuple[str, str]], shares: list[float], runs: list[Path], tmp_path: Path
) -> None:
    """Wrong in 1 of 150,000, the seed is fixed."""
    home, path = runs[0].parent, tmp_path / "s.npz"
    said = [str(home / word) if word in "01" else word for word in words]
    assert cli.main(["sample", *said, "--n", "400", "--seed", "9", "--npz", str(path)]) == 0
    counts = whose(drawn(path), [(home / run, which) for run, which in parts], 9)
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - 400 * share) <= 4.5 * (400 * share * (1 - share)) ** 0.5


def test_sample_by_mode(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_centres(gan: Any, count: int, seed: int, *_: Any, **__: Any) -> Iterator[torch.Tensor]:
        yield gan.assembly.dataset.centers[torch.arange(count) % 8]

    monkeypatch.setattr(sampling, "draw", on_centres)
    path = tmp_path / "s.npz"
    assert cli.main(["sample", *map(str, runs), "--mixture", "by_mode", "--n", "80", "--npz", str(path)]) == 0
    assert drawn(path).unique(dim=0, return_counts=True)[1].tolist() == [10] * 8


def test_eval_knows_members_of_several_checkpoints(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["metric=[modes]", "metric.modes.samples=30", "checkpoint=all", "mixture=0.2,0.8", "--json"]
    assert cli.main(["eval", str(runs[0]), *words]) == 0
    protocol = json.loads(capsys.readouterr().out)["protocol"]["modes/covered"]
    assert [(m["step"], m["share"], m["generator"]) for m in protocol["mixture"]] == [(2, 0.2, "raw"), (4, 0.8, "raw")]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["{0}", "{1}", "--mixture", "1,2,3"], "--mixture: must be uniform, by_mode, or 2 shares at least 0"),
        (["{0}", "--checkpoint", "bets"], "--checkpoint: must be best, last, all or a step, not 'bets'"),
        (["{0}", "--checkpoint", "7"], "has no checkpoint of step 7; choose best or last, or one of 2, 4"),
        (["{0}", "{other}"], "is of other data than"),
        (["{0}", "{1}", "--label", "3"], "the run is not conditional, so no label can be asked for"),
        (["{0}", "{1}", "--label", "3", "--mixture", "by_mode"], "--label: by_mode draws every class"),
        (["{0}", "--checkpoint", "all", "--interpolate"], "--interpolate: is of one generator's latents"),
    ],
)
def test_what_does_not_mix_is_refused(
    words: list[str],
    fault: str,
    runs: list[Path],
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sample", *(word.format(*runs, other=other) for word in words)]) == 2
    err = capsys.readouterr().err
    assert fault in err and len(err.splitlines()) == 1 and not list(tmp_path.iterdir())
