from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from gantrick import registry
from gantrick.dataset.ring import Ring
from gantrick.types import ConfigError, DataShape

YAML = Path(__file__).parents[2] / "configs" / "dataset" / "ring.yaml"
LEVEL = 1e-6  # each test of a fixed stream; another stream would fail one with this probability


def test_centers_are_the_roots_of_unity() -> None:
    ring = Ring(modes=8, radius=2.0)
    assert ring.centers.shape == (8, 2) and ring.centers.dtype == torch.float32
    points = ring.centers[:, 0].numpy() + 1j * ring.centers[:, 1].numpy().astype(np.complex128)
    np.testing.assert_allclose((points / 2) ** 8, np.ones(8), atol=1e-6)
    assert len(set(np.round(points, 3))) == 8
    assert abs(points[0] - 2) < 1e-7


def test_points_are_a_mixture_of_equal_round_gaussians() -> None:
    ring = Ring()
    found = ring.load()
    assert found.labels is not None and found.images.dtype == torch.float32 and found.images.shape == (100_000, 2)
    counts = np.bincount(found.labels.numpy(), minlength=8)
    assert stats.chisquare(counts).pvalue > LEVEL
    angles = 2 * math.pi * found.labels.numpy() / 8
    offsets = found.images.numpy() - np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for axis in range(2):
        assert stats.kstest(offsets[:, axis] / 0.01, "norm").pvalue > LEVEL
    assert stats.kstest((offsets**2).sum(axis=1) / 0.01**2, stats.chi2(2).cdf).pvalue > LEVEL
    # the same test sees a spread that is 3 % off
    assert stats.kstest((offsets**2).sum(axis=1) / 0.0103**2, stats.chi2(2).cdf).pvalue < LEVEL


def test_drawn_once_from_streams_of_its_own() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = Ring().load()
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.random.get_rng_state()
    again, test = Ring().load(), Ring().load("test")
    assert torch.equal(first.images, again.images)
    assert not torch.equal(test.images, first.images)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_shape_and_settings() -> None:
    assert Ring(modes=3).data == DataShape((2,), 3) and Ring(std=0.02).std == 0.02
    assert len(Ring(samples=7).load("test")) == 7
    with pytest.raises(ConfigError, match="std: must be above 0"):
        registry.create("dataset", "ring", {"std": 0})


def test_the_config_names_every_setting_with_its_default() -> None:
    config = yaml.safe_load(YAML.read_text())["dataset"]
    assert config == {"name": "ring", "modes": 8, "radius": 1.0, "std": 0.01, "samples": 100_000}
    made = registry.create("dataset", config.pop("name"), config)
    assert torch.equal(made.centers, Ring().centers) and (made.std, made.samples) == (Ring().std, Ring().samples)
