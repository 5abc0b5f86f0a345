"""The page in a browser: what sorting, the slider, the axes and the chips do, without a request or a message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import FID, rows, run_folder
from scipy import stats

from gantrick import cli

for name in ("plotly", "orjson", "jinja2"):
    pytest.importorskip(name, reason="of the extra `report`")
browsing = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

BEST = {"hinge": [30.0, 34.0, 29.0], "<b>wgan</b>": [101.0, 99.5], "lsgan": [8.5]}
SHADES = {0: (255, 0, 0), 40: (0, 255, 0), 80: (0, 0, 255)}
PACE = {"hinge": 36.0, "<b>wgan</b>": 72.0, "lsgan": 36.0}  # seconds a step
EFFECT = {
    "part": "ema", "figure": FID, "at": "last", "verdict": "helps",
    "finding": {"mean": -3.0, "interval": {"low": -4.0, "high": -2.0}},
}  # fmt: skip
LONE = {**EFFECT, "part": "<i>topk</i>", "finding": {"mean": -3.0, "interval": None}}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for loss, best in BEST.items():
        for seed, value in enumerate(best):
            curve = rows(range(0, 401, 4), seed, PACE[loss] + seed, **{"loss/d": 1.0})
            curve += rows(range(0, 401, 40), seed, PACE[loss] + seed, **{FID: lambda step, v=value: v + 400 - step})
            at = folder / f"{len(list(folder.iterdir()))}"
            run_folder(at, seed, curve, SHADES, value, value + 1, loss={"name": loss})
    (folder / "report.json").write_text(json.dumps({"effects": [EFFECT, LONE], "better": {FID: "lower"}}))
    assert cli.main(["compare", str(folder), "--html", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # tests may run as root
        yield running
        running.close()


@pytest.fixture(scope="module")
def opened(browser: Any, file: Path) -> Iterator[tuple[Any, list[str]]]:
    page, seen = browser.new_page(viewport={"width": 1200, "height": 800}), list[str]()
    page.set_default_timeout(15_000)
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("request", lambda request: seen.append(f"request: {request.url[:60]}"))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=30_000)
    yield page, seen
    page.close()


@pytest.fixture
def page(opened: tuple[Any, list[str]], file: Path) -> Iterator[Any]:
    """The page, which must have fetched nothing but itself and said nothing when the test ends."""
    yield opened[0]
    left = [what for what in opened[1] if not what.startswith(("request: data:", "request: blob:"))]
    assert left == [f"request: {file.as_uri()[:60]}"]


def strokes(page: Any) -> dict[str, dict[str, Any]]:
    """The lines that are drawn, by their names."""
    drawn = page.evaluate("document.getElementById('curve').data.map(({name, x, y, fill}) => ({name, x, y, fill}))")
    return {trace["name"]: trace for trace in drawn if trace.get("name")}


def first_column(page: Any, column: int) -> list[str]:
    return [row.locator("th, td").nth(column).inner_text() for row in page.locator("#table tbody tr").all()]


def test_a_click_on_a_header_sorts_and_a_second_one_turns_round(page: Any) -> None:
    header = page.get_by_role("columnheader", name=f"{FID} best")
    means = {loss: np.mean(best) for loss, best in BEST.items()}
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert first_column(page, 1) == sorted(means, key=means.__getitem__), "by number, not by text: 8.5 before 100"
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert first_column(page, 1) == sorted(means, key=means.__getitem__, reverse=True)


def test_the_slider_changes_the_pictures(page: Any) -> None:
    def colour() -> list[int]:
        return page.evaluate(  # type: ignore[no-any-return]
            """async () => { const image = document.querySelector('#grids img'); await image.decode();
            const canvas = Object.assign(document.createElement('canvas'), {width: 9, height: 9});
            const context = canvas.getContext('2d'); context.drawImage(image, 0, 0, 9, 9);
            return [...context.getImageData(4, 4, 1, 1).data].slice(0, 3); }"""
        )

    slider = page.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "step 80"
    assert np.abs(np.subtract(colour(), SHADES[80])).max() < 12
    slider.focus()
    for step in (40, 0):
        page.keyboard.press("ArrowLeft")
        assert slider.get_attribute("aria-valuetext") == f"step {step}"
        assert np.abs(np.subtract(colour(), SHADES[step])).max() < 12
    assert page.locator("#moment-step").inner_text() == "0"
    assert page.locator("figure:visible").count() == len(BEST)


def test_the_axes_change_the_curves(page: Any) -> None:
    page.locator("#metric").select_option(label=FID)
    page.get_by_label("steps", exact=True).check()
    assert strokes(page)["lsgan"]["x"] == list(range(0, 401, 40))
    page.get_by_label("images", exact=True).check()
    assert strokes(page)["lsgan"]["x"] == [64 * step for step in range(0, 401, 40)]
    page.get_by_label("hours", exact=True).check()
    assert strokes(page)["lsgan"]["x"] == pytest.approx([0.01 * step for step in range(0, 401, 40)])
    assert page.locator("#curve .xtitle").text_content() == "hours"
    page.locator("#metric").select_option(label="loss/d")
    assert len(strokes(page)["lsgan"]["x"]) == 101
    page.locator("#metric").select_option(label=FID)
    page.get_by_label("steps", exact=True).check()


def test_the_mean_and_the_band_over_seeds_are_scipys(page: Any) -> None:
    page.locator("#metric").select_option(label=FID)
    page.get_by_label("steps", exact=True).check()
    page.locator("#lines").select_option("interval")
    values = np.array([[v + 400 - step for step in range(0, 401, 40)] for v in BEST["hinge"]])
    low, high = stats.t.interval(0.95, 2, values.mean(0), stats.sem(values))
    assert strokes(page)["hinge"]["y"] == pytest.approx(values.mean(0), rel=2**-10)
    band = page.evaluate("document.getElementById('curve').data.find(({fill}) => fill === 'toself').y")
    assert band == pytest.approx([*high, *low[::-1]], rel=2**-9), "half precision, and an interval 4.3 times wider"
    page.locator("#lines").select_option("range")
    band = page.evaluate("document.getElementById('curve').data.find(({fill}) => fill === 'toself').y")
    assert band == pytest.approx([*values.max(0), *values.min(0)[::-1]], rel=2**-10)
    page.locator("#lines").select_option("runs")
    assert {f"hinge, seed {seed}" for seed in range(3)} <= set(strokes(page))
    page.locator("#lines").select_option("interval")


def test_seeds_of_unlike_pace_are_averaged_at_the_same_hours(page: Any) -> None:
    page.locator("#metric").select_option(label=FID)
    page.get_by_label("hours", exact=True).check()
    got = strokes(page)["hinge"]
    steps = np.arange(0, 401, 40)
    for x, y in zip(got["x"], got["y"], strict=True):
        ends = [(PACE["hinge"] + seed) * 400 / 3600 for seed in range(3)]
        lines = [
            np.interp(x, steps * (PACE["hinge"] + seed) / 3600, v + 400.0 - steps)
            for seed, v in enumerate(BEST["hinge"])
            if x <= ends[seed] * (1 + 1e-7)
        ]
        assert y == pytest.approx(np.mean(lines), rel=2**-9)
    page.get_by_label("steps", exact=True).check()


def test_chips_choose_what_is_shown(page: Any) -> None:
    chip = page.locator("#groups").get_by_role("button", name="<b>wgan</b>")
    assert chip.get_attribute("aria-pressed") == "true" and "&lt;b&gt;wgan&lt;/b&gt;" in strokes(page)
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false" and set(strokes(page)) == {"hinge", "lsgan"}
    assert page.locator("figure:visible").count() == 2 and page.locator("#config thead th").count() == 3
    page.get_by_role("button", name="none", exact=True).click()
    assert strokes(page) == {} and page.locator("figure:visible").count() == 0
    page.get_by_role("button", name="all", exact=True).click()
    assert len(strokes(page)) == 3


def test_configs_tell_what_differs(page: Any) -> None:
    lines = page.locator("#config tbody tr")
    assert [line.inner_text().split("\t") for line in lines.all()] == [["loss.name", *BEST]]
    page.get_by_label("keys without a difference too").check()
    assert "model.name" in page.locator("#config").inner_text()
    page.get_by_placeholder("part of a key").fill("STEPS")
    assert [line.inner_text().split("\t") for line in lines.all()] == [["steps", "100", "100", "100"]]
    page.get_by_placeholder("part of a key").fill("")
    page.get_by_label("keys without a difference too").uncheck()


def test_effects_are_drawn_with_their_intervals(page: Any) -> None:
    drawn = page.evaluate("(({x, error_x}) => ({x, error_x}))(document.getElementById('forest').data[0])")
    assert drawn["x"] == [-3, -3]
    assert drawn["error_x"]["array"] == drawn["error_x"]["arrayminus"] == [0, 1], "topk has no interval; ema is above"
    ticks = page.locator("#forest .ytick text").all_text_contents()
    assert sorted(ticks) == ["<i>topk</i>", "ema"]
    assert page.locator("#forest .xtitle").text_content() == f"change of {FID}, last (lower is better)"


def test_charts_offer_nothing_that_would_send_them_away(page: Any) -> None:
    offered = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(({dataset}) => dataset.title)")
    assert "Zoom in" in offered and not any("hare" in title or "loud" in title for title in offered)


def test_charts_fit_on_paper_and_come_back(page: Any) -> None:
    width = "document.querySelector('#curve .main-svg').clientWidth"
    before = page.evaluate(width)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(width) <= 700 < before
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_function(f"{width} === {before}")


def test_a_run_that_has_only_begun_makes_a_page_too(browser: Any, tmp_path: Path) -> None:
    run_folder(tmp_path / "a")
    (tmp_path / "a" / "metrics.jsonl").unlink()
    assert cli.main(["compare", str(tmp_path / "a"), "--html", str(tmp_path / "page.html")]) == 0
    page, errors = browser.new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    assert not errors and page.locator("h2").all_inner_texts() == ["Figures", "Runs"]
    page.close()


def test_it_is_readable_in_the_dark_and_on_a_phone(browser: Any, file: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "no sideways scrolling of the page"

    def luminance(colour: str) -> float:
        levels = np.array([float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]])
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(selector: str) -> float:
        style = "element => [getComputedStyle(element).color, getComputedStyle(document.body).backgroundColor]"
        a, b = (luminance(colour) for colour in page.locator(selector).first.evaluate(style))
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)

    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.05
    for selector in ("h1", "td", ".faint", "a[href='#runs']"):
        assert contrast(selector) >= 4.5, f"{selector}: WCAG's AA"
    context.close()
