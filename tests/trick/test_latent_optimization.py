"""LOGAN against linear networks' closed form, solved linear systems and finite differences of the whole objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playing import Game, recipe
from torch import nn

from gantrick.feed import stream
from gantrick.gan import bring_together
from gantrick.sampling import draw, evaluating
from gantrick.trick.latent_optimization import LatentOptimization
from gantrick.types import ConfigError, DiscriminatorOutput, Latents

SMOOTH = {"d_norm": "none"}
WEIGHTS = torch.tensor([0.75, 0.25])


class Scores(nn.Module):
    score_weights = WEIGHTS


def toy(**settings) -> LatentOptimization:
    trick = LatentOptimization(**{"keep": 1.0, **settings})
    trick.begin(nn.Identity(), Scores())
    return trick


def networks(seed: int = 0):
    """x = W z; scores (a·x, (b·x)²), and ∂f/∂z as numpy has it."""
    rng = np.random.default_rng(seed)
    w, a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 4), (7,), (7,)))

    def generator(latents: Latents) -> torch.Tensor:
        return latents.z @ torch.from_numpy(w).T

    def discriminator(x: torch.Tensor, labels: torch.Tensor | None) -> DiscriminatorOutput:
        scores = torch.stack([x @ torch.from_numpy(a), (x @ torch.from_numpy(b)).square()], 1)
        return DiscriminatorOutput(scores, x)

    def gradient(z: np.ndarray) -> np.ndarray:
        return 0.75 * (w.T @ a) + 0.25 * 2 * (z @ (w.T @ b))[:, None] * (w.T @ b)

    return generator, discriminator, gradient


def steepen(game: Game) -> None:
    """From their start the networks are too flat for D to move anything."""
    with torch.no_grad():
        for network in game.gan.networks.values():
            for weight in network.parameters():
                if weight.ndim > 1:
                    weight.copy_(nn.init.orthogonal_(torch.empty(weight.shape), 2.0))


@pytest.mark.parametrize(("alpha", "beta"), [(0.9, 5.0), (0.9, 0.1), (2.0, 1.0)])
def test_the_natural_step_solves_the_damped_system(alpha: float, beta: float) -> None:
    generator, discriminator, gradient = networks()
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    out = toy(alpha=alpha, beta=beta).refine_latents(Latents(z, torch.arange(6)), generator, discriminator)
    for b, g in enumerate(gradient(z.numpy()).astype(np.float64)):
        step = alpha * np.linalg.solve(np.outer(g, g) + beta * np.eye(4), g)
        np.testing.assert_allclose(out.step[b].detach(), step, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(out.z[b].detach(), z[b].numpy() + step, rtol=1e-4, atol=1e-5)
    assert torch.equal(out.labels, torch.arange(6))


def test_the_gradient_step() -> None:
    generator, discriminator, gradient = networks()
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    out = toy(method="gradient", alpha=0.01).refine_latents(Latents(z), generator, discriminator)
    np.testing.assert_allclose(out.step.detach(), 0.01 * gradient(z.numpy()), rtol=1e-4, atol=1e-6)


def test_the_mask_keeps_its_share_of_entries_or_of_samples() -> None:
    """4.9 standard deviations of a binomial: a false alarm in a million, the seed is fixed."""
    generator, discriminator, _ = networks()
    z = torch.randn(3000, 4, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    for mask, count in (("entries", 12_000), ("samples", 3000)):
        out = toy(mask=mask, keep=0.8).refine_latents(Latents(z), generator, discriminator)
        moved = (out.z != z).view(count, -1)
        assert torch.equal(moved.any(1), moved.all(1))
        assert abs(int(moved.all(1).sum()) - 0.8 * count) < 4.9 * (0.16 * count) ** 0.5
        torch.testing.assert_close(out.z, torch.where(out.z != z, z + out.step, z))


def test_a_uniform_z_stays_within_its_bounds_and_a_normal_one_has_none() -> None:
    generator, discriminator, _ = networks()
    z = 2 * torch.rand(50, 4, generator=torch.Generator().manual_seed(5)) - 1
    for distribution, bounded in (("uniform", True), ("normal", False)):
        trick = toy(method="gradient", alpha=1.0)
        trick.build(type("Spec", (), {"z_distribution": distribution}))
        out = trick.refine_latents(Latents(z), generator, discriminator)
        wanted = (z + out.step).clamp(-1, 1) if bounded else z + out.step
        assert torch.equal(out.z, wanted) and bool((out.z.abs() <= 1).all()) == bounded


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_the_penalty_is_the_mean_square_length_of_what_was_moved(player: str) -> None:
    """weight · mean_b Σ_j (z'_bj − z_bj)², of a normal z, which is not clipped, each of whose entries moves."""
    game = Game(recipe(trick={"latent_optimization": {"keep": 1.0, "beta": 0.05, "weight": 7.0}}))
    steepen(game)
    batch, latents = game.play.draw(player)
    record = game.play.evaluate(player, batch, latents)
    moved = (record.fake.latents.z - latents.z).detach().double().numpy()
    wanted = 7.0 * sum(float(row @ row) for row in moved) / len(moved)
    assert wanted > 1e-3
    assert record.terms[f"penalty/{player[0]}_latent_optimization"].item() == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize(
    "settings", [{"beta": 0.05, "weight": 2.0}, {"method": "gradient", "alpha": 2.0, "weight": 0.5}]
)
def test_gradients_are_the_finite_differences_of_the_whole_objective(player: str, settings: dict) -> None:
    """Along its own gradient the objective rises as fast as finite differences say, 2 %; not so with Δz held fixed."""
    smooth = {**SMOOTH, "g_norm": "none", "z_distribution": "uniform"}
    game = Game(recipe(trick={"latent_optimization": {"keep": 1.0, **settings}}, model=smooth))
    steepen(game)
    batch, latents = game.play.draw(player)
    parameters = game.gan.parameters[player]

    def objective() -> float:
        return sum(float(term.detach()) for term in game.play.evaluate(player, batch, latents).terms.values())

    found = game.play.evaluate(player, batch, latents)
    assert found.terms[f"penalty/{player[0]}_latent_optimization"] > 0
    length = torch.stack([g.square().sum() for g in found.gradients.values()]).sum().sqrt()
    start, h, values = {n: p.detach().clone() for n, p in parameters.items()}, 3e-4, []
    for sign in (1, -1):
        with torch.no_grad():
            for name, gradient in found.gradients.items():
                parameters[name].copy_(start[name] + sign * h * gradient / length)
        values.append(objective())
    with torch.no_grad():
        for name, value in start.items():
            parameters[name].copy_(value)
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(float(length), rel=0.02)
    trick = game.gan.stages["refine_latents"][0]
    refined = trick.refine_latents(latents, game.gan.generator, game.gan.discriminator)
    trick.alpha = 0.0
    held = game.play.evaluate(player, batch, Latents(refined.z.detach(), None))
    apart = torch.stack([(g - held.gradients[n]).square().sum() for n, g in found.gradients.items()]).sum().sqrt()
    assert apart > 0.1 * length


def test_drawing_moves_latents_too() -> None:
    """What is drawn is G(z + Δz) with each sample's own gradient, as torch.func finds it."""
    game = Game(recipe(trick={"latent_optimization": {"keep": 1.0, "beta": 0.01}})).rounds(2)
    gan = game.gan
    steepen(game)
    z = gan.latents(5, torch.Generator().manual_seed(stream(0, "latents 0"))).z
    with evaluating(gan.generator, gan.discriminator):

        def score(one: torch.Tensor) -> torch.Tensor:
            return gan.discriminator(gan.generator(Latents(one[None]))).scores.sum()

        gradients = torch.stack([torch.func.grad(score)(one) for one in z])
        steps = 0.9 * gradients / (0.01 + gradients.square().sum(1, keepdim=True))
        with torch.no_grad():
            wanted, plain = (gan.generator(Latents(x)) for x in (z + steps, z))
    drawn = torch.cat(list(draw(gan, 5, 0)))
    torch.testing.assert_close(drawn, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(drawn, plain, atol=1e-3) and not drawn.requires_grad


def test_what_its_own_forwards_see_is_not_recorded() -> None:
    for player in ("discriminator", "generator"):
        counts = []
        for trick in ({}, {"latent_optimization": {}}):
            game = Game(recipe(trick=trick, model={"g_norm": "batch", "d_norm": "batch"}))
            counts.append(len(game.play.evaluate(player, *game.play.draw(player)).statistics))
        assert counts[0] == counts[1] > 0


def test_unrolling_goes_with_it_to_first_order_alone() -> None:
    exact, first = ({"unrolled": {"steps": 2, "first_order": order}} for order in (False, True))
    with pytest.raises(ConfigError, match=r"third derivatives .*first_order=true"):
        bring_together(recipe(trick={"latent_optimization": {}, **exact}))
    game = Game(recipe(trick={"latent_optimization": {}, **first})).rounds(1)
    assert torch.isfinite(game.samples()).all()


@pytest.mark.parametrize(
    ("other", "reason"), [("infogan", "codes are not noise"), ("pacgan", "a pack has one for all")]
)
def test_refused_with_codes_and_packs(other: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        bring_together(recipe(trick={"latent_optimization": {}, other: {}}))
