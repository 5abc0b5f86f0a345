from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from playing import Game, recipe
from torch import Tensor, nn

from gantrick import registry
from gantrick.evaluation import Judging, JudgingMixture, Reals, take
from gantrick.gan import GAN, preflight
from gantrick.layers.attention import SelfAttention
from gantrick.layers.cascade import CascadingHead
from gantrick.layers.heads import Direction
from gantrick.metric._lipschitz import Tracer, matrix_bound, matrix_norm, operator_norm
from gantrick.metric.lipschitz import Lipschitz, spectral_norms, upper_bound
from gantrick.types import DiscriminatorOutput, GantrickError

CPU = torch.device("cpu")


def jacobian_norm(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The largest singular value of a function's whole Jacobian at x, by numpy."""
    matrix: Any = torch.autograd.functional.jacobian(function, x.double())
    return float(np.linalg.norm(matrix.reshape(-1, x.numel()).numpy(), 2))


def followed(function: Callable[..., Tensor], *shape: int, norms: Any = "operator") -> tuple[float, tuple[str, ...]]:
    module = function if isinstance(function, nn.Module) else nn.Identity()
    tracer = Tracer(module.eval(), norms)
    with tracer.following():
        out: Any = function(tracer.start(torch.rand(2, *shape)))
    return tracer.found(out)


# --- norms of linear maps --------------------------------------------------------------------------------------------

CONVOLUTIONS = [
    {"kernel": (3, 3), "padding": (1, 1)},
    {"kernel": (4, 4), "stride": (2, 2), "padding": (1, 1)},
    {"kernel": (3, 2), "stride": (2, 1), "padding": (0, 1)},
    {"kernel": (3, 3), "dilation": (2, 2), "padding": (2, 2)},
    {"kernel": (3, 3), "stride": (2, 2), "dilation": (2, 2)},
    {"kernel": (5, 5), "stride": (2, 2), "dilation": (2, 2), "padding": (4, 4)},
    {"kernel": (1, 1)},
    {"kernel": (3, 3), "padding": (1, 1), "groups": 2},
    {"kernel": (4, 4), "stride": (2, 2), "padding": (1, 1), "transposed": True},
    {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "output_padding": (1, 1), "transposed": True},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_norms_of_convolutions(options: dict[str, Any]) -> None:
    """Against the singular values of the dense matrix, made column by column."""
    rest = {key: value for key, value in options.items() if key not in ("kernel", "transposed")}
    transposed = options.get("transposed", False)
    weight = torch.randn(4, 4 // options.get("groups", 1), *options["kernel"], dtype=torch.float64)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    basis = torch.eye(4 * 7 * 6, dtype=torch.float64).view(-1, 4, 7, 6)
    truth = np.linalg.norm(convolve(basis, weight, **rest).flatten(1).numpy(), 2)
    found = operator_norm(weight, (4, 7, 6), **rest, transposed=transposed)
    assert truth * (1 - 1e-9) <= found <= truth * 1.006
    bound = matrix_bound(
        weight, rest.get("stride", (1, 1)), rest.get("dilation", (1, 1)), 1 if transposed else rest.get("groups", 1)
    )
    assert bound >= truth * (1 - 1e-12)
    if options["kernel"] == (1, 1):
        assert bound == pytest.approx(truth, rel=1e-9)


def test_the_bound_by_the_matrix_is_reached() -> None:
    """A kernel of ones on a map that is large and even: the reshaped matrix alone is too small by almost 3."""
    ones = torch.ones(1, 1, 3, 3)
    true = operator_norm(ones, (1, 40, 40), padding=(1, 1))
    assert matrix_norm(ones.flatten(1)) == pytest.approx(3)
    assert matrix_bound(ones) == pytest.approx(9)
    assert 8.9 < true < 9 / math.sqrt(0.99)
    options = {"stride": (2, 2), "dilation": (2, 2)}  # every second entry lies in as many windows as without either
    apart = operator_norm(ones, (1, 40, 40), padding=(2, 2), **options)
    assert 8.7 < apart <= matrix_bound(ones, **options) == pytest.approx(9)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4,)])
def test_norms_of_matrices(shape: tuple[int, ...]) -> None:
    m = torch.randn(shape)
    assert matrix_norm(m) == pytest.approx(np.linalg.norm(m.double().numpy(), 2), rel=1e-12)


# --- the rules -------------------------------------------------------------------------------------------------------

SEVERAL = torch.randn(1, 1, 24, 2).expand(1, 9, 24, 2).contiguous()  # nine times the same: the bound is reached
W, C, T = torch.randn(5, 3), torch.randn(2, 3, 3, 3), torch.randn(3, 2, 4, 4)
VAR, GAIN = torch.rand(3) + 0.1, torch.randn(3)
LINEAR: dict[str, Callable[[Tensor], Tensor]] = {  # whose Jacobian is everywhere the same: the bound is its norm
    "linear": lambda x: F.linear(x.transpose(1, 3), W.to(x.dtype)),
    "matmul": lambda x: x.flatten(2).transpose(1, 2) @ W.t().to(x.dtype),
    "sum": lambda x: x.sum((2, 3)),
    "mean": lambda x: x.mean((2, 3)),
    "mean of one": lambda x: x.mean(1, keepdim=True),
    "average pool": lambda x: F.avg_pool2d(x, 2),
    "several matrices": lambda x: x.flatten(2)[:, None] @ SEVERAL.to(x.dtype),
    "by several matrices": lambda x: SEVERAL.mT.to(x.dtype) @ x.flatten(2).transpose(1, 2)[:, None],
    "by a vector": lambda x: x.flatten(2) @ SEVERAL[0, 0, :, 0].to(x.dtype),
    "twice": lambda x: x + x,
    "a sum into new places": lambda x: x.sum(1, keepdim=True) + torch.ones(3, 1, 1, dtype=x.dtype),
    "all averaged": lambda x: F.adaptive_avg_pool2d(x, 1),
    "half": lambda x: x / 2 - 1,
    "from one": lambda x: 1 - x,
    "negative": lambda x: -x,
    "gains": lambda x: 3 * (x * GAIN.to(x.dtype)[:, None, None]),
    "gains into new places": lambda x: x.sum(1, keepdim=True) * GAIN.to(x.dtype)[:, None, None],
    "both": lambda x: torch.cat([x, 2 * x], 1),
    "stacked": lambda x: torch.stack([x, x], 1),
    "batch norm": lambda x: F.batch_norm(x, VAR.to(x.dtype), VAR.to(x.dtype), GAIN.to(x.dtype), eps=1e-5),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "expanded": lambda x: x[:, :, None].expand(-1, -1, 4, -1, -1),
    "in another order": lambda x: x.reshape(len(x), -1, 2).permute(0, 2, 1),
    "shuffled": lambda x: F.pixel_shuffle(x.reshape(len(x), 12, 3, 2), 2),
}
BENT: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky relu": lambda x: F.leaky_relu(x - 0.5, 0.2),
    "elu": F.elu,
    "elu with a steep side": lambda x: F.elu(x - 0.8, 3.0),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "abs": torch.abs,
    "max pool": lambda x: F.max_pool2d(x, 2),
    "max pool that overlaps": lambda x: F.max_pool2d(x, 3, 1),
    "largest": lambda x: x.amax(1),
    "softmax": lambda x: torch.softmax(3 * x, 1),
    "log of the sum of exponentials": lambda x: torch.logsumexp(3 * x, 1),
    "log of a sigmoid": F.logsigmoid,
    "group norm": lambda x: F.group_norm(0.001 * x, 1, GAIN.to(x.dtype)),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "strided": lambda x: F.conv2d(x, C.to(x.dtype), stride=2, padding=1),
    "transposed": lambda x: F.conv_transpose2d(x, T.to(x.dtype), stride=2, padding=1),
    "residual": lambda x: x[:, :2] + F.relu(F.conv2d(x, C.to(x.dtype), padding=1)),
    "some": lambda x: x[:, 1:, ::2, 1].chunk(2, 2)[0],
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operations_have_their_norm(name: str) -> None:
    bound, why = followed(LINEAR[name], 3, 4, 6)
    assert bound == pytest.approx(jacobian_norm(LINEAR[name], torch.rand(1, 3, 4, 6)), rel=1e-6) and not why


@pytest.mark.parametrize("name", BENT)
@pytest.mark.parametrize("norms", ["matrix", "operator"])
def test_bounds_hold(name: str, norms: str) -> None:
    bound, why = followed(BENT[name], 3, 4, 6, norms=norms)
    steepest = max(jacobian_norm(BENT[name], torch.randn(1, 3, 4, 6)) for _ in range(5))
    assert steepest * (1 - 1e-6) <= bound < math.inf and not why


UNBOUNDED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a product": (lambda x: x * x.tanh(), "multiplies two things"),
    "a matrix product": (lambda x: x @ x.transpose(2, 3), "dot-product attention has no Lipschitz constant"),
    "a quotient": (lambda x: 1 / (1 + x), "nothing is known of __rdiv__"),
    "a square": (lambda x: x.square(), "squares"),
    "a power": (lambda x: x**2, "squares"),
    "a batch's statistics": (lambda x: F.batch_norm(x, None, None, training=True), "batch statistics"),
    "a mean over the batch": (lambda x: x - x.mean(0, keepdim=True), "mixes the samples"),
    "samples in another place": (lambda x: x.transpose(0, 1)[:2], "mixes the samples"),
    "rows taken twice": (lambda x: x[torch.tensor([0, 0])], "takes rows by number"),
    "a choice": (lambda x: torch.where(x > 0, x, 1.0), "chooses by comparing"),
    "a number taken out": (lambda x: x / x.max().item(), "leaves the operations on tensors"),
    "written in place": (lambda x: x.clone().add_(x), "writes into a tensor"),
    "an entry written": (lambda x: _written(x), "leaves the operations on tensors"),
    "written elsewhere": (lambda x: torch.mul(x, 50.0, out=torch.empty(2, 3, 4, 4)), "writes into a tensor"),
    "rounded down": (lambda x: torch.div(x, 0.5, rounding_mode="floor"), "rounds"),
    "steepened in place": (lambda x: _steepened(x), "steepens a tensor in its place"),
    "a mean of all": (lambda x: x.mean() * x, "mixes the samples"),
    "something unknown": (lambda x: torch.erfinv(x), "nothing is known of erfinv"),
}


def _written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = 5 * x[:, 1]
    return y


def _steepened(x: Tensor) -> Tensor:
    y = x - 0.5
    F.leaky_relu(y, 3.0, inplace=True)
    return y


@pytest.mark.parametrize("name", UNBOUNDED)
def test_where_no_bound_is_known_none_is_given(name: str) -> None:
    function, reason = UNBOUNDED[name]
    bound, why = followed(function, 3, 4, 4)
    assert bound == math.inf and any(reason in text for text in why), why


def test_what_is_unbounded_is_named_by_its_place() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), SelfAttention(8), nn.ReLU())
    at_first, why = followed(network, 3, 4, 4)
    assert at_first < math.inf and not why, "γ is 0, so the layer is the identity"
    with torch.no_grad():
        network[1].gamma.fill_(0.1)
    bound, why = followed(network, 3, 4, 4)
    assert bound == math.inf and [text.split(":")[0] for text in why] == ["1"]


def test_hooks_are_taken_away() -> None:
    with pytest.raises(ZeroDivisionError), Tracer(nn.Identity()).following():
        _ = 1 / 0
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


# --- discriminators --------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """A body, a head, and what `gan.Discriminator` says of them."""

    def __init__(self, body: nn.Module, head: nn.Module, weights: tuple[float, ...] = (1.0,)):
        super().__init__()
        self.body, self.head, self.score_weights = body, head, torch.tensor(weights)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        features = self.body(images)
        return DiscriminatorOutput(self.head(features, labels), features)


def test_of_a_linear_discriminator_both_bounds_are_its_norm() -> None:
    game = Game(recipe(model={"name": "mlp", "d_depth": 1, "z_size": 2}, dataset={"name": "ring"}))
    linear = Small(nn.Linear(2, 5, bias=False), Direction(5))
    w = (linear.head.weight @ linear.body.weight).detach().numpy()  # type: ignore[union-attr, operator]
    product = np.linalg.norm(linear.head.weight.detach().numpy()) * np.linalg.norm(  # type: ignore[union-attr, arg-type]
        linear.body.weight.detach().numpy(),
        2,  # type: ignore[union-attr, arg-type]
    )
    assert upper_bound(linear, torch.zeros(2, 2))[0] == pytest.approx(product, rel=1e-6)
    assert product >= np.linalg.norm(w)
    game.gan.discriminator = Small(nn.Flatten(), Direction(2))  # type: ignore[assignment]
    taken = take({"lipschitz": Lipschitz(20)}, Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0))
    norm = np.linalg.norm(game.gan.discriminator.head.weight.detach().numpy())  # type: ignore[union-attr, arg-type]
    assert taken.figures == pytest.approx({"lipschitz/upper": norm, "lipschitz/lower": norm}, rel=1e-6)


def test_where_the_steepest_slope_is_looked_for() -> None:
    """At reals, at fakes, on lines between pairs of them, and at noise as wide as images are."""
    game = Game(recipe()).rounds(1)
    evaluation: Any = Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0)
    with evaluation.networks() as networks:
        kinds = {name: seen for name, (seen, _) in Lipschitz(50)._kinds(evaluation, networks)}
    assert list(kinds) == ["real", "fake", "between", "noise"]
    low, high = torch.minimum(kinds["real"], kinds["fake"]), torch.maximum(kinds["real"], kinds["fake"])
    assert ((low - 1e-6 <= kinds["between"]) & (kinds["between"] <= high + 1e-6)).all()
    noise = kinds["noise"]
    assert -1 <= noise.min() < -0.99 and 0.99 < noise.max() <= 1 and abs(float(noise.mean())) < 0.05


def test_a_cascading_head_is_linear_and_exact() -> None:
    """Its scores in numpy: each of what the directions before left of the features."""
    head, weights = CascadingHead(6, 3), np.array([0.5, 0.3, 0.2])
    found, _ = upper_bound(Small(nn.Flatten(), head, tuple(weights.tolist())), torch.zeros(2, 6))
    rest, gradient = np.eye(6), np.zeros(6)
    for direction, share in zip(head.directions, weights, strict=True):
        w = direction.weight[0].detach().double().numpy()  # type: ignore[union-attr, operator]
        gradient += share * (w @ rest)
        rest = rest - np.outer(w, w @ rest) / (w @ w)
    assert found == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


NETWORKS: dict[str, dict[str, Any]] = {
    **{name: {"model": {"name": name}, "dataset": {"name": "digits", "size": 16}} for name in registry.names("model")},
    "mlp on points": {"model": {"name": "mlp"}, "dataset": {"name": "ring"}},
    "batch norm": {"model": {"d_norm": "batch"}},
    "layer norm": {"model": {"d_norm": "layer"}},
    "strided residual": {"model": {"name": "sngan_resnet", "down": "strided"}},
    "mean pool": {"model": {"name": "sngan_resnet", "pool": "mean"}},
    "a projection": {"trick": {"projection": {}}},
    "a cascade of projections": {"trick": {"projection": {}, "cascading": {}}},
    "labels beside images": {"trick": {"label_concat": {}}},
    "labels beside features": {"trick": {"label_concat": {"d_place": "features"}}},
    "packs": {"trick": {"pacgan": {"size": 2}}},
    "spectral norm": {"trick": {"spectral_norm": {}}},
    "multi_hinge": {"loss": "multi_hinge"},
    "o_gan": {"loss": "o_gan"},
    "infogan's": {"trick": {"infogan": {}}},
    "dropout": {"model": {"d_dropout": 0.5}},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_discriminator_lies_between_its_bounds(name: str) -> None:
    """Slopes between random points, and along the steepest direction, are never above the upper bounds."""
    energy = name == "autoencoder"
    game = Game(recipe(**{**NETWORKS[name], **({"loss": "began"} if energy else {})}))
    reals, told = Reals(game.gan.assembly.dataset), list[str]()
    judging = Judging(game.gan, reals, 0, 0, tell=told.append)
    bounds = {}
    for norms in ("matrix", "operator"):
        taken = take({"lipschitz": Lipschitz(24, norms=norms)}, judging)  # type: ignore[arg-type]
        assert not told
        bounds[norms] = taken.figures["lipschitz/upper"]
    lower = taken.figures["lipschitz/lower"]
    assert 0 < lower <= bounds["operator"] * (1 + 1e-5) <= bounds["matrix"] * 1.007
    with judging.networks() as networks, torch.no_grad():
        x = networks.see(reals().images[:60])
        labels = torch.arange(len(x)) % 10 if "d.labels" in networks.tags else None
        network = networks.discriminator

        def score(images: Tensor) -> Tensor:
            scores: Tensor = (network(images, labels).scores @ network.score_weights).double()  # type: ignore[operator]
            return scores

        steepest = 0.0
        for scale, _ in itertools.product((0.01, 0.1, 1.0), range(5)):
            step = scale * torch.randn_like(x)
            slopes = (score(x + step) - score(x)).abs() / step.flatten(1).norm(dim=1)
            steepest = max(steepest, float(slopes.max()))
    assert 0 < steepest <= bounds["operator"] * (1 + 1e-3), "beyond what float32 rounds"


def test_lower_is_the_largest_slope_of_those_looked_at() -> None:
    """D is a parabola s = 3 x₁², whose gradient 6 x₁ is known: the steepest of reals, fakes, points between and noise."""

    class Parabola(nn.Module):
        score_weights, head = torch.ones(1), nn.Identity()

        def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
            return DiscriminatorOutput(3 * images[:, :1].square(), images)

    game = Game(recipe(model={"name": "mlp", "z_size": 2}, dataset={"name": "ring"}))
    game.gan.discriminator = Parabola()  # type: ignore[assignment]
    told = list[str]()
    judging = Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0, tell=told.append)
    taken = take({"lipschitz": Lipschitz(60)}, judging)
    take({"lipschitz": Lipschitz(60)}, judging)
    by = taken.details["lipschitz/lower_by"]
    assert set(by) == {"real", "fake", "between", "noise"}
    assert taken.figures == {"lipschitz/lower": max(by.values())}
    fakes = torch.cat(list(judging.fakes(60)))
    assert by["fake"] == pytest.approx(6 * float(fakes[:, 0].abs().max()), rel=1e-5)
    assert "squares" in taken.details["lipschitz/why"][0]
    assert len(told) == 1 and "no upper bound of D's slope" in told[0], "once a run"


@pytest.mark.parametrize("trick", ["minibatch_discrimination", "minibatch_stddev"])
def test_scores_of_a_batch_together_have_no_bound_each(trick: str) -> None:
    game, told = Game(recipe(trick={trick: {}})), list[str]()
    judging = Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0, tell=told.append)
    taken = take({"lipschitz": Lipschitz(24)}, judging)
    assert not taken.figures and taken.details["spectral_norm"] and "together" in told[0]


def test_spectral_normalisation_of_matrices_is_a_bound_of_one() -> None:
    made = recipe(trick={"spectral_norm": {"exact": True}}, model={"name": "mlp"}, dataset={"name": "ring"})
    game = Game(made).rounds(2)
    taken = take({"lipschitz": Lipschitz(24)}, Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0))
    assert taken.figures["lipschitz/upper"] == pytest.approx(1, rel=1e-5)
    assert taken.figures["lipschitz/lower"] <= 1 + 1e-6
    beneath = taken.details["spectral_norm"]["d"]
    assert min(beneath.values()) > 0 and max(abs(v - 1) for v in beneath.values()) > 0.01


def test_spectral_norms_by_layer() -> None:
    torch.manual_seed(3)
    gan = GAN(preflight(recipe(trick={"spectral_norm": {}}, model={"g_norm": "batch"})), CPU)
    for network in (gan.discriminator, gan.generator):
        state, found = dict(network.named_parameters()), spectral_norms(network)
        layers = [n for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
        assert list(found) == layers
        for name in layers:
            weight = next(v for k, v in state.items() if k.startswith(name + ".") and "weight" in k).detach()
            transposed = isinstance(network.get_submodule(name), nn.ConvTranspose2d)
            matrix = (weight.transpose(0, 1) if transposed else weight).flatten(1).double().numpy()
            assert found[name] == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-6)


# --- in a run --------------------------------------------------------------------------------------------------------


def test_fewer_fakes_than_reals() -> None:
    game = Game(recipe(trick={"projection": {}, "conditional_batch_norm": {}}))
    judging = Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0, limit=10)
    taken = take({"lipschitz": Lipschitz(24)}, judging)
    assert taken.protocols["lipschitz/lower"]["fake_count"] == 10 == taken.protocols["lipschitz/lower"]["real_count"]


def test_looking_changes_nothing() -> None:
    game = Game(recipe(trick={"spectral_norm": {}}, model={"d_dropout": 0.5})).rounds(1)
    state = {k: v.clone() for k, v in game.gan.discriminator.state_dict().items()}
    before = torch.get_rng_state()
    take({"lipschitz": Lipschitz(24)}, Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 1))
    assert torch.get_rng_state().equal(before) and game.gan.discriminator.training
    assert all(torch.equal(v, state[k]) for k, v in game.gan.discriminator.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in game.gan.discriminator.parameters())


def test_refusals() -> None:
    game = Game(recipe())
    with pytest.raises(GantrickError, match="a mixture of generators has no networks"):
        JudgingMixture(game.gan, Reals(game.gan.assembly.dataset), 0, 0, gans=[game.gan], shares=[1.0]).networks()
    told = list[str]()
    with torch.no_grad():
        next(game.gan.discriminator.parameters()).fill_(torch.nan)
    taken = take({"l": Lipschitz(24)}, Judging(game.gan, Reals(game.gan.assembly.dataset), 0, 0, tell=told.append))
    assert not taken.figures and "not finite" in told[0]
