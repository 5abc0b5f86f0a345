"""Composing: what stands in configs/, what overrides what, where configs are looked for, and what is said of mistakes."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hypothesis import given
from hypothesis import strategies as st

import gantrick
from gantrick import config
from gantrick.recipe import OWN_KEYS, SINGLE, Settings, Wandb, check
from gantrick.registry import LISTS
from gantrick.types import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NEED_A_PATH = {"huggingface", "image_folder", "npz"}
OPTIONS = [(f.parent.name, f.stem) for f in sorted(CONFIGS.glob("*/*.yaml")) if f.stem not in NEED_A_PATH]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's environment, and an empty working directory that stays so."""
    monkeypatch.delenv(config.SEARCH_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def composing() -> Iterator[config.Composer]:
    with config.composer() as composer:
        yield composer


def faults(composing: config.Composer, *overrides: str, multirun: bool = False) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        for number, job in enumerate(composing.jobs(overrides, multirun).each):
            check(composing.resolved(job, number))
    return caught.value.faults


# --- what stands in configs/ -----------------------------------------------------------------------------------------


def defaults_of(cls: type) -> dict[str, Any]:
    return {f.name: f.default if f.default is not MISSING else f.default_factory() for f in fields(cls)}  # type: ignore[arg-type, misc]


def test_the_config_shows_every_setting_at_its_default() -> None:
    shown = yaml.safe_load((CONFIGS / "config.yaml").read_text())
    assert shown.pop("wandb") == defaults_of(Wandb)
    apart = {"defaults", "hydra", "wandb", *SINGLE, *LISTS, *OWN_KEYS}
    assert {k: v for k, v in shown.items() if k not in apart} == defaults_of(Settings)
    assert {k: shown[k] for k in (*LISTS, "imports", "published", "extractor")} == {
        "regularizer": {}, "trick": {}, "metric": {}, "imports": [], "published": {}, "extractor": "inception",
    }  # fmt: skip


def test_the_defaults_stand_in_the_order_of_who_overrides_whom() -> None:
    entries = yaml.safe_load((CONFIGS / "config.yaml").read_text())["defaults"]
    groups = [next(iter(e)) if isinstance(e, dict) else e for e in entries]
    order = ["_self_", "model", "metric", "regularizer", "optimizer", "dataset", "loss", "trick", "experiment"]
    assert groups == [*order, "hparams_search", "debug", "override hydra/job_logging"]
    chosen = {k: v for e in entries if isinstance(e, dict) for k, v in e.items()}
    assert [chosen[g] for g in ("dataset", "model", "loss", "optimizer", "metric")] == [
        "digits", "dcgan", "non_saturating", "adam", ["fid"],
    ]  # fmt: skip


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=lambda v: v)
def test_every_file_composes_to_a_recipe(group: str, name: str, composing: config.Composer) -> None:
    if name.startswith("optuna_") and "optuna" not in composing.options("hydra/sweeper"):
        pytest.skip("Optuna's sweeper is not installed")
    recipe = check(composing.resolved([f"{group}={name}"]))
    if group in SINGLE:
        assert name in (getattr(recipe, group).name, getattr(recipe, group).recipe)
    if group in LISTS:
        assert [part.key for part in getattr(recipe, f"{group}s")] == [name]


@pytest.mark.parametrize("name", [name for group, name in OPTIONS if group == "experiment"])
def test_published_figures_say_where_they_are_from(name: str, composing: config.Composer) -> None:
    resolved = composing.resolved([f"experiment={name}"])
    for figure in resolved["published"].values():
        assert figure.keys() == {"metric", "dataset", "value", "protocol", "source"}
        assert figure["dataset"] == resolved["dataset"]["name"]
        assert (
            isinstance(figure["value"], float) and "/" in figure["metric"] and figure["source"].startswith("https://")
        )


def test_the_same_overrides_twice_in_a_row(composing: config.Composer) -> None:
    """As in a sweep over seed=0,0."""
    first, second = (composing.resolved(["loss=hinge"], number) for number in (0, 1))
    assert first == second


# --- what overrides what ---------------------------------------------------------------------------------------------


def test_one_learning_rate_or_two(composing: config.Composer) -> None:
    def rates(*overrides: str) -> tuple[float, float]:
        optimizers = check(composing.resolved(overrides)).optimizers
        return optimizers.generator.options["lr"], optimizers.discriminator.options["lr"]

    assert rates("optimizer.lr=0.25") == (0.25, 0.25)
    assert rates("optimizer.lr=0.25", "optimizer.discriminator.lr=0.5") == (0.25, 0.5)
    assert rates("optimizer=ttur", "optimizer.lr=1e-4") == (1e-4, 4e-4)
    assert rates("optimizer=ttur", "optimizer.lr=1e-4", "optimizer.ratio=3") == (1e-4, 3e-4)
    assert rates("optimizer=sgd", "optimizer.lr=1") == (1.0, 1.0)


def test_a_loss_brings_its_regularizers_and_the_command_line_wins(composing: config.Composer) -> None:
    def keys(*overrides: str) -> list[str]:
        return list(composing.resolved(overrides)["regularizer"])

    assert keys("loss=wgan_ct") == ["gp", "ct"]
    assert keys("loss=wgan_ct", "regularizer=[]") == []
    assert keys("loss=wgan_ct", "regularizer=[r1]") == ["r1"]
    assert keys("experiment=wgan_ct_cifar10") == ["gp", "ct"]
    assert keys("experiment=wgan_ct_cifar10", "loss=hinge") == []
    resolved = composing.resolved(["loss=wgan_ct", "regularizer=[gp,ct,r1]", "regularizer.gp.weight=3"])
    assert resolved["regularizer"]["gp"]["weight"] == 3 and resolved["loss"]["recipe"] == "wgan_ct"


def test_one_word_over_a_list_and_the_order_of_a_list(composing: config.Composer) -> None:
    assert list(composing.resolved(["trick=cascading"])["trick"]) == ["cascading"]
    assert list(composing.resolved(["trick=[ema,cascading]"])["trick"]) == ["ema", "cascading"]
    assert list(composing.resolved(["trick=[cascading,ema]"])["trick"]) == ["cascading", "ema"]
    assert composing.resolved(["trick=cascading", "trick.cascading.scores=3"])["trick"]["cascading"]["scores"] == 3
    assert composing.resolved(["trick=[]"])["trick"] == {}


def test_debug_is_over_everything_but_the_command_line(composing: config.Composer) -> None:
    resolved = composing.resolved(["debug=fast", "experiment=sngan_cifar10", "batch_size=16"])
    assert (resolved["steps"], resolved["batch_size"], resolved["eval_samples"]) == (4, 16, 64)
    assert resolved["model"]["g_width"] == resolved["model"]["d_width"] == 8


def test_the_plain_config_refers_to_nothing(composing: config.Composer) -> None:
    resolved = composing.resolved(["name=${hydra:job.num}-${loss.name}"], 3)
    assert resolved["name"] == "3-non_saturating" and "hydra" not in resolved
    assert "${" not in yaml.safe_dump(resolved)


def test_the_id_of_a_run_is_one_and_its_own(composing: config.Composer) -> None:
    first = composing.config(["seed=1"]).hydra
    again = composing.config(["seed=2"]).hydra
    assert first.run.dir == first.run.dir and first.run.dir != again.run.dir
    assert first.run.dir.startswith("runs/2") and first.sweep.dir.startswith("runs/sweep-2")


# --- where configs are looked for ------------------------------------------------------------------------------------


def test_configs_inside_the_package_come_before_those_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "gantrick"
    package.mkdir(parents=True)
    monkeypatch.setattr(config, "__file__", str(package / "config.py"))
    with pytest.raises(FileNotFoundError, match="install gantrick anew"):
        config.config_dir()
    for folder in (tmp_path / "site" / "configs", package / "configs"):
        folder.mkdir()
        (folder / "config.yaml").touch()
        assert config.config_dir() == folder


@pytest.mark.parametrize("by_variable", [True, False])
def test_groups_of_ones_own(by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of YAML beside gantrick's, with a component in a file of one's own."""
    mine = tmp_path / "my configs"
    (mine / "trick").mkdir(parents=True)
    (mine / "experiment").mkdir()
    (mine / "trick" / "halve.yaml").write_text("# @package trick.halve\nname: halve\nscale: 0.5\n")
    (mine / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\ndefaults:\n  - override /trick: [halve]\nimports: ['{mine}/mine.py']\n"
    )
    (mine / "mine.py").write_text(
        "import gantrick\n@gantrick.register('trick.halve')\nclass Halve(gantrick.Component):\n"
        "    def __init__(self, scale: float):\n        super().__init__()\n        self.scale = scale\n"
        "    def augment(self, images):\n        return self.scale * images\n"
    )
    monkeypatch.setattr("gantrick.registry._registered", {})
    dirs: list[Path] = [mine]
    if by_variable:
        monkeypatch.setenv(config.SEARCH_VARIABLE, str(mine))
        dirs = []
    recipe = gantrick.compose(["experiment=mine", "trick.halve.scale=0.25"], config_dirs=dirs)
    assert recipe.tricks[0].create().scale == 0.25
    with config.composer(dirs) as composer:
        assert faults(composer, "trick=halv") == ("trick=halv: there is no trick called halv; did you mean halve?",)


def test_folders_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^--config-dir: there is no folder .*nowhere; name one that is there$"):
        gantrick.compose(config_dirs=["nowhere"])
    monkeypatch.setenv(config.SEARCH_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"^GANTRICK_CONFIG_PATH: there is no folder .*gone"):
        gantrick.compose()


def test_a_file_that_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "trick").mkdir()
    (tmp_path / "trick" / "bad.yaml").write_text("# @package trick.bad\nname: bad\n\tscale: 1\n")
    with config.composer([tmp_path]) as composer:
        [fault] = faults(composer, "trick=bad")
    assert fault.endswith("mend the file") and "bad.yaml, line 3: is not YAML: " in fault


def test_a_file_that_names_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bad.yaml").write_text("# @package _global_\ndefaults: [{override /loss: hing}]\n")
    with config.composer([tmp_path]) as composer:
        [fault] = faults(composer, "experiment=bad")
    assert fault == "loss/hing: a config names it, and there is no such file; gantrick list shows the names"


def test_yaml_that_reads_a_word_as_something_else(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "odd.yaml").write_text(
        "# @package _global_\nwandb: {mode: off}\nname: on\ntags: [yes]\n"
    )
    with config.composer([tmp_path]) as composer:
        found = faults(composer, "experiment=odd")
    assert [fault.partition(":")[0] for fault in found] == ["name", "tags", "wandb.mode"]
    assert [("reads off" in fault, "reads on" in fault) for fault in found] == [
        (False, True),
        (False, True),
        (True, False),
    ]


# --- what is said of mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("los=hinge", "los: there is no key los; did you mean loss?"),
        ("loss=hinje", "loss=hinje: there is no loss called hinje; did you mean hinge?"),
        ("trick=[ema,casading]", "trick=[ema,casading]: there is no trick called casading; did you mean cascading?"),
        ("loss=zzz", "loss=zzz: there is no loss called zzz; choose "),
        ("stepz=3", "stepz: there is no key stepz; did you mean steps?"),
        ("lr=0.1", "lr: there is no such key; did you mean optimizer.lr?"),
        ("g_width=8", "g_width: there is no such key; did you mean model.g_width?"),
        (
            "trick=cascading trick.cascading.scoress=3",
            "trick.cascading.scoress: there is no key scoress; did you mean trick.cascading.scores?",
        ),
        ("trick=ema trick.emma.decay=0.5", "trick.emma.decay: there is no trick called emma; did you mean ema?"),
        ("trick=cascading trick.ema.decay=0.5", "trick.ema.decay: ema is not chosen; add it: trick=[cascading,ema]"),
        ("+trick.ema.decay=0.5", "trick.ema: has settings but no name; it was set but not chosen: add trick=ema"),
        (
            "optimizer.discriminater.lr=1",
            "optimizer.discriminater.lr: there is no key discriminater; did you mean optimizer.discriminator?",
        ),
        ("steps.x=1", "steps.x: steps has no keys of its own; it is 1000"),
        (
            "loss=wgan_ct regularizer.ct.perturb=dropuot",
            "regularizer.ct.perturb: must be dropout or noise, not 'dropuot'; did you mean dropout?",
        ),
        ("trick=ema trick=cascading", "trick=ema trick=cascading: trick is chosen 2 times; write trick=[…,…] once"),
        ("trick=ema +trick=cascading", "trick=ema +trick=cascading: trick is chosen 2 times; write trick=[…,…] once"),
        ("loss=hinge loss=wgan", "loss=hinge loss=wgan: loss is chosen 2 times; leave one out, or sweep over both: -m"),
        ("trick=[ema,ema]", "trick=[ema,ema]: names one trick twice; leave one of them out"),
        ("loss=[hinge,wgan]", "loss=[hinge,wgan]: loss takes one name, not a list; to run each: -m loss=hinge,wgan"),
        ("loss={a:1}", "loss={a:1}: loss takes names; set a key of the choice instead, as in loss.key=value"),
        ("regularizer=null", "regularizer=null: regularizer takes a list of names; write regularizer=[] for none"),
        ("model=null", "model=null: a run cannot do without; choose "),
        ("loss=true", "loss=true: there is no loss called True (read as true or false); choose "),
        ("seed=0,1", "seed=0,1: is several values; add -m to run each, or write seed=[0,1] for a list"),
        ("fast", "fast: is not key=value; did you mean debug=fast?"),
        ("quick", "quick: is not key=value; write what it is to be after ="),
        ("=3", "=3: has no key before its =; write key=value"),
        ("trick=[ema", "trick=[ema: cannot be read; check its brackets, and put quotes around the whole: 'key=[a,b]'"),
        ("name=cos(3)", "name=cos(3): cannot be read: Unknown function 'cos' "),
        ("+steps=3", "+steps=3: steps is there already; leave the + out to change it"),
        ("+stepz=3", "stepz: unknown setting; did you mean steps?"),
        ("steps=${nothing}", "steps: Interpolation key 'nothing' not found"),
        ("steps=???", "steps: has no value yet (???); give it one: steps=…"),
        ("wandb.mode=off", "wandb.mode: must be auto, online, offline or disabled, not 'off'; did you mean offline?"),
        ("name=2024", "name: must be a word or null, not the number 2024 (put it in quotes to have it as a word)"),
        ("imports=mine.py", "imports: must be a list of Python files, as in imports=[my_tricks.py], not 'mine.py'"),
        ("hydra/launcher=jobib", "hydra/launcher=jobib: there is no hydra/launcher called jobib; did you mean joblib?"),
        ("hydra.sweep.dr=x", "Could not override 'hydra.sweep.dr'"),
    ],
)
def test_one_mistake_is_one_sentence(overrides: str, sentence: str, composing: config.Composer) -> None:
    [fault] = faults(composing, *overrides.split())
    assert fault.startswith(sentence) and "\n" not in fault
    assert fault == sentence or not sentence.endswith("?")


def test_all_mistakes_are_told_at_once(composing: config.Composer) -> None:
    assert [f.split(":")[0] for f in faults(composing, "loss=hinje", "fast", "trick=[emma,casading]")] == [
        "loss=hinje", "fast", "trick=[emma,casading]", "trick=[emma,casading]",
    ]  # fmt: skip
    assert [f.split(":")[0] for f in faults(composing, "stepz=1", "lr=2")] == ["stepz", "lr"]


# --- sweeps ----------------------------------------------------------------------------------------------------------


def tasks(jobs: config.Jobs) -> list[str]:
    return [config.job_name(job) for job in jobs.each]


def test_a_sweep_is_the_product_of_its_values(composing: config.Composer) -> None:
    jobs = composing.jobs(["loss=hinge,wgan_gp", "trick=[],cascading,[ema,cascading]", "seed=range(0,2)"], True)
    product = itertools.product(("hinge", "wgan_gp"), ("[]", "cascading", "[ema,cascading]"), (0, 1))
    assert tasks(jobs) == [f"loss={loss} trick={trick} seed={seed}" for loss, trick, seed in product]
    losses = sorted(f.stem for f in (CONFIGS / "loss").glob("wgan*.yaml"))
    assert tasks(composing.jobs(["loss=glob(wgan*)"], True)) == [f"loss={name}" for name in losses]
    assert composing.jobs(["loss=hinge"], False).each == [["loss=hinge"]]


def test_a_sweep_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "many.yaml").write_text(
        '# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {loss: "hinge,wgan", seed: "range(0,2)"}}}\n'
    )
    with config.composer([tmp_path]) as composer:
        found = tasks(composer.jobs(["experiment=many", "seed=5"], False))
    assert found == ["loss=hinge seed=5 experiment=many", "loss=wgan seed=5 experiment=many"]


def test_a_key_that_only_some_jobs_have(composing: config.Composer) -> None:
    """Hydra alone fails here, as the config of the whole has no such key."""
    jobs = composing.jobs(["trick=[ema],[ema,cascading]", "trick.ema.decay=0.5", "steps=3"], True)
    assert [composing.resolved(job)["trick"]["ema"]["decay"] for job in jobs.each] == [0.5, 0.5]
    assert faults(composing, "trick=[ema],[cascading]", "trick.ema.decay=0.5", multirun=True) == (
        "trick.ema.decay: ema is not chosen; add it: trick=[cascading,ema]",
    )


def test_sweeps_that_stand_for_nothing(composing: config.Composer) -> None:
    assert faults(composing, "loss=glob(zzz*)", multirun=True) == (
        "loss=glob(zzz*): stands for no value at all; gantrick list shows the names",
    )
    [fault] = faults(composing, "optimizer.lr=interval(0,1)", multirun=True)
    assert fault.endswith("give the values one by one")
    assert faults(composing, "loss=hinge,wgn", multirun=True) == (
        "loss=hinge,wgn: there is no loss called wgn; did you mean wgan?",
    )


# --- the command line ------------------------------------------------------------------------------------------------

FLAGS = [
    ["-m"],
    ["--multirun"],
    ["-c", "job"],
    ["--cfg", "all"],
    ["-cd", "here"],
    ["--config-name=x"],
    ["--resolve"],
    ["-i"],
]


@given(
    st.lists(st.sampled_from(FLAGS), unique_by=lambda f: f[0], max_size=4),
    st.lists(st.sampled_from("abc"), max_size=4),
    st.randoms(),
)
def test_flags_stand_in_any_place(flags: list[list[str]], overrides: list[str], random: Any) -> None:
    words: list[list[str]] = [*flags]
    for key in overrides:  # anywhere, but in their own order
        words.insert(random.randint(0, len(words)), [f"{key}=1"])
    mixed = [word for group in words for word in group]
    ordered = config.flags_first(mixed)
    count = len(ordered) - len(overrides)
    assert ordered[count:] == [word for word in mixed if word.endswith("=1")]
    assert ordered[:count] == [
        w for g in words if not g[0].endswith("=1") for w in (["-i", "all"] if g == ["-i"] else g)
    ]


def test_info_has_a_value_or_none() -> None:
    assert config.flags_first(["--info", "searchpath", "a=1"]) == ["--info", "searchpath", "a=1"]
    assert config.flags_first(["a=1", "--info", "b=2"]) == ["--info", "all", "a=1", "b=2"]


def test_a_config_path_is_of_the_working_directory(tmp_path: Path) -> None:
    for words in (["a=1", "-cp", "x"], ["a=1", "--config-path=x"]):
        assert config.flags_first(words) == [words[1].partition("=")[0], str(tmp_path / "x"), "a=1"]


def test_a_search_path_on_the_command_line(tmp_path: Path, composing: config.Composer) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert composing.resolved([f"hydra.searchpath=[{tmp_path}]", "experiment=mine"])["seed"] == 7


def test_composing_inside_another_program_of_hydra(composing: config.Composer) -> None:
    outer = composing.config(["seed=4"])
    HydraConfig.instance().set_config(outer)
    gantrick.compose(["seed=5"])
    assert HydraConfig.get().overrides.task == ["seed=4"]
    assert composing.resolved(["seed=6"])["seed"] == 6


def test_flags_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"^unrecognized arguments: --multrun; did you mean --multirun\?$"):
        config.parse(["loss=hinge", "--multrun"])


def test_a_path_from_the_home_folder(monkeypatch: pytest.MonkeyPatch, composing: config.Composer) -> None:
    """Shells leave `key=~/x` as it is, and Hydra's grammar has another use for ~."""
    monkeypatch.setenv("HOME", "/home/ann o'n")
    words = config.parse(["dataset=mnist", "dataset.root=~/some data", "runs_dir=~", "~experiment"]).overrides
    assert words[0] == "dataset=mnist" and words[3] == "~experiment"
    found = composing.resolved(words[:3])
    assert (found["dataset"]["root"], found["runs_dir"]) == ("/home/ann o'n/some data", "/home/ann o'n")
    assert config.parse(words).overrides == words
    assert config.parse(["runs_dir='~/x'", "name=~[a]"]).overrides == ["runs_dir='~/x'", "name=~[a]"]


def test_argparse_of_python_3_14(monkeypatch: pytest.MonkeyPatch) -> None:
    """It formats each help text as an argument is added, and Hydra 1.3 gives it an object that is no text."""
    add = argparse._ActionsContainer.add_argument

    def check_help(self: Any, action: Any) -> None:
        if action.help and hasattr(self, "_get_formatter"):
            self._get_formatter()._expand_help(action)

    def add_argument(self: Any, *args: Any, **kwargs: Any) -> Any:
        action = add(self, *args, **kwargs)
        self._check_help(action)
        return action

    monkeypatch.setattr(argparse.ArgumentParser, "_check_help", check_help, raising=False)
    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", add_argument)
    with pytest.raises(TypeError):
        config.get_args_parser()
    assert config.parse(["-m", "seed=1"]).overrides == ["seed=1"]
    assert argparse.ArgumentParser._check_help is check_help  # type: ignore[attr-defined]


def test_a_key_without_a_value_yet_is_a_key() -> None:
    with pytest.raises(ConfigError) as refused:
        gantrick.compose(["dataset=npz", "dataset.path=x.npz", "foo=1"])
    assert len(refused.value.faults) == 1 and refused.value.faults[0].startswith("foo: there is no key foo")


def test_one_string_is_no_list_of_overrides() -> None:
    with pytest.raises(ConfigError, match="put it in brackets"):
        gantrick.compose("loss=wgan")
