"""The autoencoder as D: energies against numpy, BEGAN's shapes and counts, what has no place beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import nn

from gantrick.gan import Discriminator, bring_together, warnings
from gantrick.layers.normalization import BatchNorm
from gantrick.model.autoencoder import Autoencoder, absolute_error, squared_error
from gantrick.types import Batch, ConfigError, DataShape

SMALL = {"g_width": 3, "d_width": 2, "z_size": 5}
TINY = {"name": "autoencoder", "g_width": 3, "d_width": 2, "z_size": 5}


def shapes_of(network: nn.Module, blocks: nn.ModuleList, *inputs: object) -> list[tuple[int, ...]]:
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


def test_shapes_of_began_at_64() -> None:
    """carpedm20's models.py: repeat_num 4, hidden_num 128, z_num 64; 8x8 at the bottom."""
    model = Autoencoder()
    spec = model.spec(DataShape((3, 64, 64)), "none", "none")
    assert (spec.z_size, spec.z_distribution) == (64, "uniform")
    with torch.device("meta"):
        generator, discriminator = model.generator(spec), model.discriminator(spec)
        z, images = torch.empty(2, 64), torch.empty(2, 3, 64, 64)
    assert generator.bottom == (128, 8, 8) and spec.g_blocks == generator.blocks == 4
    assert shapes_of(generator, generator.conv2, z, [None] * 4) == [(128, s, s) for s in (8, 16, 32, 64)]
    encoder = discriminator.encoder
    assert shapes_of(encoder, encoder.conv2, images) == [(128 * (i + 1), 64 >> i, 64 >> i) for i in range(4)]
    code, reconstruction = discriminator(images)
    assert code.shape == (2, 64) and reconstruction.shape == images.shape
    assert discriminator.features == 64


@pytest.mark.parametrize(("size", "depth"), [(32, 2), (64, 3), (128, 4)])
def test_parameters_by_hand(size: int, depth: int) -> None:
    n, code = 128, 64

    def conv(channels: int, out: int) -> int:
        return 9 * channels * out + out

    decoder = code * 64 * n + 64 * n + 2 * (depth + 1) * conv(n, n) + conv(n, 3)
    widths = [n * (i + 1) for i in range(depth + 1)]
    encoder = conv(3, n) + sum(conv(a, b) + conv(b, b) for a, b in zip([n, *widths], widths, strict=False))
    encoder += sum(conv(w, w) for w in widths[:-1]) + 64 * widths[-1] * code + code
    model = Autoencoder()
    spec = model.spec(DataShape((3, size, size)), "none", "none")
    with torch.device("meta"):
        networks = model.generator(spec), model.discriminator(spec)
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [decoder, encoder + decoder]


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("l2", 2)])
def test_the_score_is_minus_the_energy(kind: str, power: int) -> None:
    torch.manual_seed(0)
    model = Autoencoder(**SMALL, energy=kind)
    d = Discriminator(model, model.spec(DataShape((3, 16, 16)), "none", "none"))
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    out = d(x)
    found = out.extra["reconstruction"].detach().double().numpy()
    expected = -(np.abs(x.double().numpy() - found) ** power).reshape(4, -1).mean(1)
    np.testing.assert_allclose(out.scores.detach().numpy(), expected[:, None], rtol=1e-5)
    assert out.features.shape == (4, 5)
    torch.testing.assert_close(d.body.decoder(out.features, [None] * 2), out.extra["reconstruction"])


def test_energies() -> None:
    x = torch.tensor([[[[1.0, -1.0]]], [[[0.5, 0.0]]]])
    y = torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.0]]]])
    assert absolute_error(x, y).tolist() == [1.5, 0.0]
    assert squared_error(x, y).tolist() == [2.5, 0.0]


def test_d_learns_to_rebuild_reals_better_than_fakes_and_keeps_the_rest_of_the_contract() -> None:
    game = Game(recipe(loss="hinge", model=TINY))
    batch, fakes = game.feed.next(32), game.samples(32)

    def gap() -> float:
        scores = [game.gan.discriminator(images).scores.mean().item() for images in (batch.images, fakes)]
        return scores[0] - scores[1]

    before = gap()
    for _ in range(60):
        game.play.turn("discriminator")
    assert gap() > before + 0.1
    out = game.gan.discriminator(batch.images)
    assert out.scores.shape == (32, 1) and out.features.shape == (32, 5)
    judged = game.play.judge(game.gan.discriminator, (batch, None), (Batch(batch.images[:5]), None))
    assert [len(j.output.extra["reconstruction"]) for j in judged] == [32, 5]
    assert not list(game.gan.discriminator.head.parameters())


@pytest.mark.parametrize(
    ("tricks", "words"),
    [
        ({"cascading": {}}, ["model.autoencoder and trick.cascading: both hold d.head"]),
        ({"projection": {}}, ["model.autoencoder and trick.projection: both hold d.direction"]),
        ({"label_concat": {"d_place": "features"}}, ["model.autoencoder", "nothing reads what a trick adds"]),
    ],
)
def test_what_has_no_place_is_refused(tricks: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        Game(recipe(loss="hinge", model=TINY, trick=tricks))
    assert all(word in str(error.value) for word in words)


def test_a_loss_of_logits_is_warned_of() -> None:
    told = {loss: warnings(bring_together(recipe(loss=loss, model=TINY))) for loss in ("hinge", "non_saturating")}
    assert told["hinge"] == []
    assert "never above 0; choose loss=hinge" in " ".join(told["non_saturating"])


def test_with_the_hinge_loss_it_is_ebgan_with_margin_1() -> None:
    """E e(x) + E max(0, 1 − e(G)) but for a constant, and E e(G) for G."""
    torch.manual_seed(0)
    game = Game(recipe(loss="hinge", model={**TINY, "energy": "l2"}))
    real, latents = game.play.draw("discriminator")
    record = game.play.evaluate("discriminator", real, latents)
    e = [squared_error(j.images, j.output.extra["reconstruction"]) for j in (record.real, record.fake)]
    expected = 1 + e[0].mean() + (1 - e[1]).clamp_min(0).mean()
    torch.testing.assert_close(record.terms["loss/d_real"] + record.terms["loss/d_fake"], expected)
    record = game.play.evaluate("generator", None, latents)
    e = [squared_error(record.fake.images, record.fake.output.extra["reconstruction"])]
    torch.testing.assert_close(sum(v for k, v in record.terms.items()), e[0].mean())


def test_labels_at_ds_input_are_rebuilt_with_it() -> None:
    game = Game(recipe(loss="hinge", model=TINY, trick={"label_concat": {}})).rounds(1)
    batch = game.feed.next(3)
    out = game.gan.discriminator(batch.images, batch.labels)
    assert out.extra["reconstruction"].shape == (3, 11, 8, 8)


@pytest.mark.parametrize(("size", "bottom"), [(8, 4), (16, 8), (28, 14), (32, 8), (48, 12), (64, 8)])
def test_sizes(size: int, bottom: int) -> None:
    model = Autoencoder(**SMALL, code=4, output="tanh")
    spec = model.spec(DataShape((1, size, size)), "batch", "batch")
    generator, discriminator = model.generator(spec), model.discriminator(spec.but(d_dropout=nn.Dropout))
    assert generator.bottom == (3, bottom, bottom)
    images = generator(torch.randn(2, 5), [None] * generator.blocks)
    assert images.shape == (2, 1, size, size) and images.abs().max() <= 1
    code, reconstruction = discriminator(images)
    assert code.shape == (2, 4) and reconstruction.shape == images.shape
    assert sum(isinstance(m, BatchNorm) for m in generator.modules()) == 2 * generator.blocks
    assert sum(isinstance(m, nn.Dropout) for m in discriminator.modules()) == generator.blocks


def test_points_are_refused() -> None:
    with pytest.raises(ConfigError, match="points of shape"):
        Autoencoder().spec(DataShape((2,)), "none", "none")
