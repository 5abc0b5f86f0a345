"""group/name -> class: by path, by entry point, or by a user's file; the constructor's signature is the schema.

`gantrick/trick/ema.py` holds the class of `trick=ema`, and there is no list of it anywhere else. A package adds its own
through the entry-point group `gantrick.components` (`"trick.mine" = "my_package.mine:Mine"`), a script through
`imports=[my_tricks.py]`, whose classes are decorated with `@gantrick.register("trick.mine")`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from gantrick.types import Bound, ConfigError, GantrickError

GROUPS = ("model", "loss", "regularizer", "trick", "dataset", "metric")
LISTS = ("regularizer", "trick", "metric")
ENTRY_POINTS = "gantrick.components"

_registered: dict[str, type] = {}
T = TypeVar("T", bound=type)


def register(label: str) -> Callable[[T], T]:
    """Class decorator for a user's file: `@gantrick.register("trick.mine")`. Raises ConfigError on a bad label."""
    group, _, name = label.partition(".")
    if group not in GROUPS or not name.isidentifier():
        raise ConfigError(
            f"{label}: cannot be registered; a label is <group>.<name> with a group of {', '.join(GROUPS)}"
        )

    def note(cls: T) -> T:
        _check(cls, label)
        _registered[label] = cls
        return cls

    return note


def import_file(path: str | Path) -> None:
    """Runs a user's Python file once, so that its `register` decorators act. Raises ConfigError where it cannot."""
    file = Path(os.path.expanduser(path)).resolve()
    name = f"gantrick_user_{file.stem}_{abs(hash(str(file)))}"
    if name in sys.modules:
        return
    if not file.is_file():
        raise ConfigError(f"imports: there is no file {path}; give the path of a Python file")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"imports: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except GantrickError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"imports: {path} fails when it is run: {type(error).__name__}: {error}; mend it") from error


@cache
def _shipped(group: str) -> tuple[str, ...]:
    folder = Path(__file__).parent / group
    return tuple(
        sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.ispkg and not m.name.startswith("_"))
    )


@cache
def _foreign() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def names(group: str) -> tuple[str, ...]:
    """Every name of a group, sorted: shipped, by entry point, registered. Imports none of them."""
    other = [label.partition(".")[2] for label in (*_foreign(), *_registered) if label.startswith(f"{group}.")]
    return tuple(sorted({*_shipped(group), *other}))


def load(group: str, name: str) -> type:
    """The class behind `group=name`. Raises ConfigError with the nearest name where there is none."""
    label = f"{group}.{name}"
    if label in _registered:
        return _registered[label]
    if label in _foreign():
        try:
            cls = _foreign()[label].load()
        except Exception as error:
            raise ConfigError(f"{label}: its package does not load: {error}; mend or uninstall it") from error
        _check(cls, label)
        return typing.cast(type, cls)
    if name not in _shipped(group):
        own = "; the file of a class of your own goes into imports=[FILE.py]"
        known = names(group)
        near = difflib.get_close_matches(name, known, 1, 0.6)
        raise ConfigError(unknown(label, "unknown " + group, name, known) + ("" if near else own))
    module = importlib.import_module(f"gantrick.{group}.{name}")
    wanted = name.replace("_", "")
    classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [c for c in classes if c.__name__.lower() == wanted]
    if len(found) != 1:
        raise ConfigError(f"{label}: {module.__name__} must hold one class named like its file, {wanted!r} in any case")
    _check(found[0], label)
    return found[0]


def _check(cls: type, label: str) -> None:
    from gantrick.stages import Component, check_class
    from gantrick.types import Dataset, Metric, Model

    group = label.partition(".")[0]
    base = {"model": Model, "dataset": Dataset, "metric": Metric}.get(group, Component)
    if not issubclass(cls, base):
        raise ConfigError(
            f"{label}: {cls.__name__} is not a {base.__name__}; derive it from gantrick's {base.__name__}"
        )
    if issubclass(cls, Component):
        check_class(cls, label)


def create(group: str, name: str, options: Mapping[str, Any], key: str | None = None) -> Any:
    """An instance with checked options; `key` is how its config calls it. Raises ConfigError with all faults."""
    label = f"{group}.{name}" if key is None else key
    cls = load(group, name)
    values, faults = check_call(cls, options, label)
    if faults:
        raise ConfigError(*faults)
    return cls(**values)


def providers(tag: str) -> list[str]:
    """What a user could choose to have a tag: "loss=hinge". Looks at shipped classes and their declared tags."""
    return [
        f"{group}={name}"
        for group in ("loss", "regularizer", "trick")
        for name in names(group)
        if tag in getattr(load(group, name), "provides", ())
    ]


def speakers(stage: str) -> list[str]:
    """What a user could choose to have a stage spoken in: "loss=o_gan". Looks at shipped classes."""
    from gantrick.stages import verbs

    return [
        f"{group}={name}"
        for group in ("loss", "regularizer", "trick")
        for name in names(group)
        if stage in verbs(load(group, name))
    ]


# --- the signature is the schema -------------------------------------------------------------------------------------


def unknown(who: str, what: str, name: str, known: Iterable[str]) -> str:
    """One sentence about a name that is not there, with the nearest one that is."""
    options = list(known)
    near = difflib.get_close_matches(name, options, 1, 0.6)
    if near:
        return f"{who}: {what}; did you mean {near[0]}?"
    return f"{who}: {what}; there {'are' if len(options) != 1 else 'is'} {', '.join(options) or 'none'}"


def check_call(
    function: Callable[..., Any], options: Mapping[str, Any], label: str
) -> tuple[dict[str, Any], list[str]]:
    """Values for a call by keyword, converted to the signature's types, and every fault found (one sentence each)."""
    parameters = inspect.signature(function).parameters
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target, include_extras=True)
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name in options:
        if name not in parameters:
            faults.append(unknown(f"{label}.{name}", "unknown setting", str(name), parameters))
    for name, parameter in parameters.items():
        if name in options:
            try:
                values[name] = convert(options[name], hints.get(name, Any))
            except ValueError as error:
                faults.append(f"{label}.{name}: {error}")
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            faults.append(f"{label}.{name}: has no default; give it a value ({describe(hints.get(name, Any))})")
    return values, faults


def describe(hint: Any) -> str:
    """A type in words: "a number at least 0", "batch, layer or none"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = " and ".join(str(b) for b in arguments[1:] if isinstance(b, Bound))
        return f"{describe(arguments[0])} {limits}".strip()
    if origin is Literal:
        words = [str(a) for a in arguments]
        return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
    if origin in (Union, types.UnionType):
        return " or ".join("null" if a is type(None) else describe(a) for a in arguments)
    if origin in (list, Sequence, tuple) or hint in (list, tuple):
        item = next((a for a in arguments if a is not Ellipsis), Any)
        return f"a list ({describe(item)} each)" if arguments else "a list"
    if origin in (dict, Mapping) or hint is dict:
        return "a mapping"
    plain = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
        Path: "a path",
        Any: "anything",
    }
    return plain.get(hint, getattr(hint, "__name__", str(hint)))


def convert(value: Any, hint: Any) -> Any:
    """The value as the type says, or ValueError in the words of a sentence after "key: ".

    A whole number is good where a number is asked for, and 1e5 where a whole number is; true is never 1.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is inspect.Parameter.empty:
        return value
    if origin is Annotated:
        out = convert(value, arguments[0])
        for bound in arguments[1:]:
            if isinstance(bound, Bound) and isinstance(out, (int, float)) and not bound.holds(out):
                raise ValueError(f"must be {bound}, not {value}")
        return out
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        words = [str(a) for a in arguments]
        near = difflib.get_close_matches(str(value), words, 1)
        hint_text = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"must be {describe(hint)}, not {shown(value, hint)}{hint_text}")
    if origin in (Union, types.UnionType):
        problems = []
        for argument in arguments:
            try:
                return convert(value, argument)
            except ValueError as error:
                problems.append(str(error))
        bounded = [p for p in problems if " at " in p or " above " in p or " below " in p]
        raise ValueError(bounded[0] if bounded else f"must be {describe(hint)}, not {shown(value, hint)}")
    if hint is type(None):
        if value is None:
            return None
        raise ValueError(f"must be null, not {value!r}")
    if hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        ):
            whole = int(value)
            if not -(2**63) <= whole < 2**63:
                raise ValueError(f"must be a whole number within ±2^63, not one of {len(str(abs(whole)))} digits")
            return whole
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                raise ValueError(f"must be a number that floats reach, not one of {len(str(value))} digits") from None
    elif hint is str:
        if isinstance(value, str):
            return value
    elif hint is Path:
        if isinstance(value, (str, Path)):
            return Path(value)
    elif origin in (list, Sequence, tuple) or hint in (list, tuple):
        if isinstance(value, (list, tuple)):
            if origin is tuple and arguments and arguments[-1] is not Ellipsis:
                if len(value) != len(arguments):
                    raise ValueError(f"must have {len(arguments)} entries, not {len(value)}")
                return tuple(convert(v, a) for v, a in zip(value, arguments, strict=True))
            item = arguments[0] if arguments else Any
            items = [convert(v, item) for v in value]
            return tuple(items) if tuple in (origin, hint) else items
    elif origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            item = arguments[1] if arguments else Any
            return {str(k): convert(v, item) for k, v in value.items()}
    else:
        return value
    raise ValueError(f"must be {describe(hint)}, not {shown(value, hint)}")


def shown(value: Any, hint: Any) -> str:
    """A value as it was read; where a word was wanted and YAML made something else of it, how to keep it a word."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    wants_word = (
        hint is str
        or str in get_args(hint)
        or (get_origin(hint) is Literal and any(isinstance(word, str) for word in get_args(hint)))
    )
    if wants_word and isinstance(value, bool):
        return f"{text} (YAML reads {'on and yes' if value else 'off and no'} as that; put the word in quotes)"
    if wants_word and isinstance(value, (int, float)):
        return f"the number {text} (put it in quotes to have it as a word)"
    return repr(value) if isinstance(value, str) else text
