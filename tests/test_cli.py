"""The command line: what it prints, how it ends, what it leaves behind. Training itself is a stand-in but where it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
from PIL import Image

import gantrick
from gantrick import cli, config, launch
from gantrick.recipe import Recipe
from gantrick.types import ConfigError, GantrickError

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Run:
    recipe: Recipe
    folder: Path
    command: str | None
    sweep: str | None


@dataclass
class Trainer:
    """What training would have been called with; `ending` says how a run ends, by its seed."""

    runs: list[Run] = field(default_factory=list)
    ending: dict[int, Exception | int | type[BaseException]] = field(default_factory=dict)

    def run(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        command: str | None = None,
        sweep: str | None = None,
        resume: bool = False,
    ) -> int:
        assert not resume
        self.runs.append(Run(recipe, folder, command, sweep))
        end = self.ending.get(recipe.settings.seed, 0)
        if isinstance(end, ConfigError):
            raise end
        state = {"state": "finished" if end == 0 else "failed", "step": 0, "reason": str(end)}
        (folder / "status.json").write_text(json.dumps(state))
        if isinstance(end, int):
            return end
        raise end


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    module, stand_in = ModuleType("gantrick.trainer"), Trainer()
    module.run = stand_in.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gantrick.trainer", module)
    monkeypatch.setattr(launch, "trainer", module)
    monkeypatch.setattr(gantrick, "trainer", module, raising=False)
    return stand_in


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty working directory, and nothing of the user's environment."""
    for name in (config.SEARCH_VARIABLE, "GANTRICK_DEBUG", "COMP_LINE", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    argv = list(sys.argv)
    yield
    os.environ.pop("GANTRICK_DEBUG", None)
    assert sys.argv == argv and "HYDRA_FULL_ERROR" not in os.environ  # what Hydra was told is taken back


def installed(*words: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gantrick", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **more)


# --- what needs nothing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], [], ["train", "--version"], ["list", "--help"], ["sample", "-h"], ["trian"]]
)
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom gantrick.cli import main\n"
        f"code = main({words!r})\n"
        "heavy = [m for m in ('torch', 'hydra', 'omegaconf', 'numpy', 'wandb') if m in sys.modules]\n"
        "assert not heavy or 'list' in sys.argv, heavy\nraise SystemExit(code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == (2 if words == ["trian"] else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^  {command} +\S", text, re.M) for command in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == cli.main(["train", "--version"]) == 0
    assert capsys.readouterr().out == f"gantrick {gantrick.__version__}\n" * 2


def test_the_package_exports_what_it_says() -> None:
    for name in gantrick.__all__:
        assert getattr(gantrick, name) is not None and name in dir(gantrick)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = gantrick.lod


# --- wrong command lines ---------------------------------------------------------------------------------------------

WRONG = [
    ("trian", "gantrick: error: trian: is not a command; did you mean train?"),
    ("zzz", "gantrick: error: zzz: is not a command; there are train, adagan, plan, list, cite, eval, sample, compare, doctor, ablate, bench, fid"),
    ("train los=hinge", "gantrick train: error: los: there is no key los; did you mean loss?"),
    ("train loss=hinje", "gantrick train: error: loss=hinje: there is no loss called hinje; did you mean hinge?"),
    ("train trick=[ema,casading]", "gantrick train: error: trick=[ema,casading]: there is no trick called casading; did you mean cascading?"),
    ("train stepz=3", "gantrick train: error: stepz: there is no key stepz; did you mean steps?"),
    ("train trick=ema trick=cascading", "gantrick train: error: trick=ema trick=cascading: trick is chosen 2 times; write trick=[…,…] once"),
    ("train regularizer=null", "gantrick train: error: regularizer=null: regularizer takes a list of names; write regularizer=[] for none"),
    ("train +trick.ema.decay=0.5", "gantrick train: error: trick.ema: has settings but no name; it was set but not chosen: add trick=ema"),
    ("train --config-dir nowhere", "gantrick train: error: --config-dir: there is no folder {cwd}/nowhere; name one that is there"),
    ("train loss=hinge --multrun", "gantrick train: error: unrecognized arguments: --multrun; did you mean --multirun?"),
    ("train --cfg jobb", "gantrick train: error: argument --cfg/-c: invalid choice: 'jobb' (choose from "),
    ("train --cfg job stepz=1", "gantrick train: error: stepz: there is no key stepz; did you mean steps?"),
    ("train --help loss=hinje", "gantrick train: error: loss=hinje: there is no loss called hinje; did you mean hinge?"),
    ("train --info loss=hinje", "gantrick train: error: loss=hinje: there is no loss called hinje; did you mean hinge?"),
    ("train -m --cfg job", "gantrick train: error: Only one of --run, --multirun, --cfg, --info and --shell_completion can be specified"),
    ("train --resolve", "gantrick train: error: The --resolve flag can only be used in conjunction with --cfg or --help"),
    ("train -cn other", "gantrick train: error: --config-name other: there is no such config where configs are looked for; name one that is there"),
    ("train seed=0,1", "gantrick train: error: seed=0,1: is several values; add -m to run each, or write seed=[0,1] for a list"),
    ("train steps=1.5 seed=-1", "gantrick train: error: steps: must be a whole number, not 1.5\ngantrick train: error: seed: must be at least 0, not -1"),
    ("train device=gpu", "gantrick train: error: device: torch knows no device 'gpu'; choose auto, cpu, cuda, cuda:1 or mps"),
    ("train loss=wgan trick=label_smoothing", "gantrick train: error: trick.label_smoothing: needs that the loss compares scores with target labels"),
    ("train dataset=ring model=dcgan metric=[]", "gantrick train: error: model"),
    ("train imports=[gone.py]", "gantrick train: error: imports: there is no file gone.py; give the path of a Python file"),
    ("train hydra.run.dir=${gone}", "gantrick train: error: hydra.run.dir: Interpolation key 'gone' not found"),
    (
        "train -m trick=ema,cascading trick.ema.decay=0.5",
        "gantrick train: error: job 1 (trick=cascading trick.ema.decay=0.5): trick.ema.decay: ema is not chosen; add it: trick=[cascading,ema]",
    ),
    (
        "train -m loss=hinge,wgan trick=[],label_smoothing seed=0,1",
        "gantrick train: error: jobs 2, 3, 6, 7 (the first: loss=hinge trick=label_smoothing seed=0): trick.label_smoothing: needs ",
    ),
    ("train -m seed=0,-1", "gantrick train: error: job 1 (seed=-1): seed: must be at least 0, not -1"),
    ("train -m loss=hinge,hinje", "gantrick train: error: loss=hinge,hinje: there is no loss called hinje; did you mean hinge?"),
    ("plan stepz=3", "gantrick plan: error: stepz: there is no key stepz; did you mean steps?"),
    ("plan -m seed=1,2", "gantrick plan: error: plan is about one run; leave -m, --cfg and --info to gantrick train"),
    ("cite loss=hinje", "gantrick cite: error: loss=hinje: there is no loss called hinje; did you mean hinge?"),
    ("list tricks", "gantrick list: error: there is no group tricks; did you mean trick?"),
    ("list a b", "gantrick list: error: unrecognized arguments: b; gantrick list --help shows how it is called"),
    ("sample", "gantrick sample: error: the following arguments are required: RUN; gantrick sample --help shows how it is called"),
    ("sample x --n 0", "gantrick sample: error: argument --n: must be a whole number at least 1, not 0; gantrick sample --help shows how it is called"),
    ("sample x --grid y.jpg", "gantrick sample: error: --grid y.jpg: must end in .png"),
    ("sample x --grid gone/y.png", "gantrick sample: error: gone/y.png: there is no folder gone; make it first"),
    ("sample x --checkpoint bets", "gantrick sample: error: --checkpoint: must be best, last, all or a step, not 'bets'"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_command_line(
    line: str, message: str, trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence a fault, exit code 2, and nothing done."""
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith(message.format(cwd=tmp_path)) and err.count("\n") == message.count("\n") + 1
    assert out == "" and "Traceback" not in err
    assert not trainer.runs and not list(tmp_path.iterdir())


def test_a_traceback_for_those_who_ask(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "loss=hinje", "--traceback"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith(
        "gantrick train: error: loss=hinje: there is no loss called hinje; did you mean hinge?\n"
    )


# --- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_gets_a_folder_of_its_own(trainer: Trainer, tmp_path: Path) -> None:
    assert cli.main(["train", "loss=wgan_ct", "trick=[ema,cascading]", "seed=3"]) == 0
    assert cli.main(["train"]) == 0
    first, second = trainer.runs
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", first.folder.name) and first.folder.parent == tmp_path / "runs"
    assert first.folder.name != second.folder.name
    assert first.command == "gantrick train loss=wgan_ct 'trick=[ema,cascading]' seed=3" and first.sweep is None
    assert [p.key for p in first.recipe.regularizers] == ["gp", "ct"] and first.recipe.settings.seed == 3
    assert [f.name for f in first.folder.iterdir()] == ["status.json"]  # nothing of Hydra's


def test_the_command_of_a_run_makes_the_same_run(trainer: Trainer, tmp_path: Path) -> None:
    extra = tmp_path / "my configs"
    (extra / "experiment").mkdir(parents=True)
    (extra / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 11\n")
    assert cli.main(["train", "experiment=mine", "-cd", str(extra), "name='a b'"]) == 0
    command = shlex.split(trainer.runs[0].command or "")
    assert command[0] == "gantrick" and cli.main(command[1:]) == 0
    assert trainer.runs[0].recipe.resolved == trainer.runs[1].recipe.resolved
    assert trainer.runs[1].recipe.settings.seed == 11 and trainer.runs[1].recipe.settings.name == "a b"


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        (
            ConfigError("dataset: is empty; fill it", "steps: no"),
            2,
            "dataset: is empty; fill it\ngantrick train: error: steps: no",
        ),
        (GantrickError("loss/d: not finite;\nlower lr"), 1, "loss/d: not finite; lower lr"),
        (
            RuntimeError("a bug\nin two lines"),
            1,
            "RuntimeError: a bug in two lines (unexpected; --traceback shows where)",
        ),
        (
            PermissionError(13, "Permission denied", "runs/x"),
            1,
            "runs/x: Permission denied; choose a place that can be written to",
        ),
        (143, 143, None),
        (KeyboardInterrupt, 130, None),
    ],
    ids=["refused", "failed", "bug", "disk", "stopped", "interrupted"],
)
def test_how_a_run_can_end(
    ending: Any, code: int, message: str | None, trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.ending = {0: ending}
    assert cli.main(["train"]) == code
    assert capsys.readouterr().err == (f"gantrick train: error: {message}\n" if message else "")
    left = [path.name for path in tmp_path.iterdir()]
    assert left == ([] if isinstance(ending, ConfigError) else ["runs"])


def test_hydra_tells_what_it_would_run(trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--cfg", "job", "trick=ema"], ["trick=ema", "-c", "job", "--resolve"]):
        assert cli.main(["train", *words]) == 0
        assert "  ema:\n    name: ema\n" in capsys.readouterr().out
    assert cli.main(["train", "trick=ema", "-p", "trick.ema", "-c", "job"]) == 0
    assert capsys.readouterr().out.startswith("# @package trick.ema\nname: ema\n")
    assert cli.main(["train", "loss=hinge", "--help"]) == 0
    text = capsys.readouterr().out
    assert (
        "loss: began, dragan, ebgan, gan_qp, hinge, lsgan" in text
        and "loss:\n  name: hinge\n" in text
        and "gantrick train -m" in text
    )
    assert cli.main(["train", "--info", "searchpath"]) == 0
    assert not trainer.runs and not list(tmp_path.iterdir())


# --- sweeps ----------------------------------------------------------------------------------------------------------


def test_the_jobs_of_a_sweep(trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "loss=hinge,wgan_gp", "-m", "seed=0,1", "trick=[ema]"]) == 0
    assert [(r.recipe.title, r.recipe.settings.seed, r.folder.name) for r in trainer.runs] == [
        ("hinge", 0, "0"), ("hinge", 1, "1"), ("wgan_gp", 0, "2"), ("wgan_gp", 1, "3"),
    ]  # fmt: skip
    [sweep] = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"sweep-\d{8}-\d{6}-[0-9a-f]{8}", sweep.name)
    assert {(r.folder.parent, r.sweep) for r in trainer.runs} == {(sweep, sweep.name)}
    assert trainer.runs[3].command == "gantrick train loss=wgan_gp seed=1 'trick=[ema]'"


def test_a_key_that_only_some_jobs_have_is_set_in_those(trainer: Trainer) -> None:
    assert cli.main(["train", "-m", "trick=[ema],[cascading,ema]", "trick.ema.decay=0.5", "runs_dir=it's here"]) == 2
    assert cli.main(["train", "-m", "trick=[ema],[cascading,ema]", "trick.ema.decay=0.5", 'runs_dir="it\'s here"']) == 0
    assert [r.recipe.tricks[-1].options["decay"] for r in trainer.runs] == [0.5, 0.5]
    assert {r.folder.parents[1].name for r in trainer.runs} == {"it's here"}


def test_a_failing_job_does_not_stop_the_others(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trainer.ending = {1: GantrickError("loss/d: not finite"), 2: RuntimeError("a bug"), 3: ConfigError("dataset: gone")}
    assert cli.main(["train", "-m", "seed=0,1,2,3,4"]) == 1
    assert [r.recipe.settings.seed for r in trainer.runs] == [0, 1, 2, 3, 4]
    err = capsys.readouterr().err
    assert "Traceback" not in err and "Error executing job" not in err
    told = [line for line in err.splitlines() if line.startswith("gantrick train: error: ")]
    sweep = trainer.runs[0].folder.parent.relative_to(Path.cwd())
    assert told == [
        f"gantrick train: error: job 1: loss/d: not finite (see {sweep}/1)",
        f"gantrick train: error: job 2: a bug (see {sweep}/2)",
        f"gantrick train: error: job 3: dataset: gone (see {sweep}/3)",
        f"gantrick train: error: once the cause is mended, go on with: gantrick train resume={sweep}",
    ]
    assert json.loads((sweep / "3" / "status.json").read_text())["state"] == "failed"


def test_a_sweep_can_be_interrupted(trainer: Trainer) -> None:
    trainer.ending = {1: KeyboardInterrupt}
    assert cli.main(["train", "-m", "seed=0,1,2"]) == 130
    trainer.ending = {1: 143}
    assert cli.main(["train", "-m", "seed=0,1,2"]) == 143
    assert [r.recipe.settings.seed for r in trainer.runs] == [0, 1, 0, 1]


# --- plan, cite, list ------------------------------------------------------------------------------------------------


def test_plan_says_who_acts_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "loss=wgan_gp", "trick=[ema]"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"d_penalty +sum +regularizer\.gp", out) and re.search(r"average +all +trick\.ema", out)
    assert not list(tmp_path.iterdir())


def test_cite_names_each_paper_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cite", "loss=wgan_ct", "metric=[]"]) == 0
    keys = re.findall(r"^@\w+\{(\w+),$", capsys.readouterr().out, re.M)
    assert len(keys) == len(set(keys)) >= 4
    assert cli.main(["cite", "loss=wgan_ct"]) == 0
    out = capsys.readouterr().out
    assert all(f"eprint = {{{arxiv}}}" in out for arxiv in ("1511.06434", "1701.07875", "1704.00028", "1803.01541"))
    assert out.count("{") == out.count("}")


def test_list_shows_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    everything = capsys.readouterr().out
    for file in (ROOT / "configs").glob("*/*.yaml"):
        assert re.search(rf"^  {file.stem} +\S", everything, re.M), file
    assert cli.main(["list", "trick"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("trick\n") and re.search(r"^  cascading .*\[arXiv 1911\.10979\]$", out, re.M)
    assert cli.main(["list", "loss"]) == 0
    assert re.search(r"^  wgan_gp +WGAN-GP ", capsys.readouterr().out, re.M)  # a recipe, by its file's comment


# --- the shell -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gantrick ", "train adagan plan list cite eval sample compare doctor ablate bench fid"),
        ("gantrick tr", "train"),
        ("/opt/train/bin/gantrick train loss=hin", "loss=hinge"),
        ("gantrick plan trick=ema trick.ema.dec", "trick.ema.decay="),
        ("gantrick train -m loss=wgan_g", "loss=wgan_gp"),
        ("gantrick list tr", "trick"),
        ("gantrick sample ru", ""),
        ("gantrick train zzz", ""),
    ],
)
def test_completion(
    line: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert cli.main(["-sc", "query=bash"]) == 0
    out, err = capsys.readouterr()
    assert expected in out.split() or out.strip() == expected
    assert err == ""


def test_completion_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys\nfrom gantrick.cli import main\nmain(['-sc', 'query=bash'])\nassert 'torch' not in sys.modules\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COMP_LINE": "gantrick train lo"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "loss=" in done.stdout.split() and done.stderr == ""


def test_completion_installs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-sc", "install=bash"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("hydra_bash_completion gantrick")


@pytest.mark.parametrize("words", ["list", "train --info", "--help"])
def test_a_reader_who_has_had_enough(words: str, tmp_path: Path) -> None:
    """`gantrick list | head -1`: no traceback."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "gantrick", *words.split()]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 141)


# --- for real --------------------------------------------------------------------------------------------------------


def test_a_real_run_and_samples_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = installed(
        "train", "debug=fast", "trick=[ema]", "optimizer.lr=0.05", "wandb.mode=disabled", "device=cpu", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "runs").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert {"config.yaml", "plan.txt", "environment.json", "metrics.jsonl", "samples", "checkpoints"} <= {
        f.name for f in run.iterdir()
    }
    assert not [f for f in run.rglob("*") if f.name == ".hydra" or f.suffix == ".log"]
    for weights in ("ema", "raw"):
        words = ["sample", str(run), "--n", "5", "--seed", "1", "--weights", weights, "--npz", f"{weights}.npz"]
        words += ["--checkpoint", "last"]
        assert cli.main(words) == 0 and capsys.readouterr().out == f"{weights}.npz\n"
    ema, raw = (numpy.load(tmp_path / f"{weights}.npz")["samples"] for weights in ("ema", "raw"))
    assert ema.shape == raw.shape == (5, 1, 16, 16) and ema.dtype == numpy.uint8 and (ema != raw).any()
    drawn = gantrick.load(run, "last").sample(5, 1, "raw")
    numpy.testing.assert_allclose(raw / 127.5 - 1, drawn.numpy(), atol=1 / 127.5)
    assert cli.main(["sample", str(run), "--n", "4", "--grid", "grid.png"]) == 0
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 2 * 16
    assert cli.main(["sample", str(run / "samples")]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_a_run_is_taken_further_by_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = installed("train", "debug=fast", "wandb.mode=disabled", "device=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "runs").iterdir()
    for words, message in [
        ([f"resume={run}"], f"resume={run}: the run is at step 4, its last; give a larger steps="),
        ([f"resume={tmp_path}"], "not a run folder, it has no config.yaml"),
        ([f"resume={run}", "loss=hinge"], "loss: cannot change when a run is resumed"),
        ([f"resume={run}", "steps=["], "steps: '[' is not a value"),
        (["-m", f"resume={run}"], "leave -m out"),
    ]:
        assert cli.main(["train", *words]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["train", f"resume={run}", "steps=6", "eval_every=0"]) == 0
    assert json.loads((run / "status.json").read_text())["step"] == 6


KILLER = """
import os, signal
import gantrick
from gantrick import Component

@gantrick.register("trick.killer")
class Killer(Component):
    def __init__(self):
        super().__init__()
    def schedule(self, step):
        if step == 3 and os.path.exists("armed"):
            os.remove("armed")
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_sweep_is_taken_up_where_it_was(tmp_path: Path) -> None:
    """Job 0 is killed in its last step and goes on; job 1 is run; what is finished is not run again."""
    (tmp_path / "killer.py").write_text(KILLER)
    (tmp_path / "armed").touch()
    (tmp_path / "configs" / "trick").mkdir(parents=True)
    (tmp_path / "configs" / "trick" / "killer.yaml").write_text("# @package trick.killer\nname: killer\n")
    words = ["debug=fast", "wandb.mode=disabled", "device=cpu", "imports=[killer.py]", "trick=killer", "seed=0,1"]
    done = installed("train", "-m", "--config-dir", "configs", *words, cwd=tmp_path)
    assert done.returncode == -9
    [sweep] = (tmp_path / "runs").glob("sweep-*")
    states = {f.parent.name: json.loads(f.read_text())["state"] for f in sweep.glob("*/status.json")}
    assert states == {"0": "running"} and (sweep / "0/checkpoints/last.pt").exists()
    done = installed("train", f"resume={sweep}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    statuses = {f.parent.name: f.read_text() for f in sweep.glob("*/status.json")}
    assert {k: json.loads(v)["state"] for k, v in statuses.items()} == {"0": "finished", "1": "finished"}
    rows = [json.loads(line)["step"] for line in (sweep / "0/metrics.jsonl").read_text().splitlines()]
    alone = [json.loads(line)["step"] for line in (sweep / "1/metrics.jsonl").read_text().splitlines()]
    assert rows == alone and sorted(set(rows)) == [0, 1, 2, 3, 4]
    done = installed("train", f"resume={sweep}", cwd=tmp_path)
    assert done.returncode == 0 and "step" not in done.stdout
    assert statuses == {f.parent.name: f.read_text() for f in sweep.glob("*/status.json")}, "nothing runs twice"
    done = installed("train", f"resume={sweep}", "steps=5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {json.loads(f.read_text())["step"] for f in sweep.glob("*/status.json")} == {5}
    (tmp_path / "configs" / "trick" / "killer.yaml").unlink()
    done = installed("train", f"resume={sweep}", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "killer" in done.stderr


def test_a_requeued_job_of_slurm_goes_on_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "debug=fast", "wandb.mode=disabled", "device=cpu", "hydra.run.dir=run"]
    assert installed(*words, "steps=3", cwd=tmp_path).returncode == 0
    again = installed(*words, cwd=tmp_path)
    assert again.returncode == 2 and "already holds a run" in again.stderr
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = installed(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run/status.json").read_text())["step"] == 4
