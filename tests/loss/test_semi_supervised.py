"""K logits and no class for fakes: the loss in numpy, the labelled images, what nobody looks at, and a run resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, equal, recipe

from gantrick import checkpoint
from gantrick.loss.semi_supervised import LABELLED, SemiSupervised, real
from gantrick.model.mlp import MLP
from gantrick.recipe import Recipe, check
from gantrick.tracking.console import Console
from gantrick.trainer import run
from gantrick.types import (
    CLASSES,
    Batch,
    ConfigError,
    DataShape,
    DiscriminatorOutput,
    Judged,
    PenaltyInputs,
    Samples,
    Targets,
)

B, K = 7, 5
DIGITS = {"name": "digits", "size": 8}


def configured(options: dict[str, Any], **more: Any) -> Recipe:
    made = recipe(loss="semi_supervised", **more).resolved
    return check({**made, "loss": {"name": "semi_supervised", **options}})


def judged(logits: np.ndarray) -> Judged:
    said = torch.tensor(logits)
    output = DiscriminatorOutput(real({CLASSES: said}), said, {CLASSES: said})
    return Judged(Batch(torch.zeros(len(said), 2)), torch.zeros(len(said), 2), output)


def z(logits: np.ndarray) -> np.ndarray:
    return np.log(np.exp(logits).sum(1))


@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_both_losses_in_numpy(weight: float) -> None:
    """−½ E Z(u) + ½ E sp(Z(u)) + ½ E sp(Z(G)), as the official code writes it, and E (Z − l_y) on the labelled."""
    rng = np.random.default_rng(0)
    u, fakes, known = (rng.normal(scale=3, size=(B, K)) for _ in range(3))
    y = rng.integers(K, size=B)
    loss, one = SemiSupervised(unlabelled_weight=weight), torch.ones(1, dtype=torch.float64)
    targets = Targets(torch.ones(B).double(), torch.zeros(B).double())
    found = loss.d_loss(judged(u), judged(fakes), targets).means(one)
    of_reals = -0.5 * z(u).mean() + 0.5 * np.log1p(np.exp(z(u))).mean()
    assert found["real"].item() == pytest.approx(weight * of_reals, rel=1e-9)
    assert found["fake"].item() == pytest.approx(weight * 0.5 * np.log1p(np.exp(z(fakes))).mean(), rel=1e-9)

    asked: list[bool] = []

    def critic(images: torch.Tensor, labels: Any = None, *, raw: bool = False) -> DiscriminatorOutput:
        asked.append(raw)
        assert labels is None, "D is not shown the answer"
        return DiscriminatorOutput(images, images, {CLASSES: images})

    extra = {LABELLED: Batch(torch.tensor(known), torch.tensor(y))}
    batch = replace(judged(u), batch=Batch(torch.zeros(B, 2), None, extra))
    inputs = PenaltyInputs("discriminator", batch, judged(fakes), critic, None, one, 0)  # type: ignore[arg-type]
    assert loss.d_penalty(inputs).item() == pytest.approx((z(known) - known[np.arange(B), y]).mean(), rel=1e-9)
    assert asked == [True], "through the augmentation, as all that D sees"

    targets = Targets(generator=torch.ones(B).double())
    g = loss.g_loss(None, judged(fakes), targets).means(one)
    assert g["fake"].item() == pytest.approx(np.log1p(np.exp(-z(fakes))).mean(), rel=1e-9)


def test_d_in_a_game_and_its_gradient() -> None:
    """Scores are Z of the class head's logits; the objective's slope in a weight of it against central differences."""
    game = Game(configured({"labelled_batch_size": 20}, model={"d_norm": "none", "init": "default"}))
    d = game.gan.discriminator
    batch, latents = game.play.draw("discriminator")
    assert batch is not None and len(batch.extra[LABELLED]) == 20
    record = game.play.evaluate("discriminator", batch, latents)
    assert set(record.terms) == {"loss/d_real", "loss/d_fake", "penalty/semi_supervised"}
    w, b = (d.heads[CLASSES].get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    features, fakes = (j.output.features.detach().double().numpy() for j in (record.real, record.fake))  # type: ignore[union-attr]
    with torch.no_grad():
        known, y = d(batch.extra[LABELLED].images).features.double().numpy(), batch.extra[LABELLED].labels
    assert y is not None

    def objective(w: np.ndarray) -> float:
        u, g, x = (f @ w.T + b for f in (features, fakes, known))
        lab = (z(x) - x[np.arange(len(x)), y.numpy()]).mean()
        sp_u, sp_g = (np.log1p(np.exp(z(of))).mean() for of in (u, g))
        return float(lab - 0.5 * z(u).mean() + 0.5 * sp_u + 0.5 * sp_g)

    assert record.real is not None and record.real.scores.shape == (6, 1)
    np.testing.assert_allclose(record.real.scores[:, 0].detach().numpy(), z(features @ w.T + b), rtol=1e-5)
    assert sum(record.terms.values()).item() == pytest.approx(objective(w), rel=1e-5)  # type: ignore[union-attr]
    slopes = record.gradients[f"heads.{CLASSES}.weight"]
    for index in [(0, 0), (3, 5), (9, 1)]:
        step = np.zeros_like(w)
        step[index] = 1e-5
        assert slopes[index].item() == pytest.approx(
            (objective(w + step) - objective(w - step)) / 2e-5, rel=2e-3, abs=1e-6
        )


def test_the_labels_of_other_images_are_not_looked_at() -> None:
    made = configured({"labelled_batch_size": 10}, trick={"ema": {}}, regularizer={"feature_matching": {}, "gp": {}})
    game = Game(made)
    batch, latents = game.play.draw("discriminator")
    assert batch is not None and batch.labels is not None
    records = []
    for labels in (batch.labels, (batch.labels + 1) % 10, None):
        torch.manual_seed(0)
        records.append(game.play.evaluate("discriminator", replace(batch, labels=labels), latents))
    for other in records[1:]:
        assert equal(records[0].gradients, other.gradients)


def test_the_labelled_images() -> None:
    """So many of each class, the same for every seed of the run, others for another seed of the labels."""
    labels = torch.randint(4, (300,), generator=torch.Generator().manual_seed(0))
    samples = Samples(torch.arange(300, dtype=torch.uint8).view(-1, 1, 1, 1), labels)

    def rows(**options: Any) -> torch.Tensor:
        loss = SemiSupervised(labels_per_class=6, **options)
        loss.build(MLP().spec(DataShape((1, 1, 1), 4), "none", "none"))
        asked = loss.streams()[LABELLED]
        assert asked.rows is not None
        return asked.rows(samples)

    first, other = rows(), rows(labels_seed=1)
    assert torch.bincount(labels[first]).tolist() == [6] * 4 == torch.bincount(labels[other]).tolist()
    assert first.unique().tolist() == first.tolist() and torch.equal(first, rows()) and not torch.equal(first, other)
    made = configured({"labels_per_class": 2, "labelled_batch_size": 20})
    seen = [Game(made, seed).play.draw("discriminator")[0] for seed in (0, 1)]  # an epoch of all twenty
    images = [batch.extra[LABELLED].images.flatten(1).sum(1).sort().values for batch in seen if batch is not None]
    torch.testing.assert_close(*images, rtol=0, atol=1e-5)


def test_it_learns_from_labels_and_from_images_without() -> None:
    """At chance before; the labelled term alone gets far too, as an ordinary classifier of 20 images of a class."""
    for weight in (1.0, 0.0):
        options = {"labels_per_class": 20, "labelled_batch_size": 50, "unlabelled_weight": weight}
        game = Game(configured(options, model={"d_width": 8}), batch_size=10)
        data = game.gan.assembly.dataset.load("test")

        def error(game: Game = game, data: Samples = data) -> float:
            d = game.gan.discriminator.eval()
            with torch.no_grad():
                said = d(data.images / 127.5 - 1).extra[CLASSES].argmax(1)  # type: ignore[operator]
            d.train()
            return float((said != data.labels).float().mean())

        before = error()
        game.rounds(120)
        assert before > 0.7 and error() < 0.25


def test_it_composes_with_what_changes_scores_and_players() -> None:
    made = configured(
        {"labelled_batch_size": 12},
        regularizer={"feature_matching": {"alone": True}, "ct": {"compare": "classes"}, "r1": {}},
        trick={"label_smoothing": {}, "topk": {}, "extragradient": {}, "layer_noise": {}, "instance_noise": {}},
    )
    game = Game(made).rounds(2)
    assert game.meter.first_bad() is None


def test_refusals(tmp_path: Path) -> None:
    for trick, words in (
        ("acgan", "label of every real image"),
        ("cascading", "both hold d.head"),
        ("pacgan", "an image has a class, and a pack of several has none"),
    ):
        with pytest.raises(ConfigError, match=words):
            Game(recipe(loss="semi_supervised", trick={trick: {}}))
    with pytest.raises(ConfigError, match=r"model\.autoencoder and loss\.semi_supervised: both hold d\.direction and"):
        Game(recipe(loss="semi_supervised", model={"name": "autoencoder"}, dataset={"name": "digits", "size": 16}))
    with pytest.raises(ConfigError, match="needs that the data have labels"):
        np.savez(tmp_path / "points.npz", images=np.zeros((9, 2), np.float32))
        data = {"name": "npz", "path": str(tmp_path / "points.npz")}
        Game(recipe(loss="semi_supervised", dataset=data, model={"name": "mlp"}))
    made = configured({"labels_per_class": 500}, steps=1, wandb={"mode": "disabled"})
    with pytest.raises(ConfigError, match=r"500 are asked for, and class 0 has .* lower it"):
        run(made, tmp_path / "few", console=Console(quiet=True))
    assert not (tmp_path / "few").exists()


def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    """Fifty labelled images in batches of 30, so that the stream stands within an epoch at the checkpoint."""
    options = {"labels_per_class": 5, "labelled_batch_size": 30}

    def made(steps: int) -> Recipe:
        every = {"log_every": 1, "eval_every": 0, "sample_every": 0, "checkpoint_every": 1}
        parts = {"regularizer": {"feature_matching": {"alone": True}}, "trick": {"layer_noise": {}}}
        return configured(options, steps=steps, batch_size=6, wandb={"mode": "disabled"}, **every, **parts)

    quiet = Console(quiet=True)
    run(made(5), tmp_path / "whole", console=quiet)
    run(made(2), tmp_path / "parts", console=quiet)
    run(made(5), tmp_path / "parts", console=quiet, resume=True)
    ends = [checkpoint.load(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "parts")]
    assert ends[0]["extra"] == ends[1]["extra"] == {LABELLED: {"epoch": 5, "position": 50}}
    for part in ("generator", "discriminator"):
        assert equal(*(end["gan"][part] for end in ends))


def test_a_sample_is_called_real_where_a_class_is_likelier_than_being_fake() -> None:
    """Z > 0: the probability Σ_k e^l_k / (1 + Σ_k e^l_k) of being of any class is above a half."""
    game = Game(recipe(loss="semi_supervised"), batch_size=32).rounds(5)
    record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    assert record.real is not None
    right = 0.0
    for side, is_real in ((record.real, True), (record.fake, False)):
        mass = np.exp(side.output.extra["classes"].detach().double().numpy()).sum(1)
        right += float(((mass / (1 + mass) > 0.5) == is_real).mean()) / 2
    assert record.diagnostics["accuracy/d"].item() == pytest.approx(right)
