"""Names, classes and values: what the registry finds, how a signature judges a value, what a recipe refuses."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import gantrick
from gantrick import registry
from gantrick.recipe import Settings, check
from gantrick.stages import Component
from gantrick.types import Bound, ConfigError, Count, Fraction, Paper, Positive, Rate, Whole

ROOT = Path(__file__).resolve().parents[1]
ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.5, 0.9]}
CONFIG: dict[str, Any] = {
    "model": {"name": "mlp"},
    "loss": {"name": "non_saturating"},
    "dataset": {"name": "ring"},
    "regularizer": {},
    "trick": {},
    "metric": {"modes": {"name": "modes"}},
    "optimizer": {"generator": ADAM, "discriminator": ADAM},
}


def faults_of(changes: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check({**CONFIG, **changes})
    return caught.value.faults


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 3, 3),
        (int, 1e5, 100_000),
        (float, 3, 3.0),
        (float, 0.5, 0.5),
        (bool, True, True),
        (str, "x", "x"),
        (int | None, None, None),
        (int | None, 4, 4),
        (Path, "a/b", Path("a/b")),
        (list[int], [1, 2.0], [1, 2]),
        (list[str], ("a",), ["a"]),
        (tuple[float, float], [0, 0.9], (0.0, 0.9)),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, "all"], 1, 1),
        (Count, 1, 1),
        (Count | None, None, None),
        (Rate, 0, 0.0),
        (Fraction, 1, 1.0),
        (Any, {"x": [1]}, {"x": [1]}),
    ],
)
def test_what_is_taken(hint: Any, value: Any, expected: Any) -> None:
    found = registry.convert(value, hint)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "sentence"),
    [
        (int, True, "must be a whole number, not true"),
        (int, 1.5, "must be a whole number, not 1.5"),
        (int, "3", "must be a whole number, not '3'"),
        (float, False, "must be a number, not false"),
        (bool, 1, "must be true or false, not 1"),
        (bool, "yes", "must be true or false, not 'yes'"),
        (str, False, "must be a word, not false (YAML reads off and no as that; put the word in quotes)"),
        (str, True, "must be a word, not true (YAML reads on and yes as that; put the word in quotes)"),
        (str | None, 2024, "must be a word or null, not the number 2024 (put it in quotes to have it as a word)"),
        (int | None, "a", "must be a whole number or null, not 'a'"),
        (Count, 0, "must be at least 1, not 0"),
        (Count | None, 0, "must be at least 1, not 0"),
        (Positive, 0, "must be above 0, not 0"),
        (Rate, 1, "must be at least 0 and below 1, not 1"),
        (Fraction, 1.01, "must be at least 0 and at most 1, not 1.01"),
        (Literal["dropout", "noise"], "dropuot", "must be dropout or noise, not 'dropuot'; did you mean dropout?"),
        (
            Literal["online", "offline"],
            False,
            "must be online or offline, not false (YAML reads off and no as that; put the word in quotes)",
        ),
        (Literal[1, 2], True, "must be 1 or 2, not true"),
        (tuple[float, float], [1.0], "must have 2 entries, not 1"),
        (list[int], "12", "must be a list (a whole number each), not '12'"),
        (dict[str, int], [1], "must be a mapping, not [1]"),
    ],
)
def test_what_is_refused(hint: Any, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        registry.convert(value, hint)
    assert str(caught.value) == sentence


@given(st.integers() | st.floats() | st.booleans() | st.text(max_size=5) | st.none())
def test_an_integer_is_one_or_is_refused(value: Any) -> None:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and value % 1 == 0
    if whole and abs(value) != float("inf") and -(2**63) <= value < 2**63:
        assert registry.convert(value, int) == value
    elif whole and abs(value) != float("inf"):
        with pytest.raises(ValueError, match=r"^must be a whole number within ±2\^63, not one of \d+ digits$"):
            registry.convert(value, int)
    else:
        with pytest.raises(ValueError, match=r"^must be a whole number, not "):
            registry.convert(value, int)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-5, 5), st.floats(-5, 5))
def test_bounds_are_those_of_the_number_line(value: float, low: float, high: float) -> None:
    hint = Annotated[float, Bound(gt=low, le=high)]
    if low < value <= high:
        assert registry.convert(value, hint) == value
    else:
        with pytest.raises(ValueError, match=r"must be above .* and at most "):
            registry.convert(value, hint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)  # the first example imports the parts
@given(st.dictionaries(st.sampled_from([*CONFIG, "steps", "seed", "wandb", "imports", "tags", "stepz"]), JSON))
def test_any_config_is_a_recipe_or_a_list_of_sentences(changes: dict[str, Any]) -> None:
    try:
        check({**CONFIG, **changes})
    except ConfigError as error:
        assert error.faults and all(fault.strip() for fault in error.faults)


# --- calls -----------------------------------------------------------------------------------------------------------


def example(weight: Positive, mode: Literal["a", "b"] = "a", *, depth: Whole = 0) -> None: ...


def test_a_call_has_all_its_faults_told_at_once() -> None:
    values, faults = registry.check_call(example, {"mode": "c", "depht": 1, "depth": -1}, "thing")
    assert faults == [
        "thing.depht: unknown setting; did you mean depth?",
        "thing.weight: has no default; give it a value (a number above 0)",
        "thing.mode: must be a or b, not 'c'",
        "thing.depth: must be at least 0, not -1",
    ]
    assert values == {}
    assert registry.check_call(example, {"weight": 2, "depth": 1.0}, "thing") == ({"weight": 2.0, "depth": 1}, [])


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", {})


def test_every_module_of_a_group_is_a_name_and_its_class() -> None:
    for group in registry.GROUPS:
        files = sorted(f.stem for f in (ROOT / "gantrick" / group).glob("*.py") if not f.stem.startswith("_"))
        assert set(files) <= set(registry.names(group))
        for name in files:
            assert registry.load(group, name).__module__ == f"gantrick.{group}.{name}"


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^trick\.emma: unknown trick; did you mean ema\?$"):
        registry.load("trick", "emma")
    with pytest.raises(ConfigError, match=r"^trick\.qqq: unknown trick; there are .*\bema\b"):
        registry.load("trick", "qqq")


@pytest.mark.usefixtures("apart")
def test_a_registered_class_is_a_name_like_any_other() -> None:
    @gantrick.register("trick.twice")
    class Twice(Component):
        def __init__(self, factor: Positive = 2.0):
            super().__init__()
            self.factor = factor

        def augment(self, images: torch.Tensor) -> torch.Tensor:
            return images * self.factor

    assert "twice" in registry.names("trick") and registry.load("trick", "twice") is Twice
    made = registry.create("trick", "twice", {"factor": 3})
    assert isinstance(made, Twice) and made.factor == 3.0
    recipe = check({**CONFIG, "trick": {"twice": {"name": "twice", "factor": 4}}})
    assert [part.label for part in recipe.tricks] == ["trick.twice"]


@pytest.mark.usefixtures("apart")
def test_classes_that_cannot_be_registered() -> None:
    with pytest.raises(ConfigError, match=r"^tricks\.x: cannot be registered"):
        gantrick.register("tricks.x")
    with pytest.raises(ConfigError, match=r"^trick\.a b: cannot be registered"):
        gantrick.register("trick.a b")
    with pytest.raises(ConfigError, match=r"^metric\.x: Wrong is not a Metric"):

        @gantrick.register("metric.x")
        class Wrong(Component): ...

    with pytest.raises(ConfigError, match=r"method augmnt is not a stage; did you mean augment\?"):

        @gantrick.register("trick.x")
        class Misspelt(Component):
            def augmnt(self, images: torch.Tensor) -> torch.Tensor:
                return images

    with pytest.raises(ConfigError, match=r"augment must take \(images\), not \(pictures\)"):

        @gantrick.register("trick.x")
        class Renamed(Component):
            def augment(self, pictures: torch.Tensor) -> torch.Tensor:
                return pictures

    assert not registry._registered


@pytest.mark.usefixtures("apart")
def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import gantrick\n"
        "@gantrick.register('trick.mine')\n"
        "class Mine(gantrick.Component):\n"
        "    paper = gantrick.Paper('k', 't', 'a', 2000)\n"
        "    def augment(self, images):\n"
        "        return images\n"
    )
    recipe = check({**CONFIG, "imports": [str(file)], "trick": {"mine": {"name": "mine"}}})
    assert type(recipe.tricks[0].create()).__name__ == "Mine"
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    assert faults_of({"imports": [str(broken)]})[0].endswith(
        "broken.py fails when it is run: ZeroDivisionError: division by zero; mend it"
    )
    assert faults_of({"imports": ["nowhere.py"]}) == (
        "imports: there is no file nowhere.py; give the path of a Python file",
    )


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_a_recipe_is_its_parts_and_settings() -> None:
    recipe = check({**CONFIG, "steps": 7, "trick": {"ema": {"name": "ema", "decay": 0.5}}, "tags": ["mine"]})
    assert [part.label for part in recipe.parts] == ["model", "dataset", "loss", "trick.ema", "metric.modes"]
    assert recipe.settings == Settings(steps=7, tags=["mine"])
    assert recipe.tricks[0].create().decay == 0.5
    assert set(recipe.tags) == {"non_saturating", "ema", "mlp", "ring", "mine"}
    assert recipe.optimizers.generator.options == {"lr": 1e-3, "betas": (0.5, 0.9)}
    assert recipe.optimizers.generator.cls is torch.optim.Adam


def test_the_hash_is_of_the_work_and_not_of_its_record() -> None:
    base = check(CONFIG).hash
    assert (
        check({**CONFIG, "runs_dir": "elsewhere", "name": "x", "tags": ["y"], "wandb": {"mode": "disabled"}}).hash
        == base
    )
    assert len({base, check({**CONFIG, "seed": 1}).hash, check({**CONFIG, "loss": {"name": "hinge"}}).hash}) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"trick": {"ema": {"decay": 0.5}}},
            "trick.ema: has settings but no name; it was set but not chosen: add trick=ema",
        ),
        ({"loss": {}}, "loss: has settings but no name; choose loss=<name>"),
        ({"loss": None}, "loss: must be a mapping with a name, not None; choose loss=<name>"),
        ({"trick": ["ema"]}, "trick: must be a list of names (trick=[] for none), not ['ema']"),
        (
            {"imports": "mine.py"},
            "imports: must be a list of Python files, as in imports=[my_tricks.py], not 'mine.py'",
        ),
        (
            {"wandb": "offline"},
            "wandb: must be a mapping with mode, project and entity, not 'offline'; set wandb.mode=…",
        ),
        ({"loss": {"name": "wgan", "brings": True}}, "loss.brings: must be a list of regularizers, not True"),
        ({"stepz": 1}, "stepz: unknown setting; did you mean steps?"),
        ({"steps": -1}, "steps: must be at least 0, not -1"),
        (
            {"wandb": {"mode": "offlin"}},
            "wandb.mode: must be auto, online, offline or disabled, not 'offlin'; did you mean offline?",
        ),
        ({"loss": {"name": "hing"}}, "loss.hing: unknown loss; did you mean hinge?"),
        ({"model": {"name": "mlp", "g_widht": 3}}, "model.g_widht: unknown setting; did you mean g_width?"),
        ({"trick": {"ema": {"name": "ema", "decay": 2}}}, "trick.ema.decay: must be at least 0 and below 1, not 2"),
        (
            {"optimizer": {"generator": ADAM}},
            "optimizer.discriminator: has no name; choose optimizer=adam, or give optimizer.discriminator.name",
        ),
        (
            {"optimizer": {"generator": {**ADAM, "lrr": 1}, "discriminator": ADAM}},
            "optimizer.generator.lrr: adam has no such option; did you mean lr?",
        ),
        (
            {"optimizer": {"generator": {"name": "adamm"}, "discriminator": ADAM}},
            "optimizer.generator.name: torch.optim has no adamm; did you mean adam?",
        ),
        (
            {"optimizer": {"generator": {**ADAM, "lr": -1}, "discriminator": ADAM}},
            "optimizer.generator.lr: must be a number at least 0, not -1",
        ),
        (
            {"optimizer": {**CONFIG["optimizer"], "schedule": "linaer"}},
            "optimizer.schedule: must be constant, linear, cosine or halving, not 'linaer'; did you mean linear?",
        ),
    ],
)
def test_what_a_recipe_refuses(changes: dict[str, Any], sentence: str) -> None:
    assert faults_of(changes) == (sentence,)


def test_all_faults_of_a_config_are_told_at_once() -> None:
    faults = faults_of({"steps": 0.5, "loss": {"name": "hing"}, "trick": {"ema": {"name": "ema", "decay": "x"}}})
    assert [fault.split(":")[0] for fault in faults] == ["loss.hing", "trick.ema.decay", "steps"]


def test_whole_betas_are_made_floats() -> None:
    """torch refuses the whole number 0 beside 0.9."""
    adam = {"name": "Adam", "lr": 1e-3, "betas": [0, 0.9]}
    recipe = check({**CONFIG, "optimizer": {"generator": adam, "discriminator": adam}})
    assert [type(b) for b in recipe.optimizers.generator.options["betas"]] == [float, float]


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        ("constant", 100, 1.0),
        ("linear", 0, 1.0),
        ("linear", 60, 0.6),  # from 20 to 100, from 1 to 0.2: half-way
        ("linear", 100, 0.2),
        ("cosine", 60, 0.6),
        ("cosine", 40, 1 - 0.8 * (1 - 2**-0.5) / 2),
        ("cosine", 500, 0.2),
        ("halving", 49, 1.0),  # from 20, every 30
        ("halving", 50, 0.5),
        ("halving", 109, 0.25),
        ("halving", 110, 0.2),
    ],
)
def test_learning_rates_are_scheduled(schedule: str, step: int, factor: float) -> None:
    optimizer = {**CONFIG["optimizer"], "schedule": schedule, "decay_from": 20, "final": 0.2, "half_every": 30}
    assert check({**CONFIG, "optimizer": optimizer}).optimizers.factor(step, 100) == pytest.approx(factor, rel=1e-12)


def test_a_paper_is_bibtex() -> None:
    paper = Paper("k2000", "A title", "A B and C D", 2000, "0001.00002", "Venue", "https://x")
    assert paper.bibtex() == (
        "@inproceedings{k2000,\n  title = {{A title}},\n  author = {A B and C D},\n  year = {2000},\n"
        "  booktitle = {Venue},\n  eprint = {0001.00002},\n  archivePrefix = {arXiv},\n  url = {https://x}\n}"
    )
    assert str(paper) == "arXiv 0001.00002" and str(Paper("k", "t", "A B and C D", 1999)) == "A B 1999"


# --- a new component -------------------------------------------------------------------------------------------------


def new_component(*words: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "new_component"
    return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("new")
    for group in registry.GROUPS:
        done = new_component(group, "fresh_one", "--root", str(root))
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.split()) == 3
    return root


def module_of(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fresh_{file.parent.name}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("group", registry.GROUPS)
def test_a_new_component_is_accepted(group: str, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the registry, with its config as the defaults; and its own test passes."""
    package = importlib.import_module(f"gantrick.{group}")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(written / "gantrick" / group)])
    monkeypatch.setattr(registry, "_shipped", lambda _: ("fresh_one",))
    cls = registry.load(group, "fresh_one")
    assert cls.__name__ == "FreshOne" and cls.paper is not None and cls.__doc__

    text = (written / "configs" / group / "fresh_one.yaml").read_text()
    config = yaml.safe_load(text)
    entry = config["dataset"] if group == "dataset" else config
    if group in registry.LISTS:
        assert text.startswith(f"# @package {group}.fresh_one\n")
    assert entry.pop("name") == "fresh_one"
    assert registry.check_call(cls, entry, "x")[1] == []
    instance, from_config = cls(), registry.create(group, "fresh_one", entry)
    public = {k: v for k, v in vars(instance).items() if not k.startswith("_") and k != "label"}
    assert public == {k: v for k, v in vars(from_config).items() if k in public}

    tests = module_of(written / "tests" / group / "test_fresh_one.py")
    found = [test for name, test in vars(tests).items() if name.startswith("test_")]
    assert found
    for test in found:
        test()


@pytest.mark.parametrize("name", ["Upper", "two words", "class", "1st", "_hidden"])
def test_names_that_a_new_component_cannot_have(name: str, tmp_path: Path) -> None:
    done = new_component("trick", name, "--root", str(tmp_path))
    assert done.returncode == 2 and "is no name for a component" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_new_component_overwrites_nothing(tmp_path: Path) -> None:
    there = tmp_path / "configs" / "trick" / "mine.yaml"
    there.parent.mkdir(parents=True)
    there.write_text("mine\n")
    done = new_component("trick", "mine", "--root", str(tmp_path))
    assert done.returncode == 2 and "there already" in done.stderr
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == [there] and there.read_text() == "mine\n"
