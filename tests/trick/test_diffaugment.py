"""DiffAugment against loops over pixels, the laws of its draws, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playing import Game, recipe
from scipy import stats

from gantrick.trick.diffaugment import Diffaugment

SMOOTH = {"d_norm": "none"}


def images(count: int = 40, shape: tuple[int, int, int] = (3, 10, 7), seed: int = 3) -> torch.Tensor:
    return 2 * torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) - 1


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """The even draws of a generator at this seed, in this order."""
    torch.manual_seed(seed)
    return [torch.rand(shape).numpy() for shape in shapes]


def test_color_is_the_loop_over_pixels() -> None:
    x = images().numpy().astype(np.float64)
    brightness, saturation, contrast = (u.ravel() for u in drawn(5, *[(len(x), 1, 1, 1)] * 3))
    torch.manual_seed(5)
    found = Diffaugment(("color",)).augment(torch.from_numpy(x).float())
    for b, image in enumerate(x):
        bright = image + brightness[b] - 0.5
        gray = bright.mean(0)
        saturated = np.stack([gray + 2 * saturation[b] * (channel - gray) for channel in bright])
        level = saturated.sum() / saturated.size
        np.testing.assert_allclose(found[b], level + (contrast[b] + 0.5) * (saturated - level), atol=1e-6)


@pytest.mark.parametrize(("ratio", "most"), [(0.125, (1, 1)), (0.3, (3, 2)), (1.0, (10, 7)), (0.0, (0, 0))])
def test_translation_is_the_loop_over_pixels(ratio: float, most: tuple[int, int]) -> None:
    x = images()
    sides = x.shape[2:]
    draws = drawn(6, (len(x), 1), (len(x), 1))
    shift = [[int(u * (2 * m + 1)) - m for u in each[:, 0]] for each, m in zip(draws, most, strict=True)]
    torch.manual_seed(6)
    found = Diffaugment(("translation",), translation=ratio).augment(x)
    for b in range(len(x)):
        wanted = np.zeros(x.shape[1:], dtype=np.float32)
        for i in range(sides[0]):
            for j in range(sides[1]):
                if 0 <= i + shift[0][b] < sides[0] and 0 <= j + shift[1][b] < sides[1]:
                    wanted[:, i, j] = x[b, :, i + shift[0][b], j + shift[1][b]]
        assert np.array_equal(found[b].numpy(), wanted)


@pytest.mark.parametrize(("ratio", "size"), [(0.5, (5, 4)), (0.2, (2, 1)), (1.0, (10, 7)), (0.0, (0, 0))])
def test_cutout_is_the_loop_over_pixels(ratio: float, size: tuple[int, int]) -> None:
    x = images()
    draws = drawn(7, (len(x), 1), (len(x), 1))
    middle = [
        [int(u * (side + 1 - s % 2)) for u in each[:, 0]]
        for each, side, s in zip(draws, x.shape[2:], size, strict=True)
    ]
    torch.manual_seed(7)
    found = Diffaugment(("cutout",), cutout=ratio).augment(x)
    for b in range(len(x)):
        wanted = x[b].numpy().copy()
        for i in range(size[0]):
            for j in range(size[1]):
                place = middle[0][b] - size[0] // 2 + i, middle[1][b] - size[1] // 2 + j
                if 0 <= place[0] < x.shape[2] and 0 <= place[1] < x.shape[3]:
                    wanted[:, place[0], place[1]] = 0
        assert np.array_equal(found[b].numpy(), wanted)


def test_the_draws_have_their_laws() -> None:
    """Brightness is even over [−½, ½], the shifts over −4 … 4: Kolmogorov–Smirnov and χ² at 1e-6 each, seed fixed."""
    torch.manual_seed(8)
    gray = torch.zeros(20_000, 1, 1, 1)
    brightness = Diffaugment(("color",)).augment(gray).double().numpy().ravel()
    assert stats.kstest(brightness, "uniform", args=(-0.5, 1.0)).pvalue > 1e-6
    ramp = torch.arange(1.0, 33.0).view(1, 1, 1, 32).expand(18_000, 1, 1, 32)
    moved = Diffaugment(("translation",)).augment(ramp)
    shift = (moved[:, 0, 0, 16] - 17).long()
    counts = torch.bincount(shift + 4, minlength=9)
    assert len(counts) == 9 and stats.chisquare(counts.numpy()).pvalue > 1e-6
    vertical = Diffaugment(("translation",)).augment(ramp.transpose(2, 3))[:, 0, 16, 0] - 17
    assert abs(np.corrcoef(shift.numpy(), vertical.numpy())[0, 1]) < 4.9 / np.sqrt(18_000)


def test_the_policy_is_followed_in_its_order() -> None:
    x = images()
    torch.manual_seed(9)
    both = Diffaugment(("cutout", "color")).augment(x)
    torch.manual_seed(9)
    one_by_one = Diffaugment(("color",)).augment(Diffaugment(("cutout",)).augment(x))
    assert torch.equal(both, one_by_one)
    assert torch.equal(Diffaugment(()).augment(x), x)


def test_gradients_are_those_of_finite_differences() -> None:
    """First and second derivatives, as R1 and GP need them, in double precision."""
    x = images(2, (2, 4, 4)).double().requires_grad_(True)

    def fixed(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(10)
        return Diffaugment(translation=0.3).augment(values).square()

    assert torch.autograd.gradcheck(fixed, (x,)) and torch.autograd.gradgradcheck(fixed, (x,))


def test_both_turns_real_and_fake_with_draws_of_their_own() -> None:
    game = Game(recipe(trick={"diffaugment": {"policy": ["color"]}}, model=SMOOTH))
    d = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
    g = game.play.evaluate("generator", *game.play.draw("generator"))
    assert d.real is not None
    means = [(judged.seen - judged.images).detach().mean((1, 2, 3)) for judged in (d.real, d.fake, g.fake)]
    assert len(torch.cat(means).unique()) == 18, "of one channel brightness alone moves the mean: one draw a sample"
    torch.testing.assert_close(game.gan.discriminator(g.fake.seen).scores, g.fake.scores)
    assert all(gradient.abs().sum() > 0 for gradient in g.gradients.values())


def test_noise_comes_after_it_in_any_order() -> None:
    """What is cut out is noise, not 0."""
    noise, cut = {"instance_noise": {"sigma": 0.5}}, {"diffaugment": {"policy": ["cutout"]}}
    seen = []
    for tricks in ({**noise, **cut}, {**cut, **noise}):
        game = Game(recipe(trick=tricks, model=SMOOTH))
        record = game.play.evaluate("discriminator", *game.play.draw("discriminator"))
        seen.append(record.fake.seen)
        assert (record.fake.seen != 0).all()
    assert torch.equal(*seen)


def test_the_gradient_at_the_raw_image_passes_through_it() -> None:
    """As R1 takes it: what was cut out has none."""
    game = Game(recipe(trick={"diffaugment": {"policy": ["cutout"], "cutout": 1.0}}, model=SMOOTH))
    x = images(4, (1, 8, 8)).requires_grad_(True)
    torch.manual_seed(11)
    scores = game.gan.discriminator(game.play.judge.see(x)).scores.sum()
    gradient = torch.autograd.grad(scores, x)[0]
    torch.manual_seed(11)
    shown = Diffaugment(("cutout",), cutout=1.0).augment(torch.ones_like(x)) != 0
    assert (gradient[~shown] == 0).all() and (gradient[shown] != 0).any()
