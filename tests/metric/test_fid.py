from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from measuring import Measured
from torch import Tensor

from gantrick import registry
from gantrick.metric import features
from gantrick.metric.fid import FID
from gantrick.types import ConfigError, Dataset, DataShape, Samples


class Pictures(Dataset):
    """Uniform noise; the test split is brighter."""

    def __init__(self, count: int = 300, shape: tuple[int, ...] = (1, 8, 8)):
        self.count, self.shape = count, shape

    @property
    def data(self) -> DataShape:
        return DataShape(self.shape)

    def load(self, split: Literal["train", "test"] = "train") -> Samples:
        return Samples(noise(self.count, 0 if split == "train" else 60, self.shape))


def noise(count: int, low: int, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0) -> Tensor:
    return torch.randint(low, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def by_hand(reals: Tensor, fakes: Tensor, extractor: str = "digits_cnn") -> float:
    """Both sets through the extractor at once; tr (Σ₁ Σ₂)^½ as the nuclear norm of X₁ X₂ᵀ over the centred samples.

    Not by scipy's sqrtm: some units never fire on noise, and of a singular matrix it warns that it cannot be trusted.
    """
    net = features.extractor(extractor)
    a, b = (net(images).double().numpy() for images in (reals, fakes))
    x, y = ((f - f.mean(0)) / (len(f) - 1) ** 0.5 for f in (a, b))
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + (x * x).sum() + (y * y).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


def test_the_config_says_what_the_signature_says() -> None:
    text = (Path(__file__).parents[2] / "configs/metric/fid.yaml").read_text()
    assert text.splitlines()[0] == "# @package metric.fid"
    yaml = importlib.import_module("yaml")
    options = yaml.safe_load(text)
    assert options.pop("name") == "fid"
    assert options["extractor"] == "${extractor}", "the data set's choice"
    options["extractor"] = "inception"
    metric, default = registry.create("metric", "fid", options), FID()
    assert isinstance(metric, FID)
    assert vars(metric) == vars(default)
    assert set(options) == {"extractor", "samples", "split", "weights", "resizer", "batch_size"}


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_the_figure_is_the_distance_of_the_features(batch_size: int) -> None:
    fakes = noise(250, 40, seed=1)
    figures = FID("digits_cnn", samples=250, batch_size=batch_size).evaluate(Measured(Pictures(), fakes))
    assert set(figures.values) == {"fid/digits_cnn"}
    # batches of another size are another order of float32 sums in the network
    assert figures.values["fid/digits_cnn"] == pytest.approx(by_hand(Pictures().load().images, fakes), rel=1e-5)


def test_reals_are_at_no_distance_from_themselves_and_fakes_further_off_the_more_they_differ() -> None:
    found = [
        FID("digits_cnn", samples=300).evaluate(Measured(Pictures(), fakes)).values["fid/digits_cnn"]
        for fakes in (Pictures().load().images, noise(300, 30), noise(300, 90))
    ]
    assert found[0] < 1e-6
    assert 1e-2 < found[1] < found[2]


def test_the_reference_is_measured_once_and_kept() -> None:
    metric, judged = FID("digits_cnn", samples=100), Measured(Pictures(), noise(200, 40))
    first = metric.evaluate(judged)
    judged.step, judged.generated, judged.held = 6, noise(200, 90), {}
    second = metric.evaluate(judged)
    assert judged.asked == ["train"]
    assert second.values != first.values
    assert second.protocol == first.protocol
    FID("digits_cnn", samples=100, split="test").evaluate(judged)
    assert judged.asked == ["train", "test"]
    fresh = Measured(Pictures(), noise(200, 90))
    assert metric.evaluate(fresh).values == second.values


def test_the_protocol_says_how_the_figure_was_made() -> None:
    protocol = FID("digits_cnn", samples=120).evaluate(Measured(Pictures(), noise(200, 40), weights="raw")).protocol
    net = features.extractor("digits_cnn")
    assert {k: v for k, v in protocol.items() if k not in ("fingerprint", "reference")} == {
        "extractor": "digits_cnn",
        "extractor_fingerprint": net.fingerprint,
        "resizer": net.resizer,
        "split": "train",
        "reference_count": 300,
        "fakes": 120,
        "quantisation": "uint8",
        "generator": "raw",
    }
    assert len(protocol["fingerprint"]) == 12


def test_unlike_protocols_have_unlike_fingerprints() -> None:
    def fingerprint(dataset: Dataset, weights: str = "ema", **options: Any) -> str:
        metric = FID("digits_cnn", **({"samples": 120} | options))
        return str(metric.evaluate(Measured(dataset, noise(200, 40), weights)).protocol["fingerprint"])

    class Others(Pictures):
        """As many images of the same shape, one pixel of one of them different."""

        def load(self, split: Literal["train", "test"] = "train") -> Samples:
            images = super().load(split).images
            images[-1, 0, 0, 0] ^= 1
            return Samples(images)

    plain = fingerprint(Pictures())
    assert plain == fingerprint(Pictures(), batch_size=50)
    others = {
        fingerprint(Pictures(), weights="raw"),
        fingerprint(Pictures(), samples=121),
        fingerprint(Pictures(), split="test"),
        fingerprint(Pictures(299)),
        fingerprint(Others()),
    }
    assert len(others | {plain}) == 6


@pytest.mark.parametrize(("reals", "fakes", "below"), [(97, 97, False), (96, 200, True), (200, 96, True)])
def test_no_more_samples_than_features_is_said(reals: int, fakes: int, below: bool) -> None:
    figures = FID("digits_cnn", samples=fakes).evaluate(Measured(Pictures(reals), noise(200, 40)))  # it has 96 features
    assert figures.protocol.get("rank") == ("below full" if below else None)
    assert figures.values["fid/digits_cnn"] > 0


@pytest.mark.slow
def test_random_inception_reports_under_its_own_name() -> None:
    metric = FID("random_inception", samples=3)
    figures = metric.evaluate(Measured(Pictures(3), noise(3, 40)))
    assert set(figures.values) == {"fid/random_inception"} == {metric.primary}


def test_the_primary_figure() -> None:
    assert FID().primary == "fid/inception"
    assert FID("random_inception").primary == "fid/random_inception"
    assert FID.lower_is_better


def test_a_misspelt_extractor_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^metric\.fid\.extractor: .*digit_cnn; did you mean digits_cnn\?$"):
        FID("digit_cnn")


def test_one_sample_is_too_few() -> None:
    with pytest.raises(ConfigError, match=r"metric\.fid\.samples: must be at least 2, not 1"):
        registry.create("metric", "fid", {"samples": 1})


def test_check_asks_for_images() -> None:
    assert FID("digits_cnn").check(Pictures(shape=(2,))) == [
        "metric.fid: needs images, and the data are points; choose metric=modes"
    ]
    (fault,) = FID("digits_cnn").check(Pictures(shape=(4, 8, 8)))
    assert "1 or 3 channels, and these have 4" in fault
    assert FID("digits_cnn").check(Pictures()) == []


def test_check_names_missing_inception_weights_where_they_go_and_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    assert FID().check(Pictures()) == [], "a check fetches nothing"
    with pytest.raises(ConfigError) as refused:
        FID().prepare()
    (fault,) = refused.value.faults
    assert fault.startswith("metric.fid: inception found no weights and could not download them (no network)")
    assert "pt_inception-2015-12-05-6726825d.pth" in fault
    assert str(tmp_path / "hub" / "checkpoints") in fault
    assert "metric.fid.weights=PATH" in fault
    assert "metric.fid.extractor=cifar10_cnn or digits_cnn or mnist_cnn" in fault
    assert "\n" not in fault
    with pytest.raises(ConfigError, match="found no weights"):
        FID().evaluate(Measured(Pictures(), noise(10, 0)))


def test_weights_from_a_file_are_used_and_bad_ones_refused(tmp_path: Path) -> None:
    state = features.extractor("digits_cnn").state_dict()
    state["body.0.conv.weight"] = state["body.0.conv.weight"] * 0.5
    torch.save(state, tmp_path / "other.pt")
    judged = Measured(Pictures(), noise(200, 40))
    shipped = FID("digits_cnn", samples=200).evaluate(judged)
    metric = FID("digits_cnn", samples=200, weights=str(tmp_path / "other.pt"))
    other = metric.evaluate(judged)
    assert other.values != shipped.values
    assert other.values == metric.evaluate(Measured(Pictures(), noise(200, 40))).values  # not with the cached reference
    assert other.protocol["fingerprint"] != shipped.protocol["fingerprint"]
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "none.pt"))):
        FID("digits_cnn", weights=str(tmp_path / "none.pt")).prepare()
    torch.save({"another": torch.zeros(3)}, tmp_path / "bad.pt")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "bad.pt"))):
        FID("digits_cnn", weights=str(tmp_path / "bad.pt")).prepare()
