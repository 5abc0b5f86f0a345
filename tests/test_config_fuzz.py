"""Command lines that nobody would think of: each is either a plan or sentences with exit code 2, never anything else.

GANTRICK_FUZZ is the number of examples of a longer search, as in GANTRICK_FUZZ=2000 pytest tests/test_config_fuzz.py.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gantrick import cli, config
from gantrick.recipe import Recipe
from gantrick.types import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LISTS = ("regularizer", "trick", "metric")
NAMES = {g.name: sorted(f.stem for f in g.glob("*.yaml")) for g in CONFIGS.iterdir() if g.is_dir()}


def leaves(node: object, path: str = "") -> list[str]:
    """The dotted keys of a YAML file, those that lead to mappings included."""
    found = [path] if path else []
    if isinstance(node, dict):
        for key, child in node.items():
            if key not in ("defaults", "hydra"):
                found += leaves(child, f"{path}.{key}" if path else str(key))
    return found


def _keys() -> list[str]:
    found = leaves(yaml.safe_load((CONFIGS / "config.yaml").read_text()))
    for group, names in NAMES.items():
        for name in names:
            text = (CONFIGS / group / f"{name}.yaml").read_text()
            inside = f"{group}.{name}" if f"@package {group}.{name}" in text else ""
            found += leaves(yaml.safe_load(text), inside)
    return sorted(set(found))


KEYS = _keys()
NUMBERS = [
    "0", "1", "2", "-1", "3", "8", "0.5", "1.5", "-0.0", "1e-320", "1e308", "1e999", ".inf", "-.inf", "nan", ".nan", "inf", "1e5",
    "2147483648", "9223372036854775808", "1" + "0" * 400, "-9223372036854775809", "0x10", "1_000", "007",
]  # fmt: skip
WORDS = [
    "true", "false", "yes", "null", "~", "auto", "''", "' '", "abc", "σ", "画像", "'\U0001f600'", "'a b'", "'%'", "../..", "/dev/null",
    "'\\0'", "${seed}", "${nothing}", "${oc.env:NOTHING}", "${oc.env:HOME}", "${gantrick.times:1,x}", "${", "'${'", "???",
    "cuda:99", "mps", "cpu", "float32", "fp16", "'~nobody/x'", "[]", "[1]", "[a,b]", "[[1],[2]]", "[null]", "[1,2,3]", "{}", "{a:1}",
    "{1:2}", "{name:hinge}", "[{a:1}]", "[", "]", "{", "(", "a,b", "1,2", "range(3)", "choice(1,2)", "choice()", "interval(0,1)",
    "glob(*)", "sort(1)", "$", "=", "", "a=b", "'", '"', ",", "a:b", "a: b", "!!python/object:os.system", "&a", "*a", "\t", "\n", "@x",
]  # fmt: skip


def misspelt(word: str, where: int) -> str:
    where %= len(word) + 1
    return word[:where] + word[where + 1 :] if where % 2 else word[:where] + "x" + word[where:]


values = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.integers().map(str),
    st.floats().map(repr),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.lists(st.sampled_from(["1", "0.5", "-1", "a", "null", "true", "ema", "gp"]), max_size=3).map(
        lambda v: f"[{','.join(v)}]"
    ),
)
groups = st.sampled_from(sorted(NAMES))


@st.composite
def choices(draw: st.DrawFn) -> str:
    group = draw(groups)
    if group in LISTS:
        names = draw(st.lists(st.sampled_from(NAMES[group]), max_size=3))
        return f"{group}=[{','.join(names)}]"
    return f"{group}={draw(st.sampled_from(NAMES[group]))}"


@st.composite
def overrides(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 9))
    if kind < 4:
        return draw(choices())
    key = draw(st.sampled_from(KEYS)) if kind < 9 else draw(st.text(st.characters(codec="utf-8"), max_size=8))
    if kind == 8:
        key = misspelt(key, draw(st.integers(0, 30)))
    sign = draw(st.sampled_from(["", "", "", "", "", "", "+", "++", "~"]))
    return f"{sign}{key}={draw(values)}"


lines = st.lists(overrides(), min_size=1, max_size=4).map(
    # Hydra's own settings are Hydra's matter, and a path that is asked for with --flags is argparse's.
    lambda words: [word for word in words if not word.lstrip("+~").startswith(("hydra", "-", "resume="))]
)
SEARCH = int(os.environ.get("GANTRICK_FUZZ", "0"))


def many(usual: int) -> settings:
    return settings(
        max_examples=SEARCH or usual,
        deadline=None,
        derandomize=not SEARCH,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's environment, and an empty working directory that stays so."""
    for name in (config.SEARCH_VARIABLE, "GANTRICK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@many(60)
@given(lines)
def test_a_config_is_a_recipe_or_sentences(words: list[str]) -> None:
    try:
        assert isinstance(config.compose(words), Recipe)
    except ConfigError as error:
        assert error.faults
        for fault in error.faults:
            assert fault.strip() and "Traceback" not in fault and "unexpected" not in fault


@many(40)
@given(lines, st.sampled_from([["plan"], ["plan"], ["cite"], ["train", "--cfg", "job"]]))
def test_a_command_answers_or_refuses(words: list[str], command: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*command, *words])
    said = err.getvalue()
    assert code in (0, 2) and "Traceback" not in said and "(unexpected;" not in said, (code, said)
    if code == 0:
        assert out.getvalue().strip()
    else:
        faults = said.splitlines()
        assert faults and all(line.startswith(f"gantrick {command[0]}: error: ") for line in faults), said
    assert not os.listdir(), "nothing is written"
