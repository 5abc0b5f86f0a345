"""The auxiliary classifier's terms against numpy's cross entropy."""

import numpy as np
import pytest
import torch
from playing import Game, recipe

from gantrick.trick.acgan import HEAD, Acgan
from gantrick.types import Batch, DiscriminatorOutput, Judged, PenaltyInputs

B, CLASSES = 7, 5


def side(seed: int) -> tuple[Judged, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(B, CLASSES)), rng.integers(CLASSES, size=B)
    zero = torch.zeros(B, 1)
    output = DiscriminatorOutput(zero, zero, {HEAD: torch.tensor(logits)})
    return Judged(Batch(zero, torch.tensor(labels)), zero, output), logits, labels


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    aims = np.full_like(logits, smoothing / CLASSES)
    aims[np.arange(B), labels] += 1 - smoothing
    return float(-(aims * log_p).sum(1).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("images", ["both", "real"])
def test_the_terms_of_both_players(images: str, smoothing: float) -> None:
    real, r, yr = side(0)
    fake, f, yf = side(1)
    none: dict = {"critic": None, "generate": None, "score_weights": torch.ones(1), "step": 0}
    trick = Acgan(d_weight=0.7, g_weight=0.1, images=images, label_smoothing=smoothing)
    of_fakes = cross_entropy(f, yf, smoothing)
    expected = cross_entropy(r, yr, smoothing) + (of_fakes if images == "both" else 0)
    found = trick.d_penalty(PenaltyInputs("discriminator", real, fake, **none))
    assert found.item() == pytest.approx(0.7 * expected, rel=1e-9)
    found = trick.g_penalty(PenaltyInputs("generator", None, fake, **none))
    assert found.item() == pytest.approx(0.1 * of_fakes, rel=1e-9)


def test_d_learns_to_tell_the_classes_of_reals() -> None:
    game = Game(recipe(loss="hinge", trick={"acgan": {"images": "real"}}), batch_size=64)
    data = game.gan.assembly.dataset.load("test")

    def accuracy() -> float:
        with torch.no_grad():
            logits = game.gan.discriminator.eval()(data.images / 127.5 - 1).extra[HEAD]
        game.gan.discriminator.train()
        return float((logits.argmax(1) == data.labels).float().mean())

    before = accuracy()
    game.rounds(150)
    assert before < 0.3 and accuracy() > 0.6


def test_each_score_of_a_cascade_keeps_its_own_head() -> None:
    game = Game(recipe(loss="hinge", trick={"acgan": {}, "cascading": {"scores": 3}})).rounds(1)
    found = game.gan.discriminator(torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.long))
    assert found.scores.shape == (4, 3) and found.extra[HEAD].shape == (4, 10)
