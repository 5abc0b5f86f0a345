"""γ (h − μ) / √(σ² + ε) + β with the statistics of a fixed batch, or of it and the sample itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import nn

from gantrick import registry
from gantrick.gan import preflight
from gantrick.layers.virtual_norm import VirtualBatchNorm
from gantrick.types import Latents

MODELS: list[dict[str, Any]] = [
    {"name": name, "g_width": 4, "d_width": 4}
    for name in registry.names("model")
    if name != "autoencoder"  # its D has no features for the hinge's head, and its G is dcgan's
]


def by_hand(h: np.ndarray, reference: int, combined: bool, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One sample and one channel at a time; the samples i and R as a batch of |R| + 1 with equal weights."""
    out = np.zeros_like(h)
    for i in range(len(h)):
        for ch in range(h.shape[1]):
            members = [h[j, ch] for j in range(reference)]
            if combined and i >= reference:
                members.append(h[i, ch])
            mean = sum(np.mean(m) for m in members) / len(members)
            square = sum(np.mean(m**2) for m in members) / len(members)
            out[i, ch] = gain[ch] * (h[i, ch] - mean) / np.sqrt(square - mean**2 + 1e-5) + bias[ch]
    return out


@pytest.mark.parametrize("shape", [(9, 3), (9, 3, 4, 2)])
@pytest.mark.parametrize("combined", [False, True])
def test_against_a_loop(combined: bool, shape: tuple[int, ...]) -> None:
    layer = VirtualBatchNorm(3, 5, combined)
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    h = 2 * torch.randn(shape) + 1
    gain, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    wanted = by_hand(h.double().numpy(), 5, combined, gain, bias)
    np.testing.assert_allclose(layer(h).detach(), wanted, rtol=1e-4, atol=1e-4)


def test_with_the_reference_alone_it_is_batch_normalisation_of_it() -> None:
    h = torch.randn(6, 3, 4, 2)
    for combined in (False, True):
        got = VirtualBatchNorm(3, 6, combined)(h)
        torch.testing.assert_close(got, nn.functional.batch_norm(h, None, None, training=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistics", ["combined", "reference"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_no_sample_depends_on_the_others(model: dict[str, Any], statistics: str) -> None:
    """Of G, in training as in drawing, which are the same; and images come out for the latents alone."""
    options = {"statistics": statistics, "reference": 5}
    size = 32 if model["name"] in ("sagan", "biggan", "biggan_deep", "sngan_resnet") else 16
    data = {"name": "digits", "size": size}
    game = Game(recipe("hinge", trick={"virtual_batch_norm": options}, model=model, dataset=data)).rounds(1)
    g = game.gan.generator
    z = torch.randn(7, game.gan.spec.z_size)
    whole = g(Latents(z))
    assert whole.shape[0] == 7 and any(isinstance(m, VirtualBatchNorm) for m in g.modules())
    for i in (0, 6):
        torch.testing.assert_close(g(Latents(z[i : i + 1])), whole[i : i + 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(g.eval()(Latents(z)), whole)
    plain = Game(recipe("hinge", model=model, dataset=data)).gan.generator
    if any(True for m in plain.modules() if type(m).__name__ == "BatchNorm"):
        assert (plain(Latents(z[:3]))[:1] - plain(Latents(z))[:1]).abs().max() > 1e-6


def test_the_reference_goes_through_with_the_present_weights() -> None:
    """DCGAN's G written down: with R in front of z, each norm of the rows of R alone."""
    game = Game(recipe("hinge", trick={"virtual_batch_norm": {"statistics": "reference", "reference": 4}})).rounds(2)
    body: Any = game.gan.generator.body
    z = torch.randn(3, 6)
    h = torch.cat([game.gan.generator.reference_z, z]) @ body.first.weight.T + body.first.bias
    h = h.view(-1, *body.bottom)
    for norm, up in zip(body.norms, body.ups, strict=True):
        var, mean = torch.var_mean(h[:4], (0, 2, 3), correction=0, keepdim=True)
        h = (h - mean) / (var + 1e-5).sqrt() * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
        h = nn.functional.conv_transpose2d(h.relu(), up.weight, up.bias, up.stride, up.padding)
    torch.testing.assert_close(game.gan.generator(Latents(z)), torch.tanh(h[4:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "order", [("ema", "virtual_batch_norm", "spectral_norm"), ("spectral_norm", "virtual_batch_norm", "ema")]
)
def test_copies_and_other_wrappers(order: tuple[str, ...]) -> None:
    """An averaged G has the reference too, and normalised layers let it in and out as well."""
    options: dict[str, dict] = {
        "spectral_norm": {"network": "both"},
        "ema": {"decay": 0.0, "ramp": False},
        "virtual_batch_norm": {},
    }
    game = Game(recipe("hinge", trick={name: options[name] for name in order})).rounds(2)
    averaged, _ = game.gan.drawing_generator
    z = torch.randn(3, 6)
    game.gan.generator.eval()
    torch.testing.assert_close(averaged.eval()(Latents(z)), game.gan.generator(Latents(z)))


def test_looking_at_shapes_draws_nothing() -> None:
    made = recipe("hinge", trick={"virtual_batch_norm": {}})
    before = torch.get_rng_state()
    preflight(made)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_reference_is_saved_and_has_the_law_of_latents() -> None:
    uniform = Game(
        recipe("hinge", trick={"virtual_batch_norm": {"reference": 500}}, model={"z_distribution": "uniform"})
    )
    name = "reference_z"
    reference = uniform.gan.generator.state_dict()[name]
    assert (
        reference.shape == (500, 6)
        and reference.abs().max() <= 1
        and reference.std().item() == pytest.approx(3**-0.5, rel=0.05)
    )
    normal = Game(recipe("hinge", trick={"virtual_batch_norm": {"reference": 500}})).gan.generator.state_dict()[name]
    assert normal.std().item() == pytest.approx(1, rel=0.07) and normal.abs().max() > 2


def test_the_reference_has_labels_and_codes_as_any_batch() -> None:
    """Codes of InfoGAN are one-hot or in [−1, 1]; a label is embedded with the weights of the moment."""
    game = Game(recipe(trick={"infogan": {"categorical": [4], "continuous": 2}, "virtual_batch_norm": {}}))
    reference = game.gan.generator.state_dict()["reference_z"]
    kinds, continuous = reference[:, -6:-2], reference[:, -2:]
    assert set(kinds.unique().tolist()) == {0.0, 1.0} and kinds.sum(1).eq(1).all() and continuous.abs().max() <= 1
    told = {"virtual_batch_norm": {"statistics": "reference", "reference": 50}, "label_concat": {"size": 3}}
    game = Game(recipe("hinge", trick=told, dataset={"name": "digits", "size": 8})).rounds(1)
    g: Any = game.gan.generator
    assert g.reference_labels.unique().numel() > 5
    z, labels = torch.randn(4, 6), torch.tensor([0, 3, 3, 9])
    before = g(Latents(z, labels))
    with torch.no_grad():
        g.condition.embedding.table[g.reference_labels[:25]] += 1.0
    rows = torch.cat([g.reference_z, z]), torch.cat([g.reference_labels, labels])
    first = torch.cat([rows[0], g.condition.embedding.table[rows[1]]], 1)
    torch.testing.assert_close(g(Latents(z, labels)), g.body(first, [None] * g.body.blocks)[50:])
    assert (before - g(Latents(z, labels))).abs().max() > 1e-4
