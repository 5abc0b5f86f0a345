from __future__ import annotations

import importlib
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from measuring import Measured
from PIL import Image
from torch import Tensor

from gantrick import registry
from gantrick.metric.modes import CENTRE, FAKE, REAL, Modes, count
from gantrick.types import Dataset, DataShape, GantrickError, Samples


class Corners(Dataset):
    """Gaussians at the four corners of a square of side 2."""

    def __init__(self, std: float = 0.1):
        self.centers = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        self.std = std

    @property
    def data(self) -> DataShape:
        return DataShape((2,), 4)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        return Samples(drawn(self, 4000))


class Pictures(Dataset):
    @property
    def data(self) -> DataShape:
        return DataShape((1, 8, 8))

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        raise NotImplementedError


def drawn(corners: Corners, samples: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (samples,), generator=stream)
    return corners.centers[labels] + corners.std * torch.randn(samples, 2, generator=stream)


def judged(dataset: Dataset, generated: Tensor, folder: Path | None = None, **more: Any) -> Measured:
    return Measured(dataset, generated, folder=folder, step=120, **more)


def naive(points: Tensor, centers: Tensor, radius: float) -> dict[str, float]:
    """One point after the other."""
    hits: Counter[int] = Counter()
    for x, y in points.tolist():
        distances = [math.hypot(x - a, y - b) for a, b in centers.tolist()]
        if min(distances) <= radius:
            hits[distances.index(min(distances))] += 1
    total = sum(hits.values())
    kl = sum(n / total * math.log(n / total * len(centers)) for n in hits.values()) if total else math.log(len(centers))
    share = total / len(points)
    return {"covered": len(hits), "high_quality": share, "kl": kl, "score": len(hits) + share}


def test_the_config_says_what_the_signature_says() -> None:
    text = (Path(__file__).parents[2] / "configs/metric/modes.yaml").read_text()
    assert text.splitlines()[0] == "# @package metric.modes"
    yaml = importlib.import_module("yaml")
    options = yaml.safe_load(text)
    assert options.pop("name") == "modes"
    metric = registry.create("metric", "modes", options)
    assert isinstance(metric, Modes)
    assert vars(metric) == vars(Modes())
    assert set(options) == {"samples", "radius_stds"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.02, 0.3, 1.5])
def test_the_figures_are_those_of_a_naive_loop(seed: int, spread: float) -> None:
    stream = torch.Generator().manual_seed(seed)
    centers = torch.rand(6, 2, generator=stream) * 4
    at = torch.randint(5, (200,), generator=stream)  # the last centre is left out
    points = centers[at] + spread * torch.randn(200, 2, generator=stream)
    found = count(points, centers, 0.3)
    assert found == pytest.approx(naive(points, centers, 0.3), rel=1e-12, abs=1e-12)


def test_points_made_by_hand() -> None:
    points = torch.tensor([[1.0, 1.0], [1.25, 1.0], [1.0, 1.35], [1.0, -0.75], [0.0, 0.0], [50.0, 50.0]])
    values = Modes(samples=6).evaluate(judged(Corners(), points)).values  # 3 std are 0.3
    assert values["modes/covered"] == 2  # (1, 1) twice, (1, −1) once; 0.35 away is too far
    assert values["modes/high_quality"] == 0.5
    assert values["modes/score"] == 2.5
    assert values["modes/kl"] == pytest.approx(2 / 3 * math.log(8 / 3) + 1 / 3 * math.log(4 / 3), rel=1e-12)
    assert Modes(samples=6, radius_stds=4.0).evaluate(judged(Corners(), points)).values["modes/high_quality"] == 4 / 6
    assert Modes(samples=2).evaluate(judged(Corners(), points)).values["modes/score"] == 2.0


def test_no_sample_of_quality() -> None:
    points = torch.tensor([[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
    values = Modes(samples=3).evaluate(judged(Corners(), points)).values
    assert values == {"modes/covered": 0, "modes/high_quality": 0, "modes/kl": math.log(4), "modes/score": 0}


def test_what_is_not_finite_counts_against_quality() -> None:
    points = torch.tensor([[1.0, 1.0], [math.nan, math.nan], [1.0, math.nan], [-math.inf, 1.0]])
    assert count(points, Corners().centers, 0.3)["high_quality"] == 0.25


def test_a_perfect_generator() -> None:
    """Of a round Gaussian in the plane 1 − e^(−9/2) lies within 3 std; five standard errors of 20,000 draws."""
    corners = Corners()
    values = Modes(samples=20_000).evaluate(judged(corners, drawn(corners, 20_000, seed=1))).values
    expected = 1 - math.exp(-4.5)
    assert values["modes/covered"] == 4
    assert abs(values["modes/high_quality"] - expected) < 5 * math.sqrt(expected * (1 - expected) / 20_000)
    assert 0 <= values["modes/kl"] < 1e-3  # (M − 1) / 2N = 7.5e-5 is its mean


def test_one_more_mode_beats_any_quality() -> None:
    centers = Corners().centers
    one_each = torch.cat([centers, torch.zeros(996, 2)])
    three_well = centers[:3].repeat(400, 1)
    assert count(one_each, centers, 0.3)["score"] > count(three_well, centers, 0.3)["score"]
    assert Modes().primary == "modes/score"
    assert not Modes.lower_is_better


def test_the_protocol_says_how_the_figure_was_made() -> None:
    points = drawn(Corners(), 500)
    plain = Modes(samples=400).evaluate(judged(Corners(), points)).protocol
    assert {k: v for k, v in plain.items() if k != "fingerprint"} == {
        "modes": 4,
        "extent": 1.0,
        "std": 0.1,
        "radius_stds": 3.0,
        "fakes": 400,
        "quantisation": "none",
        "generator": "ema",
    }
    others = {
        Modes(samples=401).evaluate(judged(Corners(), points)).protocol["fingerprint"],
        Modes(samples=400, radius_stds=2.0).evaluate(judged(Corners(), points)).protocol["fingerprint"],
        Modes(samples=400).evaluate(judged(Corners(), points, weights="raw")).protocol["fingerprint"],
        Modes(samples=400).evaluate(judged(Corners(0.2), points)).protocol["fingerprint"],
        plain["fingerprint"],
    }
    assert len(others) == 5
    assert Modes(samples=400).evaluate(judged(Corners(), drawn(Corners(), 500, seed=9))).protocol == plain


def colours(path: Path) -> tuple[Counter[tuple[int, ...]], Image.Image]:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    pixels = picture.getcolors(picture.width * picture.height) or []
    return Counter({colour: times for times, colour in pixels}), picture


def test_the_picture(tmp_path: Path) -> None:
    corners = Corners()
    fakes = corners.centers[:1] + 0.05 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    figures = Modes(samples=300).evaluate(judged(corners, fakes, tmp_path / "samples"))
    assert figures.pictures == (tmp_path / "samples" / "modes-0000120.png",)
    found, picture = colours(figures.pictures[0])
    white = found[(255, 255, 255)]
    assert 0.5 < white / picture.size[0] / picture.size[1] < 0.99
    assert min(found[REAL], found[FAKE]) > 100  # whole pixels of each; those at the rims are mixtures
    assert len(found) > 50
    # blue is at the one mode that is drawn from: the upper right, y upwards
    side = picture.size[0]
    blue = [(x, y) for x in range(side) for y in range(side) if picture.getpixel((x, y)) == FAKE]
    assert min(x for x, _ in blue) > side / 2 > max(y for _, y in blue)
    # reds are the rims of four circles: one in each quarter
    red = {(x > side / 2, y > side / 2) for x in range(side) for y in range(side) if picture.getpixel((x, y)) == CENTRE}
    assert len(red) == 4


def test_the_frame_of_the_picture_is_that_of_the_reals(tmp_path: Path) -> None:
    """Fakes out of it, or not finite, are not drawn and move nothing."""
    wild = torch.tensor([[1e30, 0.0], [0.0, -1e4], [math.nan, 0.0], [math.inf, -math.inf]])
    (path,) = Modes(samples=4).evaluate(judged(Corners(), wild, tmp_path / "wild")).pictures
    (none,) = Modes(samples=4).evaluate(judged(Corners(), torch.full((4, 2), 9.0), tmp_path / "none")).pictures
    assert path.read_bytes() == none.read_bytes()
    assert colours(path)[0][FAKE] == 0


def test_no_folder_no_picture() -> None:
    assert Modes(samples=4).evaluate(judged(Corners(), drawn(Corners(), 4))).pictures == ()


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_the_shipped_mixtures_are_counted(name: str) -> None:
    dataset = registry.create("dataset", name, {})
    assert Modes().check(dataset) == []
    points = dataset.load("test").images
    values = Modes(samples=2500).evaluate(judged(dataset, points)).values
    assert values["modes/covered"] == len(dataset.centers)
    assert values["modes/high_quality"] > 0.98


def test_check_asks_for_known_modes() -> None:
    (fault,) = Modes().check(Pictures())
    assert fault.startswith("metric.modes: needs a data set of points that knows its modes")
    assert "dataset=ring" in fault
    with pytest.raises(GantrickError, match="knows its modes"):
        Modes().evaluate(judged(Pictures(), torch.zeros(4, 2)))
