"""What every regularizer and trick costs: a step with it against one without, in turn, medians; and its memory.

The components are those the registry finds, each with the settings of its config. Each is put on the first of a few
plain runs that it gets on with: three losses, without labels and with them in either of two ways, and stands past the
first steps, in which some do more. "Arithmetic" is by how much the multiplications and additions of a step in
convolutions and matrix products grow, as torch's counter sees them: what a ratio above it is made of is memory,
elementwise work and the host's. Memory is counted too, tensor by tensor, so that both are the same on any machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Sequence

from gantrick import bench, compose, config, registry
from gantrick.gan import preflight, resolve_device
from gantrick.recipe import Recipe
from gantrick.types import ConfigError

RUN = ["dataset=cifar10", "model=sngan_resnet", "model.g_width=64", "model.d_width=64", "batch_size=64", "log_every=1"]
LABELS = (("label_concat",), ("conditional_batch_norm", "projection"))
BASES = [(loss, partners) for partners in ((), *LABELS) for loss in ("hinge", "non_saturating", "wgan")]
GROUPS = ("regularizer", "trick")
OWN = (*GROUPS, "loss")
COLUMNS = ("with", "on", "ms a step without", "with", "times as long", "range", "arithmetic", "memory", "MiB more")
Base = tuple[str, tuple[str, ...]]


def report(words: Sequence[str], rounds: int = 3) -> Iterator[str]:
    """Markdown lines. words: components, as "trick.ema" or "ema" (none: all), and settings of the run.

    Raises ConfigError for a name that no component has, and for settings of what is compared itself.
    """
    found = [f"{group}.{name}" for group in GROUPS for name in registry.names(group)]
    named, faults = list[str](), list[str]()
    for word in (word for word in words if "=" not in word):
        fitting = [label for label in found if word in (label, label.partition(".")[2])]
        named += fitting
        if not fitting:
            names = [name for label in found for name in (label, label.partition(".")[2])]
            faults.append(f"{word}: there is no such regularizer or trick; {config.suggest(word, names, 'choose')}")
    settings = {config.key_of(word): word for word in (*RUN, *config.flags_first(words)) if "=" in word}
    faults += [
        f"{settings[key]}: what is compared chooses it, with the options of its config; leave it out"
        for key in settings
        if key.partition(".")[0] in OWN
    ]
    if faults:
        raise ConfigError(*faults)
    run = settings.values()
    device = resolve_device(_recipe(BASES[0], run).settings.device)
    yield f"{bench.describe(device)}; {' '.join(run)}; {rounds} rounds"
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    plain: dict[Base, _Measured] = {}
    for label in dict.fromkeys(named) or found:
        group, _, name = label.partition(".")
        refused = ""
        for on in BASES:
            try:
                made = _recipe(on, run, group, name)
                preflight(made)
                break
            except ConfigError as error:
                refused = refused or error.faults[0]
        else:
            yield f"| {label} | {refused} |{' |' * (len(COLUMNS) - 2)}"
            continue
        if on not in plain:
            plain[on] = _Measured(_recipe(on, run))
        bare, with_it = plain[on], _Measured(made)
        seconds = bench.alternate({"without": bare.seconds, "with": with_it.seconds}, rounds)
        ratios = [b / a for a, b in zip(seconds["without"], seconds["with"], strict=True)]
        cells = [label, ", ".join([on[0], *on[1]])]
        cells += [f"{1e3 * statistics.median(seconds[key]):.0f}" for key in ("without", "with")]
        cells += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}"]
        cells += [f"{b / a:.2f}" for a, b in ((bare.operations, with_it.operations), (bare.memory, with_it.memory))]
        cells.append(f"{(with_it.memory - bare.memory) / 2**20:+.1f}")
        yield f"| {' | '.join(cells)} |"
        del with_it
    yield ""
    if plain:
        told = ", ".join(f"{one.memory / 2**20:.4g} MiB on {', '.join([on[0], *on[1]])}" for on, one in plain.items())
        yield f"Memory: the most bytes of tensors in a step, the run's state and what the step makes; without: {told}."


def _recipe(base: Base, run: Collection[str], group: str = "trick", name: str = "") -> Recipe:
    loss, partners = base
    lists = {"regularizer": [], "trick": [*partners]}
    if name:
        lists[group].append(name)
    chosen = [f"{key}=[{','.join(names)}]" for key, names in lists.items()]
    return bench.made_up(compose([*run, f"loss={loss}", *chosen]))


class _Measured:
    """A run in the middle of its training, and what its steps take."""

    def __init__(self, made: Recipe):
        self.running = bench.Running(made)
        self.running.advance()  # what is allocated once for all
        self.operations, self.memory = bench.operations(self.running), bench.memory(self.running)

    def seconds(self) -> float:
        """A step, the mean of as many as lazy penalties come round in."""
        return self.running.advance(self.running.cycle)
