from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy import stats

from gantrick import registry
from gantrick.dataset.grid import Grid
from gantrick.types import DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "grid.yaml"
LEVEL = 1e-6  # each test of a fixed stream; another stream would fail one with this probability


def test_centers_are_the_published_lattice() -> None:
    wanted = [[float(x), float(y)] for x, y in product([-4, -2, 0, 2, 4], repeat=2)]
    assert Grid().centers.tolist() == wanted
    assert Grid(side=2, spacing=1.0).centers.tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]


def test_points_are_a_mixture_of_equal_round_gaussians() -> None:
    found = Grid().load()
    assert found.labels is not None
    labels, points = found.labels.numpy(), found.images.numpy().astype(np.float64)
    nearest = np.round(points / 2).clip(-2, 2)
    np.testing.assert_array_equal(labels, (nearest[:, 0] + 2) * 5 + nearest[:, 1] + 2)
    assert stats.chisquare(np.bincount(labels, minlength=25)).pvalue > LEVEL
    squares = ((points - 2 * nearest) ** 2).sum(axis=1)
    assert stats.kstest(squares / 0.05**2, stats.chi2(2).cdf).pvalue > LEVEL
    within = int((squares < (3 * 0.05) ** 2).sum())  # what the metric `modes` calls high quality
    assert stats.binomtest(within, len(points), 1 - np.exp(-4.5)).pvalue > LEVEL


def test_splits_differ_and_repeat() -> None:
    assert torch.equal(Grid().load("test").images, Grid().load("test").images)
    assert not torch.equal(Grid().load("train").images, Grid().load("test").images)
    assert Grid().data == DataShape((2,), 25)


def test_the_config_names_every_setting_with_its_default() -> None:
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert config == {"name": "grid", "side": 5, "spacing": 2.0, "std": 0.05, "samples": 100_000}
    made = registry.create("dataset", config.pop("name"), config)
    assert torch.equal(made.centers, Grid().centers) and (made.std, made.samples) == (Grid().std, Grid().samples)
