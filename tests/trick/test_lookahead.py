"""Lookahead against its two lines in numpy, and on the game where plain descent leaves the equilibrium."""

import torch
from bilinear import Bilinear
from playing import Game, recipe
from torch import nn

from gantrick.trick.lookahead import Lookahead


def test_both_players_go_back_half_way_at_the_same_moment() -> None:
    torch.manual_seed(0)
    g, d, trick = nn.Linear(2, 2), nn.Linear(3, 1), Lookahead(every=3, alpha=0.25)
    trick.begin(g, d)
    slow = [p.detach().clone() for p in (*g.parameters(), *d.parameters())]
    for step in range(1, 8):
        fast = []
        with torch.no_grad():
            for p in (*g.parameters(), *d.parameters()):
                p.add_(torch.randn_like(p))
                fast.append(p.clone())
        trick.sync(g, d)
        if step % 3 == 0:
            slow = [s + 0.25 * (f - s) for s, f in zip(slow, fast, strict=True)]
            fast = slow
        for p, expected in zip((*g.parameters(), *d.parameters()), fast, strict=True):
            torch.testing.assert_close(p.detach(), expected)


def test_plain_descent_leaves_the_equilibrium_and_this_finds_it() -> None:
    plain, ahead = Bilinear(torch.optim.SGD, lr=0.3), Bilinear(torch.optim.SGD, lr=0.3)
    start = plain.distance
    players = [nn.ParameterList([ahead.weights[p]]) for p in ("generator", "discriminator")]
    trick = Lookahead(every=5, alpha=0.5)
    trick.begin(*players)
    for _ in range(1000):
        plain.both_at_once()
        ahead.both_at_once()
        trick.sync(*players)
    assert plain.distance > 100 * start and ahead.distance < 1e-3 * start


def test_the_slow_weights_are_in_a_checkpoint() -> None:
    first = Game(recipe(trick={"lookahead": {"every": 2}})).rounds(3)
    second = Game(recipe(trick={"lookahead": {"every": 2}}), seed=5)
    second.gan.load_state_dict(first.gan.state_dict())
    one, other = (game.gan.components.state_dict() for game in (first, second))
    assert any("slow_" in name for name in one) and all(torch.equal(one[k], other[k]) for k in one)
