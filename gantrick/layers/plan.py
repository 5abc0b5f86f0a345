"""What every model decides before it builds: the first spec, the size at the bottom, and what it cannot fit."""

from __future__ import annotations

from typing import Literal

from torch import nn

from gantrick.layers.dropout import Dropout
from gantrick.layers.heads import Direction, Pool, linear_head, tail
from gantrick.layers.initialisation import Init, initialisation
from gantrick.layers.normalization import norm
from gantrick.types import ConfigError, DataShape, NetworkSpec


def first_spec(
    data: DataShape,
    g_norm: str,
    d_norm: str,
    *,
    z_size: int,
    z_distribution: Literal["normal", "uniform"],
    pool: Pool,
    init: Init,
    d_dropout: float,
    g_blocks: int,
) -> NetworkSpec:
    """The spec of a model's settings; `d_dropout` 0 leaves D's dropout slots empty, more fills each with that rate."""
    return NetworkSpec(
        data=data,
        z_size=z_size,
        z_distribution=z_distribution,
        g_norm=norm(g_norm),
        d_norm=norm(d_norm),
        d_dropout=lambda suggested: Dropout(d_dropout) if d_dropout else nn.Identity(),
        head=linear_head,
        direction=Direction,
        tail=tail(pool),
        g_init=initialisation(init),
        d_init=initialisation(init),
        g_blocks=g_blocks,
    )


def with_dropout_rate(spec: NetworkSpec, rate: float | None) -> NetworkSpec:
    """The spec whose dropout slots suggest this rate in place of the architecture's; None leaves the latter."""
    return spec if rate is None else spec.but(d_dropout=lambda suggested: spec.d_dropout(rate))


def first_size(spec: NetworkSpec) -> int:
    """Input size of G's first layer: z, or the first chunk where a condition cuts z up."""
    return int(getattr(spec.g_condition, "first_size", spec.z_size))


def halvings(data: DataShape, least: int) -> int:
    """How often height and width can be halved exactly and stay at least `least` pixels."""
    count, sizes = 0, data.shape[1:]
    while all(size % 2 == 0 and size // 2 >= least for size in sizes):
        count, sizes = count + 1, tuple(size // 2 for size in sizes)
    return count


def check_images(who: str, data: DataShape, **depths: int | None) -> None:
    """Raises ConfigError where the data are no images, or their size does not allow a depth (None: chosen from it)."""
    if not data.is_image:
        raise ConfigError(f"{who}: makes images, but the data are points of shape {data.shape}; choose model=mlp")
    size = "x".join(map(str, data.shape[1:]))
    most, faults = halvings(data, 2), []
    for name, depth in depths.items():
        if depth is None and not halvings(data, 4):
            faults.append(
                f"{who}: images of {size} pixels cannot be halved and stay at 4 or more; resize them to an even size of"
                " at least 8 (32, 48, 64 or 128 are best), or choose model=mlp"
            )
        elif depth is not None and depth > most:
            remedy = f"set it to at most {most}" if most else "choose model=mlp"
            faults.append(
                f"model.{name}: {who} cannot halve {size} pixels {depth} times exactly; {remedy} or resize the images"
            )
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
