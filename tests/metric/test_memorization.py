from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import Fixed, Lookup, Measured, digits, gaussian, looked_up
from PIL import Image
from scipy import stats
from torch import Tensor

from gantrick.metric.memorization import Memorization, copying
from gantrick.types import Samples


def evaluated(fakes: Tensor, folder: Path | None = None) -> tuple[dict[str, float], tuple[Path, ...]]:
    """Digits 0–700 are trained on; of the others nobody knows."""
    images = digits().images
    dataset = Fixed(Samples(images[:700]), Samples(images[1100:]))
    figures = Memorization("digits_cnn").evaluate(Measured(dataset, fakes, folder=folder))
    return {name.partition("/")[0]: value for name, value in figures.values.items()}, figures.pictures


def test_a_generator_that_copies_training_images_is_caught() -> None:
    images = digits().images
    honest, _ = evaluated(images[700:1100])
    stream = torch.Generator().manual_seed(0)
    noise = 8 * torch.randn(400, 1, 16, 16, generator=stream)
    for copies in (images[:400], (images[:400] + noise).clamp(0, 255).byte()):
        found, _ = evaluated(copies)
        assert found["memorization"] > 0.95
        assert found["copies"] > 0.8
    some, _ = evaluated(torch.cat([images[:80], images[700:1020]]))  # a fifth
    assert some["copies"] == pytest.approx(0.2 + 0.8 * honest["copies"], abs=0.02)
    assert honest["copies"] < 0.05


def test_new_images_are_not_accused() -> None:
    """Fakes and held-out images are of one kind: the statistic is that of Mann and Whitney, ½ within 3.9 of its errors."""
    n, m = 400, 337
    error = np.sqrt((n + m + 1) / (12 * n * m))
    found, _ = evaluated(digits().images[700:1100])
    assert abs(found["memorization"] - 0.5) < 3.9 * error


def test_noise_is_no_memory() -> None:
    noise = torch.randint(256, (300, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert evaluated(noise)[0] == {"memorization": pytest.approx(0, abs=0.05), "copies": 0}


def test_the_statistic_is_that_of_mann_and_whitney() -> None:
    stream = np.random.default_rng(0)
    fakes, held_out = stream.integers(0, 30, 80) / 10, stream.integers(5, 35, 120) / 10  # with ties
    expected = stats.mannwhitneyu(held_out, fakes).statistic / (80 * 120)
    found = copying(torch.from_numpy(fakes), torch.from_numpy(held_out))
    assert found["memorization"] == pytest.approx(expected, rel=1e-12)
    assert found["copies"] == np.mean(fakes < np.sort(held_out)[1])


def test_a_mirrored_copy_is_one_where_images_are_mirrored(tmp_path: Path) -> None:
    images = digits().images
    dataset = Fixed(Samples(images[:700]), Samples(images[1100:]))
    measured = Measured(dataset, images[:400].flip(-1), folder=tmp_path)
    missed = Memorization("digits_cnn").evaluate(measured)
    assert missed.values["copies/digits_cnn"] < 0.3 and "mirrored" not in missed.protocol
    dataset.flip = True  # by default as the data set's
    found = Memorization("digits_cnn").evaluate(measured)
    assert found.values["copies/digits_cnn"] == 1 and found.protocol["mirrored"] is True
    assert Memorization("digits_cnn", mirrored=False).evaluate(measured).values == missed.values
    dataset.flip = False
    asked = Memorization("digits_cnn", mirrored=True).evaluate(measured)
    assert asked.values == found.values and asked.protocol == found.protocol
    with Image.open(found.pictures[0]) as opened:
        pixels = np.asarray(opened)
    height = (len(pixels) - 2) // 2
    assert (pixels[2:height] == pixels[2 + height : 2 * height]).all(), "below each the training image as it was copied"


def test_the_distance_is_to_the_nearer_of_an_image_and_its_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """In features of one's own making: what is found in the mirror image of number n stands in a table of its own."""
    reals, fakes, held_out = gaussian(40, 3, 0), gaussian(30, 3, 1), gaussian(35, 3, 2)
    measured = looked_up(monkeypatch, reals, fakes, held_out)
    mirror = gaussian(40, 3, 4)
    mirror[0] = reals[0]  # byte 0 is its own mirror image
    table = torch.cat([reals, fakes, held_out])

    def embed(_: object, numbers: Tensor) -> Tensor:
        turned = numbers >= 256  # the byte of the number stands one column further to the right
        return torch.where(turned[:, None], mirror[(numbers // 256).long() % 40], table[numbers.long() % 256]).float()

    monkeypatch.setattr(Lookup, "embed", embed)
    values = Memorization("lookup", mirrored=True).evaluate(measured).values
    both = torch.cat([reals, mirror]).float().double()
    of_fakes, of_new = (torch.cdist(x.float().double(), both).amin(1) for x in (fakes, held_out))
    expected = stats.mannwhitneyu(of_new.numpy(), of_fakes.numpy()).statistic / (30 * 35)
    assert values["memorization/lookup"] == pytest.approx(expected, abs=1e-12)


def test_the_picture_has_each_copy_over_its_original(tmp_path: Path) -> None:
    images = digits().images
    fakes = images[700:900].clone()
    fakes[50:62] = images[30:42]
    (picture,) = evaluated(fakes, tmp_path / "samples")[1]
    assert picture == tmp_path / "samples" / "neighbours-0000003.png"
    with Image.open(picture) as opened:
        pixels = np.asarray(opened)
    height = (len(pixels) - 2) // 2
    assert (pixels[2:height] == pixels[2 + height : 2 * height]).all()
    assert len(np.unique(pixels)) > 10


def test_without_a_folder_there_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = looked_up(monkeypatch, gaussian(50, 3, 0), gaussian(30, 3, 1), gaussian(40, 3, 2))
    figures = Memorization("lookup", references=30).evaluate(measured)
    assert figures.pictures == ()
    assert {
        "reference_count": 30,
        "held_out_count": 30,
        "fakes": 30,
        "split": "train",
    }.items() <= figures.protocol.items()
    assert figures.protocol["held_out"] != figures.protocol["reference"]
