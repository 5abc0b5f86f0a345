"""The page's contents, read back from its HTML by other means: Python's own parser, numpy, naive loops."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import itertools
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import FID, rows, run_folder
from PIL import Image
from scipy import stats

from gantrick import cli
from gantrick.analysis import report
from gantrick.analysis.compare import groups, read
from gantrick.analysis.report import Curve, Effect, curves, effects, halves, page, spread

for name in ("plotly", "orjson", "jinja2"):
    pytest.importorskip(name, reason="of the extra `report`")


class Page(HTMLParser):
    """A page as a browser takes it apart: elements, texts, scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.inside = ""
        self.feed(text)
        self.close()
        by = {attributes.get("id"): content for attributes, content in self.scripts}
        self.data: dict[str, Any] = json.loads(by["data"])
        self.numbers = gzip.decompress(base64.b64decode(by["numbers"]))
        self.library = gzip.decompress(base64.b64decode(by["library"])).decode()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            attributes, before = self.scripts.pop()
            self.scripts.append((attributes, before + data))
        elif self.inside != "style":
            self.texts.append(data.strip())

    def curve(self, run: int, title: str) -> dict[str, np.ndarray]:
        """Steps, images, seconds, mean and, where there are stretches, low and high of a curve."""
        at = self.data["metrics"].index(title)
        [(_, _, axis, offset, exponent, exact)] = [c for c in self.data["curves"] if c[:2] == [run, at]]
        clocks = np.frombuffer(self.numbers, "<f4", self.data["clocks"])
        values = np.frombuffer(self.numbers, "<f2", offset=4 * self.data["clocks"]).astype(np.float64) * 2.0**exponent
        length, *starts = self.data["axes"][axis]
        found = {name: clocks[s : s + length] for name, s in zip(("step", "images", "seconds"), starts, strict=True)}
        lines = ("mean",) if exact else ("mean", "low", "high")
        return found | {name: values[offset + i * length :][:length] for i, name in enumerate(lines)}


def made(*folders: Path, effects: list[Effect] | None = None) -> Page:
    return Page(page(read(folders), effects or []))


# --- curves ----------------------------------------------------------------------------------------------------------


def test_a_short_curve_is_in_the_page_point_by_point(tmp_path: Path) -> None:
    written = rows(range(0, 4000, 10), **{"loss/d": 1.3, "lr/d": lambda step: 2e-4 * (1 - step / 4000)})
    found = made(run_folder(tmp_path / "a", 0, written))
    for key in ("loss/d", "lr/d"):
        got = found.curve(0, key)
        assert list(got["step"]) == [row["step"] for row in written]
        assert list(got["images"]) == [row["images"] for row in written]
        assert got["seconds"] == pytest.approx([row["seconds"] for row in written], rel=1e-6)
        assert got["mean"] == pytest.approx([row[key] for row in written], rel=2**-11)
        assert "low" not in got


def test_a_long_curve_keeps_its_extremes_and_its_mean(tmp_path: Path) -> None:
    written = rows(range(5003), **{"loss/d": 0.0})
    written[1234]["loss/d"], written[4321]["loss/d"], written[77]["loss/d"] = 1e4, -1e4, None
    got = made(run_folder(tmp_path / "a", 0, written)).curve(0, "loss/d")
    values = np.array([row["loss/d"] if row["loss/d"] is not None else np.nan for row in written])
    assert len(got["mean"]) == 200
    naive = [values[len(values) * i // 200 : len(values) * (i + 1) // 200] for i in range(200)]
    tolerance = 1e4 * 2**-25  # half precision below its normal numbers, next to a value of 1e4
    assert got["low"] == pytest.approx([np.nanmin(part) for part in naive], rel=2**-11, abs=tolerance)
    assert got["high"] == pytest.approx([np.nanmax(part) for part in naive], rel=2**-11, abs=tolerance)
    assert got["mean"] == pytest.approx([np.nanmean(part) for part in naive], rel=2**-11, abs=tolerance)
    steps = np.arange(5003)
    assert got["step"] == pytest.approx([steps[5003 * i // 200 : 5003 * (i + 1) // 200].mean() for i in range(200)])
    assert got["high"].max() == pytest.approx(1e4, rel=2**-11) and got["low"].min() == pytest.approx(-1e4, rel=2**-11)


def test_condensing_twice_loses_no_weight() -> None:
    stream = np.random.default_rng(0)
    values = stream.normal(size=1777)
    values[stream.integers(0, 1777, 300)] = np.nan
    x = np.stack([np.arange(1777.0)] * 3)
    twice = Curve(x, values, values, values, np.isfinite(values).astype(float)).condensed(200).condensed(31)
    edges = np.linspace(0, 1777, 201).astype(int)[np.linspace(0, 200, 32).astype(int)]
    parts = [values[a:b] for a, b in itertools.pairwise(edges)]
    assert list(twice.count) == [np.isfinite(part).sum() for part in parts]
    assert twice.low == pytest.approx([np.nanmin(part) for part in parts])
    assert twice.high == pytest.approx([np.nanmax(part) for part in parts])
    assert twice.mean == pytest.approx([np.nanmean(part) for part in parts])
    assert twice.x[0] == pytest.approx([np.arange(a, b).mean() for a, b in itertools.pairwise(edges)], abs=1)


def test_rows_that_are_none_are_counted_and_the_others_read(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a")
    lines = [
        b'{"step": 0, "images": 0, "seconds": 0.0, "fid": 9.5}', b"garbage \xff\x00", b'{"no": 1}', b"[1]",
        b'{"step": "x", "loss": 1}', b'{"step": 5, "loss": null, "non_finite": ["loss"]}',
        b'{"step": 6, "loss": 2.5, "note": "words", "flag": true}', b'{"step": 7, "loss": 3, "big": 1e999}', b'{"step": 8, "lo',
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_bytes(b"\n".join(lines))
    found, damaged = curves(folder)
    assert damaged in (4, 5), "orjson takes 1e999 for damage or for infinity, and both are no number"
    assert set(found) == {"fid", "loss"}
    assert list(found["loss"].x[0])[:3] == [5, 6, 7][: len(found["loss"].mean)]
    assert found["loss"].mean[1] == 2.5 and math.isnan(found["loss"].mean[0])
    notes = made(folder).texts
    assert any(note.startswith(f"{folder}: {damaged} lines of metrics.jsonl") for note in notes)


def test_halves_keep_three_digits_down_to_a_billionth_of_the_greatest() -> None:
    values = np.array([3.7e30, -1.1e30, 3.7e30 / 5e8, 0.0, np.nan, 1e12])
    half, exponent = halves(values)
    back = half.astype(np.float64) * 2.0**exponent
    assert back[:3] == pytest.approx(values[:3], rel=2**-11)
    assert back[3] == 0 and math.isnan(back[4]) and back[5] == pytest.approx(0, abs=3.7e30 * 2**-38)
    assert halves(np.array([0.0, np.nan]))[1] == 0


def test_where_there_is_much_curves_get_coarser_and_at_last_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = rows(range(1000), **{"loss/d": 0.0, "loss/g": 1.0})
    folder = run_folder(tmp_path / "a", 0, written + rows(range(0, 1000, 100), **{FID: 20.0}), best=9.0, last=10.0)
    monkeypatch.setattr(report, "VALUES", 10 + 2 * 3 * 50)
    got = made(folder)
    assert got.data["metrics"] == [FID, "loss/d", "loss/g"], "figures come first"
    lengths = {len(got.curve(0, key)["mean"]) for key in ("loss/d", "loss/g")}
    assert len(lengths) == 1 and 40 <= lengths.pop() <= 50
    assert len(got.curve(0, FID)["mean"]) == 10, "what is short stays exact"
    monkeypatch.setattr(report, "VALUES", 10 + 3 * report.LEAST)
    got = made(folder)
    assert got.data["metrics"] == [FID, "loss/d"]
    assert "Curves of loss/g are left out: name fewer runs to see them" in got.texts


def test_curves_of_unlike_protocols_are_two(tmp_path: Path) -> None:
    one = run_folder(tmp_path / "0", 0, rows([0, 1], **{FID: 3.0}), best=1.0, last=2.0)
    two = run_folder(tmp_path / "1", 1, rows([0, 1], **{FID: 3.0}), best=1.0, last=2.0, fingerprint="xyz")
    got = made(one, two)
    assert got.data["metrics"] == [f"{FID} [abc]", f"{FID} [xyz]"]
    assert {tuple(entry[:2]) for entry in got.data["curves"]} == {(0, 0), (1, 1)}
    assert any("several protocols, which do not compare" in text for text in got.texts)


def test_several_processes_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        run_folder(tmp_path / str(n), n, rows(range(900), n, **{"loss/d": 0.0}), {0: (n, n, n)}) for n in range(3)
    ]
    alone = made(*folders)
    monkeypatch.setattr(report, "ALONE", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    shared = made(*folders)
    assert shared.data == alone.data and shared.numbers == alone.numbers


def test_the_quantiles_are_scipys(tmp_path: Path) -> None:
    got = made(*(run_folder(tmp_path / str(n), n) for n in range(4)))
    assert got.data["t"] == pytest.approx([0, 0, *(stats.t.interval(0.95, n - 1)[1] for n in (2, 3, 4))], rel=1e-4)


# --- table, configs, runs --------------------------------------------------------------------------------------------


def test_the_table_has_means_and_intervals_of_scipy_and_shares_decimals(tmp_path: Path) -> None:
    values = {"hinge": [10.0, 11.0, 9.5], "wgan": [108.25]}
    folders = [
        run_folder(tmp_path / f"{loss}{seed}", seed, best=v, last=v + 1, loss={"name": loss})
        for loss, of_it in values.items()
        for seed, v in enumerate(of_it)
    ]
    got = made(*folders)
    half = stats.t.interval(0.95, 2, 0, stats.sem(values["hinge"]))[1]
    mean = np.mean(values["hinge"])
    cells = {attributes.get("title"): attributes for tag, attributes in got.tags if tag == "td"}
    cell = cells[f"{mean:.10g} ± {half:.4g}, n = 3"]
    assert float(cell["data-sort"] or "") == mean
    assert f"{mean:.1f}" in got.texts and f"± {half:.1f}" in got.texts and "108.2" in got.texts
    assert got.data["varying"] == ["loss.name"] and [group["name"] for group in got.data["groups"]] == list(values)
    assert [group["runs"] for group in got.data["groups"]] == [[0, 1, 2], [3]]


def test_configs_are_told_once_where_they_agree(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a", trick={"ema": {"name": "ema", "decay": 0.5}})
    b = run_folder(tmp_path / "b", loss={"name": "wgan"})
    data = made(a, b).data
    assert data["shared"]["model.name"] == "dcgan" and "loss.name" not in data["shared"]
    assert data["groups"][0]["config"]["trick.ema.decay"] == "0.5"
    assert data["groups"][1]["config"] == {"loss.name": "wgan", "trick": "none"}


def test_failed_running_and_unknown_runs_are_told_with_their_reasons(tmp_path: Path) -> None:
    broke = {"state": "failed", "step": 40, "reason": "loss/d is not finite"}
    beats = {"state": "running", "step": 7, "heartbeat_iso": "2026-01-01T00:00:00+00:00"}
    folders = [run_folder(tmp_path / "0", 0, status=broke), run_folder(tmp_path / "1", 1, status=beats)]
    folders.append(run_folder(tmp_path / "2", 2))
    (folders[-1] / "status.json").write_text("{")
    (folders[-1] / "metrics.jsonl").unlink()
    texts = made(*folders).texts
    for told in ("loss/d is not finite", "last sign of life 2026-01-01T00:00:00+00:00", "status.json cannot be read"):
        assert told in texts
    assert {"1 failed", "1 running", "1 unknown"} <= set(texts)


def test_published_figures_have_a_column_of_their_own(tmp_path: Path) -> None:
    published = {"paper": {"metric": FID, "value": 7.5, "protocol": "theirs", "source": "x"}}
    got = made(run_folder(tmp_path / "a", best=1.0, last=2.0, published=published))
    assert f"{FID} published" in "".join(got.texts) and "7.5 (paper)" in got.texts


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count, wanted", [(1, 1), (5, 9), (41, 6), (100, 7), (10, 1)])
def test_what_is_spread_is_even_and_has_both_ends(count: int, wanted: int) -> None:
    chosen = spread(count, wanted)
    assert len(chosen) == min(count, wanted) and chosen[-1] == count - 1
    gaps = np.diff(chosen)
    assert wanted < 2 or chosen[0] == 0
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_pictures_are_those_of_the_first_run_that_has_any(tmp_path: Path) -> None:
    shades = {step: (step, 255 - step, 0) for step in range(0, 201, 5)}
    run_folder(tmp_path / "0", 0)
    run_folder(tmp_path / "1", 1, pictures=shades)
    (tmp_path / "1" / "samples" / "memorization-0000100.png").write_bytes(b"")
    (tmp_path / "1" / "samples" / "0000000.png").write_bytes(b"not a picture")
    got = made(tmp_path / "0", tmp_path / "1")
    [entry] = got.data["pictures"]
    assert entry["run"] == 1 and entry["steps"][-1] == 200 and len(entry["steps"]) == report.MOMENTS - 1
    for step, url in zip(entry["steps"], entry["urls"], strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/webp;base64,"))))
        assert np.abs(np.subtract(picture.getpixel((20, 20)), shades[step])).max() <= 6  # type: ignore[arg-type]
    assert any("0000000.png: not a picture that can be read" in text for text in got.texts)
    assert any(text.startswith("Samples: 15 of 41 grids are here") for text in got.texts)


def test_too_many_pictures_are_thinned_and_the_last_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        run_folder(tmp_path / name, 0, pictures=dict.fromkeys(range(8), (7, 0, 0)), loss={"name": name})
        for name in ("a", "b")
    ]
    size = len(report.reduced(folders[0] / "samples" / "0000007.png") or b"")
    monkeypatch.setattr(report, "TEXT", 0)
    runs = read(folders)
    taken = len(report._library()[1]) + len(report.contents(runs, *groups(runs)).numbers)
    monkeypatch.setattr(report, "PAGE", taken + int(4.9 * size / 3 * 4))
    assert [entry["steps"] for entry in made(*folders).data["pictures"]] == [[0, 7], [0, 7]]
    monkeypatch.setattr(report, "PAGE", taken + int(1.5 * size / 3 * 4))
    got = made(*folders)
    assert [(entry["group"], entry["steps"]) for entry in got.data["pictures"]] == [(0, [7])]
    assert "Samples: of 1 of 2 groups there are none here" in got.texts


# --- effects ---------------------------------------------------------------------------------------------------------

EFFECT = {
    "part": "trick.ema", "compared": "in the full recipe", "plus": ["full"], "minus": ["full-ema"], "figure": FID,
    "at": "last", "verdict": "helps", "finding": {"mean": -3.25, "p": 0.01, "interval": {"low": -4.5, "high": -2.0, "alpha": 0.05}},
}  # fmt: skip


def test_effects_of_an_ablation_are_read_and_told(tmp_path: Path) -> None:
    lone = {**EFFECT, "part": "topk", "at": "best", "finding": {"mean": 1.5, "interval": None}, "verdict": "one pair"}
    lost = {**EFFECT, "part": "r1", "figure": "kid", "finding": None, "verdict": "lost"}
    (tmp_path / "report.json").write_text(json.dumps({"better": {FID: "lower"}, "effects": [EFFECT, lone, lost]}))
    found = effects(tmp_path)
    assert found == [
        Effect("trick.ema in the full recipe", FID, "last", -3.25, -4.5, -2.0, "helps", "lower"),
        Effect("topk in the full recipe", FID, "best", 1.5, None, None, "one pair", "lower"),
        Effect("r1 in the full recipe", "kid", "last", None, None, None, "lost", ""),
    ]
    got = made(run_folder(tmp_path / "a"), effects=found)
    assert {"trick.ema in the full recipe", "helps", "-3.25", "-4.5", "-2", "+1.5", "one pair", "lost"} <= set(
        got.texts
    )
    assert got.data["effects"][0]["mean"] == -3.25 and got.data["effects"][0]["low"] == -4.5


@pytest.mark.parametrize("content", ["{", "[]", '{"effects": [{"part": "a"}]}', '{"effects": 3}'])
def test_a_damaged_report_of_an_ablation_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    told: list[str] = []
    assert effects(tmp_path, told.append) == [] and "not the report of an ablation" in told[0]
    assert effects(tmp_path / "nowhere", told.append) == [] and len(told) == 1


# --- what is untrusted -----------------------------------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&lt;<!--"


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    status = {"state": EVIL, "step": 1, "reason": EVIL}
    evil = []
    for name in "ab":
        published, parts = {EVIL: {"metric": EVIL, "value": 1}}, {"loss": {"name": EVIL + name}, "trick": {EVIL: {}}}
        written, shades = rows([0, 1], **{EVIL: 1.0}), {0: (1, 2, 3)}
        evil.append(
            run_folder(tmp_path / name, EVIL, written, shades, status=status, published=published, **parts)  # type: ignore[arg-type]
        )
    text = page(read(evil), [Effect(EVIL, EVIL, "best", 1.0, None, None, EVIL)], [EVIL])
    got = Page(text)
    plain = [tag for tag, _ in made(run_folder(tmp_path / "c"), run_folder(tmp_path / "d", steps=7)).tags]
    assert [attributes.get("id") for attributes, _ in got.scripts] == ["data", "numbers", "library", None]
    assert {tag for tag, _ in got.tags} - {"input", "output"} <= set(plain) | {
        "ul",
        "li",
        "select",
        "option",
        "fieldset",
        "legend",
    }
    assert not any(name.startswith("on") for _, attributes in got.tags for name in attributes)
    assert EVIL in got.data["metrics"] and EVIL in got.texts


def test_only_the_pages_own_scripts_may_run_and_nothing_is_fetched(tmp_path: Path) -> None:
    got = made(run_folder(tmp_path / "a", 0, rows([0, 1], **{"loss/d": 0.0}), {0: (1, 2, 3)}))
    [policy] = [a["content"] or "" for tag, a in got.tags if tag == "meta" and a.get("http-equiv")]
    assert policy.startswith("default-src 'none';") and "connect-src" not in policy
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (got.scripts[-1][1], got.library)
    ]
    [allowed] = [part.split()[1:] for part in policy.split(";") if part.split()[0] == "script-src"]
    assert allowed == [f"'sha256-{digest}'" for digest in digests]
    addresses = [a[key] or "" for _, a in got.tags for key in ("src", "href") if key in a]
    assert addresses and all(address.startswith("#") for address in addresses)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_tells_what_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    run_folder(study / "0", 0, rows([0, 1], **{FID: 3.0}), best=3.0, last=3.0)
    (run_folder(study / "1") / "config.yaml").write_text("a: [")
    (study / "report.json").write_text(json.dumps({"effects": [EFFECT]}))
    out = tmp_path / "report.html"
    assert cli.main(["compare", str(study), "--html", str(out)]) == 0
    got = Page(out.read_text(encoding="utf-8"))
    assert any("1: cannot be read" in text for text in got.texts) and "helps" in got.texts
    assert "1: cannot be read" in capsys.readouterr().err
    assert len(out.read_bytes()) < 2_200_000
    assert cli.main(["compare", str(study), "--html", str(tmp_path / "no" / "x.html")]) == 2


def test_a_missing_library_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder(tmp_path / "a")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "plotly" else name)
    assert cli.main(["compare", str(tmp_path / "a"), "--html", str(tmp_path / "x.html")]) == 2
    assert capsys.readouterr().err == 'gantrick compare: error: --html: needs plotly; pip install "gantrick[report]"\n'
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ({}, "all runs"),
        ({"trick": "none", "regularizer": "none"}, "bare"),
        ({"trick": "none", "regularizer": "r1"}, "r1"),
        ({"loss.name": "hinge", "trick": "ema+topk", "optimizer.lr": "0.1"}, "hinge · ema+topk · optimizer.lr=0.1"),
    ],
)
def test_what_a_group_is_called(label: dict[str, str], name: str) -> None:
    assert report._name(label) == name
