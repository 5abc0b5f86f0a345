"""Run folders written by hand, as a run leaves them, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

FID = "fid/digits_cnn"


def run_folder(
    folder: Path,
    seed: int = 0,
    rows: Iterable[Mapping[str, Any]] = (),
    pictures: Mapping[int, tuple[int, int, int]] | None = None,
    best: float | None = None,
    last: float | None = None,
    fingerprint: str = "abc",
    status: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A run: rows of metrics.jsonl, pictures as one colour by step, a figure at its best and at the end."""
    folder.mkdir(parents=True)
    made = {
        "steps": 100, "seed": seed, "model": {"name": "dcgan"}, "loss": {"name": "hinge"}, "regularizer": {},
        "trick": {}, "metric": {"fid": {"name": "fid"}}, **config,
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(made))
    (folder / "status.json").write_text(json.dumps(status or {"state": "finished", "step": 100, "reason": None}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if best is not None:
        protocol = {FID: {"fingerprint": fingerprint}}
        report = {
            k: {"step": 1, "figures": {FID: v}, "protocol": protocol} for k, v in (("best", best), ("last", last))
        }
        (folder / "evaluation.json").write_text(json.dumps(report))
    if pictures:
        (folder / "samples").mkdir()
        for step, colour in pictures.items():
            Image.new("RGB", (40, 40), colour).save(folder / "samples" / f"{step:07d}.png")
    return folder


def rows(steps: Iterable[int], seed: int = 0, pace: float = 36.0, **keys: Any) -> list[dict[str, Any]]:
    """Rows with their clocks, 64 images and `pace` seconds a step; a key's value is a function of the step, or noise."""
    stream = np.random.default_rng(seed)
    return [
        {"step": step, "images": 64 * step, "seconds": pace * step}
        | {key: value(step) if callable(value) else float(stream.normal(value)) for key, value in keys.items()}
        for step in steps
    ]
