"""What `gantrick plan` prints, word for word; a change of the plan is a change of what runs do, and is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

import gantrick
from gantrick.gan import plan

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("wgan_ct_cascading", ["loss=wgan_ct", "trick=cascading"]),
        ("sngan_cifar10", ["experiment=sngan_cifar10", "trick=[spectral_norm,ema]", "extractor=cifar10_cnn"]),
        ("incomplete_recipe", ["loss=wgan_ct", "regularizer=[r1]", "dataset=ring", "regularizer.r1.interval=4"]),
    ],
)
def test_plan(name: str, overrides: list[str]) -> None:
    assert plan(gantrick.compose(overrides)) == (GOLDEN / f"plan_{name}.txt").read_text(encoding="utf-8")
