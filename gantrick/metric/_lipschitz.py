"""How far a network can carry two inputs apart: an upper bound of its Lipschitz constant, found by following a forward.

A forward is run on tensors that carry a bound L, |h(x) − h(x')| ≤ L |x − x'| in the Euclidean norm, sample by sample.
Each operation of torch hands it on by a rule: so any network has a bound, or a reason why it has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input  # type: ignore[attr-defined]
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves, tree_map

Norms = Literal["matrix", "operator"]

SLACK = 0.01  # ε: a Lanczos estimate of a squared norm may be so much too small
FAILURE = 1e-6  # the probability, for each convolution, that it is more
ACTIVATIONS = {  # the largest slope
    "relu": 1.0,
    "relu6": 1.0,
    "tanh": 1.0,
    "hardtanh": 1.0,
    "softplus": 1.0,
    "softsign": 1.0,
    "sin": 1.0,
    "cos": 1.0,
    "sigmoid": 0.25,
    "log_sigmoid": 1.0,
    "gelu": 1.13,
    "silu": 1.1,
    "abs": 1.0,
    "neg": 1.0,
    "clamp": 1.0,
    "clamp_min": 1.0,
    "clamp_max": 1.0,
}
SAME = {"contiguous", "clone", "detach", "to", "float", "double", "half", "bfloat16", "type", "type_as", "masked_fill"}
SHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "pixel_shuffle", "pixel_unshuffle"}
CONSTANTS = {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "zeros_like", "ones_like", "empty_like"}
LEAVING = {"item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "__setitem__"}
IN_PLACE = {"relu_", "leaky_relu_"}
INPLACE = {
    "relu": 1,
    "relu6": 1,
    "silu": 1,
    "leaky_relu": 2,
    "elu": 2,
    "dropout": 3,
    "hardtanh": 3,
}  # places of that word
CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


class Unbounded(Exception):
    """An operation that can carry two inputs apart by any factor, or of which nothing is known."""


class Bounded(Tensor):
    """A batch (B, …) whose every sample moves by at most `bound` times what its input moves; `why` there is none."""

    bound: float
    why: tuple[str, ...]
    tracer: Tracer

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            plain = tree_map(_plain, (args, kwargs))
            out = func(*plain[0], **plain[1])
            tracer = next(x for x in tree_leaves((args, kwargs)) if isinstance(x, Bounded)).tracer
            return tracer.follow(getattr(func, "__name__", str(func)), args, kwargs, out)


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, Bounded) else value


@dataclass
class Tracer:
    """Follows forwards of a network. norms: how a convolution's norm is found (`convolution_norm`).

    layers: the norm of each linear layer and convolution that was met, by the name of its module.
    """

    network: nn.Module
    norms: Norms = "matrix"
    layers: dict[str, float] = field(default_factory=dict)
    _path: list[str] = field(default_factory=list)
    _left: list[str] = field(default_factory=list)
    _met: dict[str, int] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)

    def start(self, images: Tensor) -> Bounded:
        return self._bounded(images.detach(), 1.0, ())

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, forwards of `start`'s tensors are followed. Call it anew for each forward."""
        self._names = {id(module): name for name, module in self.network.named_modules()}
        self._path, self._met, self._left = [], {}, []

        def enter(module: nn.Module, _: Any) -> None:
            self._path.append(self._names.get(id(module), ""))

        def leave(module: nn.Module, _: Any, out: Any) -> None:
            self._path.pop()

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            with torch.no_grad():
                yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def place(self) -> str:
        """The innermost module of the network that is running."""
        return next((name for name in reversed(self._path) if name), "the network")

    def _bounded(self, out: Tensor, bound: float, why: Sequence[str]) -> Bounded:
        made = out.as_subclass(Bounded)
        made.bound, made.why, made.tracer = bound, tuple(dict.fromkeys(why)), self
        return made

    def follow(self, name: str, args: Any, kwargs: Any, out: Any) -> Any:
        if name in CONSTANTS:
            return out
        writes = kwargs.get("out") is not None
        if writes or (name.endswith("_") and not name.endswith("__") and name not in IN_PLACE):
            self._left.append(f"{self.place}: {name} writes into a tensor, which is not followed")
        if isinstance(out, (tuple, list)) and any(isinstance(x, Tensor) for x in out):
            return type(out)([self._one(name, args, kwargs, x) if isinstance(x, Tensor) else x for x in out])
        if isinstance(out, Tensor):
            return self._one(name, args, kwargs, out)
        if name in LEAVING:
            self._left.append(f"{self.place}: {name} leaves the operations on tensors, which alone are followed")
        return out

    def _one(self, name: str, args: Any, kwargs: Any, out: Tensor) -> Bounded:
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Bounded)]
        earlier = [why for x in inputs for why in x.why]
        try:
            if not out.is_floating_point():
                raise Unbounded("chooses by comparing, which can jump")
            if out.ndim == 0 or inputs[0].ndim == 0 or len(out) != len(inputs[0]):
                raise Unbounded(f"{name} mixes the samples of a batch")
            try:
                bound = rule(Call(self, name, args, kwargs, inputs, out))
            except (IndexError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise Unbounded(f"nothing is known of {name} with these arguments") from error
        except Unbounded as reason:
            return self._bounded(out, math.inf, earlier or [f"{self.place}: {reason}"])
        place = INPLACE.get(name)
        inplace = name in IN_PLACE or (
            place is not None and (args[place] if len(args) > place else kwargs.get("inplace"))
        )
        if inplace and bound > inputs[0].bound:
            self._left.append(f"{self.place}: {name} steepens a tensor in its place, for whoever has it already")
        return self._bounded(out, bound, () if math.isfinite(bound) else earlier)

    def found(self, out: Tensor) -> tuple[float, tuple[str, ...]]:
        """The bound of what came of a forward that was followed, and why there is none."""
        if self._left:
            return math.inf, (self._left[0],)
        return (out.bound, out.why) if isinstance(out, Bounded) else (0.0, ())

    def layer(self, find: Callable[[], float]) -> float:
        """The norm of the linear layer that is running; found once, however many labels its forward is run for."""
        place = self.place
        met = self._met[place] = self._met.get(place, 0) + 1
        name = place if met == 1 else f"{place} #{met}"
        if name not in self.layers:
            self.layers[name] = find()
        return self.layers[name]


@dataclass
class Call:
    """One operation on tensors with bounds: its arguments as they were given, and what came out."""

    tracer: Tracer
    name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    inputs: list[Bounded]
    out: Tensor

    @property
    def x(self) -> Bounded:
        return self.inputs[0]

    def get(self, place: int, name: str, default: Any = None) -> Any:
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def times(self, factor: float) -> float:
        return times(self.x.bound, factor)

    def alone(self) -> None:
        if len(self.inputs) > 1 or self.args[0] is not self.x:
            raise Unbounded(f"nothing is known of {self.name} with these arguments")


def times(bound: float, factor: float) -> float:
    """bound · factor, where nothing is left of what is multiplied by 0."""
    return 0.0 if factor == 0 else bound * factor


def rule(call: Call) -> float:
    """The bound of what an operation gives. Raises Unbounded where there is none, or none is known."""
    name = call.name
    if name in SAME:
        if name == "masked_fill" and len(call.inputs) > 1:
            raise Unbounded("chooses by comparing, which can jump")
        return call.x.bound
    if name in SHAPES:
        return call.x.bound
    if name in ACTIVATIONS or name == "relu_":
        call.alone()
        return call.times(ACTIVATIONS.get(name, 1.0))
    found = RULES.get(name)
    if found is None:
        raise Unbounded(f"nothing is known of {name}")
    return found(call)


# --- linear layers ---------------------------------------------------------------------------------------------------


def _linear(call: Call) -> float:
    weight = call.get(1, "weight")
    if isinstance(weight, Bounded):
        raise Unbounded("multiplies two things that both depend on the image")
    call.alone()
    return call.times(call.tracer.layer(lambda: matrix_norm(weight)))


def _convolution(call: Call) -> float:
    names = TRANSPOSED if call.name == "conv_transpose2d" else CONV
    given = dict(zip(names, call.args, strict=False)) | call.kwargs
    if isinstance(given["weight"], Bounded):
        raise Unbounded("multiplies two things that both depend on the image")
    call.alone()
    shape = tuple(call.x.shape[1:])
    return call.times(call.tracer.layer(lambda: _norm_of(call.name, given, shape, call.tracer.norms)))


def _norm_of(name: str, given: dict[str, Any], shape: tuple[int, ...], norms: Norms) -> float:
    weight, groups = given["weight"].detach(), given.get("groups", 1)
    options = {key: _pair(given.get(key, 1)) for key in ("stride", "dilation")}
    padding = given.get("padding", 0)
    transposed = name == "conv_transpose2d"
    if norms == "matrix" or isinstance(padding, str):
        return matrix_bound(weight, options["stride"], options["dilation"], groups)
    options |= {"padding": _pair(padding)}
    more = {"output_padding": _pair(given.get("output_padding", 0))} if transposed else {}
    return operator_norm(weight, shape, groups=groups, transposed=transposed, **options, **more)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _double(x: Tensor) -> Tensor:
    return x.detach().to("cpu" if x.device.type == "mps" else x.device).double()  # mps has no float64


def matrix_norm(matrix: Tensor) -> float:
    """The largest singular value of a matrix or a vector, from the eigenvalues of the smaller product with itself."""
    m = _double(matrix)
    if m.ndim < 2:
        return float(torch.linalg.vector_norm(m))
    m = m.mT if m.shape[-2] > m.shape[-1] else m
    return float(torch.linalg.eigvalsh(m @ m.mT)[..., -1].clamp_min(0).max().sqrt())


def matrix_bound(
    weight: Tensor, stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), groups: int = 1
) -> float:
    """√(⌈kh/s⌉ ⌈kw/s⌉) σ(W), W the kernel as (out, in·kh·kw): never below the norm of a convolution padded with 0.

    A convolution multiplies patches by W, and an entry of its input lies in so many patches; σ(W) alone, which
    spectral normalisation divides by, can be too small by that root. A transposed convolution is the adjoint of the one
    with its weight, so it has its norm.
    """
    parts = weight.flatten(1).view(groups, -1, weight[0].numel())
    return math.sqrt(_patches(tuple(weight.shape[2:]), stride, dilation)) * matrix_norm(parts)


def _patches(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> int:
    """In how many windows an entry of the input lies, at most."""
    return math.prod(-(-k * math.gcd(s, d) // s) for k, s, d in zip(kernel, stride, dilation, strict=True))


def operator_norm(
    weight: Tensor,
    shape: tuple[int, ...],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    output_padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    transposed: bool = False,
) -> float:
    """The norm of the convolution as it is, with its padding and stride, on inputs of this shape (C, H, W).

    By Lanczos' method on KᵀK from a random start, which comes from below: after k steps the largest squared value is
    too small by more than ε of it with a probability of at most 1.648 √n e^{−√ε (2k − 1)} (Kuczyński and Woźniakowski,
    SIAM J. Matrix Anal. Appl. 13, 1992). k is chosen for `FAILURE`, and the estimate divided by 1 − `SLACK`: it is an
    upper bound but for that probability, and never more than 0.6 % above the norm. In float64.
    """
    w = _double(weight)

    def forward(x: Tensor) -> Tensor:
        if transposed:
            return F.conv_transpose2d(x, w, None, stride, padding, output_padding, groups, dilation)
        return F.conv2d(x, w, None, stride, padding, dilation, groups)

    def adjoint(y: Tensor) -> Tensor:
        if transposed:
            return F.conv2d(y, w, None, stride, padding, dilation, groups)
        found: Tensor = conv2d_input((1, *shape), w, y, stride, padding, dilation, groups)  # type: ignore[no-untyped-call]
        return found

    n = math.prod(shape)
    steps = math.ceil((math.log(1.648 * math.sqrt(n) / FAILURE) / math.sqrt(SLACK) + 1) / 2)
    source = torch.Generator().manual_seed(0)
    v = torch.randn((1, *shape), generator=source, dtype=torch.float64).to(w.device)
    v, before, beta = v / v.norm(), torch.zeros_like(v), 0.0
    diagonal, beside = list[float](), list[float]()
    exhausted = False
    for _ in range(min(steps, n)):
        u = adjoint(forward(v)) - beta * before
        alpha = float((u * v).sum())
        u = u - alpha * v
        diagonal.append(alpha)
        beta = float(u.norm())
        if beta <= 1e-12 * max(map(abs, diagonal)):
            exhausted = True  # the space of the start is whole
            break
        beside.append(beta)
        before, v = v, u / beta
    size = len(diagonal)
    t = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, value in enumerate(beside[: size - 1]):
        t[i, i + 1] = t[i + 1, i] = value
    largest = max(float(torch.linalg.eigvalsh(t)[-1]), 0.0)
    return math.sqrt(largest if exhausted or size == n else largest / (1 - SLACK))


def _matmul(call: Call) -> float:
    a, b = call.args[0], call.args[1]
    if len(call.inputs) > 1:
        raise Unbounded(
            "multiplies two maps that both depend on the image: dot-product attention has no Lipschitz constant "
            "(arXiv 2006.04710)"
        )
    const = b if isinstance(a, Bounded) else a
    if const.ndim > call.x.ndim or call.x.ndim < 2 or (call.x.ndim == 2 and not isinstance(a, Bounded)):
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    copies = 1.0
    if const.ndim > 2:  # one x times several matrices
        copies = math.sqrt(math.prod(call.out.shape[:-2]) / math.prod(call.x.shape[:-2]))
    return call.times(matrix_norm(const) * copies)


def _outer(call: Call) -> float:
    call.alone()
    return call.times(float(call.args[1].double().norm()))


# --- sums and products ---------------------------------------------------------------------------------------------


def _spread(x: Tensor, out: Tensor) -> float:
    """What repeating entries of x to the shape of out costs."""
    if x.ndim != out.ndim or len(x) != len(out):
        raise Unbounded("repeats a tensor over the batch")
    return math.sqrt(out.numel() / x.numel())


def _add(call: Call) -> float:
    if "alpha" in call.kwargs:
        raise Unbounded(f"nothing is known of {call.name} with alpha")
    return sum(times(x.bound, _spread(x, call.out)) for x in call.inputs)


def _multiply(call: Call) -> float:
    a, b = call.args[0], call.args[1]
    if len(call.inputs) > 1:
        raise Unbounded("multiplies two things that both depend on the image")
    const = b if isinstance(a, Bounded) else a
    if call.kwargs.get("rounding_mode") is not None:
        raise Unbounded("rounds, which can jump")
    if call.name in ("div", "true_divide"):
        if not isinstance(a, Bounded):
            raise Unbounded("divides by something that depends on the image")
        const = 1 / const
    if not isinstance(const, Tensor):
        return call.times(abs(float(const)))
    _spread(call.x, call.out)
    square = const.double().square().expand(call.out.shape)
    return call.times(float(square.sum_to_size(call.x.shape).max().sqrt()))


def _places(call: Call, dims: Any) -> list[int]:
    """Which dimensions are meant. Raises Unbounded where the batch's is among them."""
    count = call.x.ndim
    given = range(count) if dims is None else (dims,) if isinstance(dims, int) else dims
    found = sorted(d % count for d in given)
    if 0 in found or not found:
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    return found


def _sum(call: Call) -> float:
    places = _places(call, call.get(1, "dim"))
    count = math.prod(call.x.shape[d] for d in places)
    return call.times(math.sqrt(count) if call.name == "sum" else 1 / math.sqrt(count))


def _largest(call: Call) -> float:
    _places(call, call.get(1, "dim"))
    return call.x.bound


def _softmax(call: Call) -> float:
    _places(call, call.get(1, "dim"))
    return call.times(0.5)  # the Jacobian diag(p) − p pᵀ has no larger eigenvalue


def _joined(call: Call) -> float:
    dim = call.get(1, "dim", 0)
    if not isinstance(dim, int) or dim % call.out.ndim == 0:
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    if any(math.isinf(x.bound) for x in call.inputs):
        return math.inf
    return math.hypot(*(x.bound for x in call.inputs))


def _swapped(call: Call) -> float:
    if len(call.args) < 3:
        raise Unbounded("nothing is known of transpose by names")
    if any(d % call.x.ndim == 0 for d in call.args[1:3]):
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    return call.x.bound


def _permuted(call: Call) -> float:
    dims = call.args[1] if isinstance(call.args[1], (tuple, list)) else call.args[1:]
    if dims[0] % call.x.ndim:
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    return call.x.bound


def _repeated(call: Call) -> float:
    return call.times(_spread(call.x, call.out))


def _taken(call: Call) -> float:
    index = call.args[1]
    parts = index if isinstance(index, tuple) else (index,)
    if isinstance(index, Bounded) or any(isinstance(part, Bounded) for part in parts):
        raise Unbounded("chooses by comparing, which can jump")
    if isinstance(index, Tensor):
        mask = index.dtype == torch.bool and index.shape == call.x.shape
        if not mask or not bool((index.flatten(1).sum(1) == 1).all()):
            raise Unbounded("takes rows by number, which may repeat them")
        return call.x.bound
    if parts[0] is not Ellipsis and parts[0] != slice(None):
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    if not all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts):
        raise Unbounded("takes entries by number, which may repeat them")
    return call.x.bound


def _split(call: Call) -> float:
    if call.get(2, "dim", 0) % call.x.ndim == 0:
        raise Unbounded(f"{call.name} mixes the samples of a batch")
    return call.x.bound


# --- what else networks are made of --------------------------------------------------------------------------------


def _leaky(call: Call) -> float:
    return call.times(max(1.0, abs(call.get(1, "negative_slope", 0.01))))


def _elu(call: Call) -> float:
    return call.times(max(1.0, abs(call.get(1, "alpha", 1.0))))


def _prelu(call: Call) -> float:
    return call.times(max(1.0, float(call.get(1, "weight").abs().max())))


def _dropout(call: Call) -> float:
    return call.times(1 / (1 - call.get(1, "p", 0.5)) if call.get(2, "training", True) else 1.0)


def _largest_gain(weight: Tensor | None) -> float:
    return 1.0 if weight is None else float(weight.detach().abs().max())


def _batch_norm(call: Call) -> float:
    if call.get(5, "training", False):
        raise Unbounded("batch statistics let the samples of a batch move one another")
    var, weight, epsilon = call.get(2, "running_var"), call.get(3, "weight"), call.get(7, "eps", 1e-5)
    gain = torch.ones_like(var) if weight is None else weight.detach()
    return call.times(float((gain.double().abs() / (var.double() + epsilon).sqrt()).max()))


def _own_norm(weight: int, epsilon: int) -> Callable[[Call], float]:
    """Norms by a sample's own statistics: steepest, 1/√ε, where all entries of a group are equal."""

    def own(call: Call) -> float:
        if call.name == "instance_norm" and not call.get(5, "use_input_stats", True):
            raise Unbounded("nothing is known of instance_norm with running statistics")
        return call.times(_largest_gain(call.get(weight, "weight")) / math.sqrt(call.get(epsilon, "eps", 1e-5)))

    return own


def _pooled(call: Call) -> float:
    """Windows that are averaged (a kernel of equal entries), or whose largest entry is taken."""
    kernel = _pair(call.get(1, "kernel_size"))
    stride = call.get(2, "stride")
    dilation = _pair(call.get(4, "dilation", 1)) if call.name == "max_pool2d" else (1, 1)
    windows = _patches(kernel, kernel if stride in (None, [], ()) else _pair(stride), dilation)
    if call.name == "avg_pool2d" and call.get(6, "divisor_override") is not None:
        raise Unbounded("nothing is known of avg_pool2d with a divisor of its own")
    if call.name == "avg_pool2d" and (call.get(4, "ceil_mode") or not call.get(5, "count_include_pad", True)):
        raise Unbounded("nothing is known of avg_pool2d whose windows have unlike sizes")
    return call.times(math.sqrt(windows / (math.prod(kernel) if call.name == "avg_pool2d" else 1)))


def _averaged_whole(call: Call) -> float:
    if math.prod(call.out.shape[2:]) != 1:
        raise Unbounded("nothing is known of adaptive_avg_pool2d to more than one entry")
    return call.times(1 / math.sqrt(math.prod(call.x.shape[2:])))


def _resized(call: Call) -> float:
    if call.get(3, "mode", "nearest") != "nearest" or any(
        new % old for new, old in zip(call.out.shape[2:], call.x.shape[2:], strict=True)
    ):
        raise Unbounded("nothing is known of interpolate but for nearest entries at whole factors")
    return call.times(math.sqrt(call.out.numel() / call.x.numel()))


def _padded(call: Call) -> float:
    if call.get(2, "mode", "constant") != "constant":
        raise Unbounded("pads with entries of the map, which repeats them")
    return call.x.bound


def _squared(call: Call) -> float:
    raise Unbounded("squares, whose slope grows with what is squared")


RULES: dict[str, Callable[[Call], float]] = {
    "linear": _linear,
    "conv2d": _convolution,
    "conv_transpose2d": _convolution,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "outer": _outer,
    "add": _add,
    "sub": _add,
    "__radd__": _add,
    "__rsub__": _add,
    "rsub": _add,
    "mul": _multiply,
    "__rmul__": _multiply,
    "div": _multiply,
    "true_divide": _multiply,
    "sum": _sum,
    "mean": _sum,
    "amax": _largest,
    "amin": _largest,
    "logsumexp": _largest,  # its gradient is a softmax, of entries that add up to 1
    "softmax": _softmax,
    "cat": _joined,
    "stack": _joined,
    "transpose": _swapped,
    "permute": _permuted,
    "expand": _repeated,
    "expand_as": _repeated,
    "__getitem__": _taken,
    "chunk": _split,
    "split": _split,
    "leaky_relu": _leaky,
    "leaky_relu_": _leaky,
    "elu": _elu,
    "prelu": _prelu,
    "dropout": _dropout,
    "batch_norm": _batch_norm,
    "group_norm": _own_norm(2, 4),
    "layer_norm": _own_norm(2, 4),
    "instance_norm": _own_norm(3, 7),
    "avg_pool2d": _pooled,
    "max_pool2d": _pooled,
    "adaptive_avg_pool2d": _averaged_whole,
    "interpolate": _resized,
    "pad": _padded,
    "square": _squared,
    "pow": _squared,
}
