from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from measuring import Fixed, Measured, digits

from gantrick.dataset.stacked_mnist import StackedMnist
from gantrick.metric.stacked_modes import StackedModes, compared, digit_shares
from gantrick.types import GantrickError, Samples

EVEN = torch.full((10,), 0.1).double()


def test_the_figures_are_those_of_a_naive_loop() -> None:
    stream = torch.Generator().manual_seed(0)
    shares = torch.rand(10, generator=stream, dtype=torch.float64) + 0.1
    shares /= shares.sum()
    seen = torch.randint(300, (2000,), generator=stream)
    counts = Counter(seen.tolist())
    real = {m: float(shares[m // 100] * shares[m // 10 % 10] * shares[m % 10]) for m in range(1000)}
    kl = sum(n / 2000 * math.log(n / 2000 / real[m]) for m, n in counts.items())
    covered, found = compared(seen, shares)
    assert covered == len(counts)
    assert found == pytest.approx(kl, rel=1e-12)


def test_its_ends() -> None:
    assert compared(torch.arange(1000), EVEN) == (1000, pytest.approx(0, abs=1e-12))
    assert compared(torch.zeros(50, dtype=torch.long), EVEN) == (1, pytest.approx(math.log(1000)))


def test_a_perfect_generator_is_off_by_999_in_2n() -> None:
    """2n·KL is χ² with 999 degrees of freedom: 999 ± 3.9 √1998 (false alarm 1e-4)."""
    seen = torch.randint(1000, (26_000,), generator=torch.Generator().manual_seed(0))
    covered, kl = compared(seen, EVEN)
    assert covered == 1000
    assert abs(2 * 26_000 * kl - 999) < 3.9 * math.sqrt(1998)


def test_the_shares_of_digits() -> None:
    assert digit_shares(torch.tensor([7, 123])).tolist() == pytest.approx(
        [2 / 6, 1 / 6, 1 / 6, 1 / 6, 0, 0, 0, 1 / 6, 0, 0]
    )


def stacked(numbers: torch.Tensor) -> torch.Tensor:
    """Pictures of real digits that read these numbers."""
    source = digits()
    of = [source.images[source.labels == digit] for digit in range(10)]
    read = torch.stack([numbers // 100, numbers // 10 % 10, numbers % 10], 1)
    return torch.stack([torch.cat([of[d][i % len(of[d])] for d in row]) for i, row in enumerate(read.tolist())])


def evaluated(numbers: torch.Tensor, generated: torch.Tensor) -> dict[str, float]:
    dataset = Fixed(Samples(torch.zeros(1000, 3, 16, 16).byte(), numbers))
    return dict(StackedModes(len(generated)).evaluate(Measured(dataset, generated)).values)


def test_each_channel_is_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the classifier of the digits at hand, which knows these."""
    from gantrick.metric import _features, features

    network = features.extractor("digits_cnn")
    monkeypatch.setattr(features, "extractor", lambda name, weights, **_: network)
    _features._extractors.clear()
    chosen = torch.arange(0, 1000, 7)
    values = evaluated(torch.arange(1000), stacked(chosen))
    assert values["modes/covered"] == pytest.approx(len(chosen), abs=2)
    assert values["modes/kl"] == pytest.approx(math.log(1000 / len(chosen)), abs=0.03)
    collapsed = evaluated(torch.arange(1000), stacked(chosen[:10].repeat(10)))
    assert collapsed["modes/covered"] == pytest.approx(10, abs=2)
    _features._extractors.clear()


def test_the_shipped_classifier_reads_mnist() -> None:
    metric = StackedModes(samples=4)
    assert metric.primary == "modes/kl" and metric.lower_is_better
    figures = metric.evaluate(
        Measured(
            Fixed(Samples(torch.zeros(1000, 3, 28, 28).byte(), torch.arange(1000))), torch.zeros(4, 3, 28, 28).byte()
        )
    )
    assert figures.values["modes/covered"] == 1
    assert {"extractor": "mnist_cnn", "fakes": 4, "modes": 1000, "generator": "ema"}.items() <= figures.protocol.items()
    assert figures.protocol["digits"] == [0.1] * 10


def test_refusals() -> None:
    assert StackedModes().check(StackedMnist()) == []
    (fault,) = StackedModes().check(Fixed(digits()))
    assert fault.startswith("metric.stacked_modes: needs pictures of three digits; choose dataset=stacked_mnist")
    with pytest.raises(GantrickError, match="a digit is missing"):
        evaluated(torch.zeros(1000, dtype=torch.long), torch.zeros(4, 3, 16, 16).byte())
