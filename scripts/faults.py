"""Injects faults into runs, resumes them, and prints a table of what a user sees and what is left.

    python scripts/faults.py [--jobs 2] [--fork] [--only disk] [--keep] > faults.md

Every run is the installed command in a process of its own, a few steps on the CPU (with --fork one that begins with
torch imported, in a fifth of the time). A row is good where the run went on
or said one sentence on stderr, there was no traceback, and where it could be gone on with, `gantrick train resume=RUN`
ended in the rows and the weights of a run that nothing was done to. Full and read-only disks are small tmpfs of their
own and need the right to mount; without it their rows are named as left out. The exit code is 1 where a row is bad.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
STEPS = 6
SMALL = [
    "debug=fast", f"steps={STEPS}", "device=cpu", "wandb.mode=disabled", "metric=[]", "checkpoint_every=1",
    "imports=[faulty.py]", "trick=faulty", "--config-dir", "configs",
]  # fmt: skip
FAULTY = '''
import os, shutil, signal, subprocess, sys, threading, time
from pathlib import Path
import gantrick
from gantrick import Component
from gantrick.types import Figures, Metric

disk = Path(os.environ.get("FAULT_DISK", "."))
run = Path(os.environ.get("FAULT_RUN", "run"))

def fill():
    with open(disk / "filler", "ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass

def free():
    (disk / "filler").unlink(missing_ok=True)

def children(name=None):
    """Processes below this one, or those of a name."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name_, _, rest = text.partition("(")[2].rpartition(")")
        parents[int(stat.parent.name)] = (int(rest.split()[1]), name_)
    found, below = [], [os.getpid()]
    while below:
        one = below.pop()
        new = [p for p, (parent, _) in parents.items() if parent == one]
        below += new
        found += [p for p in new if name is None or name in parents[p][1]]
    return found

@gantrick.register("trick.faulty")
class Faulty(Component):
    def schedule(self, step):
        if "FAULT" in os.environ:
            exec(os.environ["FAULT"], {**globals(), "step": step})

@gantrick.register("metric.faulty")
class FaultyMetric(Metric):
    primary = "faulty/figure"
    def evaluate(self, evaluation):
        return eval(os.environ.get("FIGURES", "Figures({'faulty/figure': 1.0})"))
'''

NURSERY = """
import json, os, sys
import torch, gantrick.train, gantrick.trainer, gantrick.launch
from gantrick import cli
torch.set_num_threads(1)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        for name, number, flags in (("out", 1, os.O_WRONLY), ("err", 2, os.O_WRONLY)):
            os.dup2(os.open(asked[name], flags), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        sys.argv = ["gantrick", *asked["words"]]
        sys.exit(cli.main(asked["words"]))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass
class Row:
    """A fault: what is done before the run, in it (`fault`, Python run at the start of every step), and after it."""

    title: str
    how: str
    fault: str = ""
    words: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[Path], object] | None = None  # given the working folder
    after: Callable[[Path], object] | None = None  # given the run folder, before it is resumed
    mend: Callable[[Path], object] | None = None  # what a user does who read the sentence
    disk: str = ""  # options of a tmpfs that runs are in
    mounted: str = "runs"  # where in the working folder it is
    resumes: bool = True
    same: bool = True  # in the end the rows and weights are those of a run left alone
    resume_words: list[str] = field(default_factory=list)
    codes: tuple[int, ...] = (0, 1, 2)
    two: bool = False  # two commands at once
    base: bool = False  # the fault strikes a finished half of a run (steps=3), between it and its resume
    foreign: bool = False  # an error of the user's own code, which nobody can foresee
    says: str = ""  # a pattern of what is said on the way, where the run goes on


class Lab:
    """Runs rows, each in a folder of its own."""

    def __init__(self, root: Path, forking: int):
        self.root, self.nurseries = root, Queue[subprocess.Popen[str]]()
        for _ in range(forking):
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", NURSERY]
            self.nurseries.put(
                subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        self.forks = bool(forking)

    def forked(self, folder: Path, words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """The command in a process that has imported torch already."""
        nursery = self.nurseries.get()
        out, err = (Path(tempfile.mkstemp(dir=self.root)[1]) for _ in range(2))
        asked = {"words": words, "cwd": str(folder), "env": environment, "out": str(out), "err": str(err)}
        assert nursery.stdin is not None and nursery.stdout is not None
        print(json.dumps(asked), file=nursery.stdin, flush=True)
        code = int(nursery.stdout.readline())
        self.nurseries.put(nursery)
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    def command(self, folder: Path, words: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "GANTRICK_", "FAULT"))}
        environment = {**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
        environment = {k: v for k, v in environment.items() if v != "-"}
        command = [sys.executable, "-m", "gantrick", *words]
        if self.forks and not {"HOME", "WANDB_API_KEY"} & set(more):  # which are looked at while modules are imported
            return self.forked(folder, words, environment)
        try:
            return subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
            )
        except subprocess.TimeoutExpired as error:
            out, err = (
                part.decode() if isinstance(part, bytes) else part or "" for part in (error.stdout, error.stderr)
            )
            return subprocess.CompletedProcess(command, 124, out, err + "\n(no end after 300 s)")

    def prepare(self, name: str) -> Path:
        folder = self.root / name
        for group in ("trick", "metric"):
            (folder / "configs" / group).mkdir(parents=True)
            (folder / "configs" / group / "faulty.yaml").write_text(f"# @package {group}.faulty\nname: faulty\n")
        (folder / "faulty.py").write_text(FAULTY)
        (folder / "runs").mkdir()
        return folder

    @contextmanager
    def disk(self, folder: Path, options: str) -> Iterator[None]:
        if not options:
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)

    def row(self, number: int, row: Row, alone: dict[tuple[str, ...], Any]) -> tuple[str, bool]:
        folder = self.prepare(f"{number:02}")
        run = folder / "runs" / "run"
        with ExitStack() as stack:
            stack.enter_context(self.disk(folder / row.mounted, row.disk))
            if row.before is not None:
                row.before(folder)
            small = [w for w in SMALL if not (w == "metric=[]" and "metric=[faulty]" in row.words)]
            words = ["train", *small, *row.words, f"hydra.run.dir={run}"]
            more = {"FAULT_DISK": str(folder / row.mounted), "FAULT_RUN": str(run)}
            if row.base:
                done = self.command(folder, [*words, "steps=3"], more)
                assert done.returncode == 0, done.stderr
            else:
                fault = {"FAULT": row.fault} if row.fault else {}
                done = self.command(folder, words, {**more, **fault, **row.environment})
            texts, problems = [done], []
            if row.after is not None:
                row.after(run)
            resumed: subprocess.CompletedProcess[str] | None = None
            again = ["train", f"resume={run}", *row.resume_words]
            if row.base:
                again += [f"steps={STEPS}"]
            if row.two:
                with ThreadPoolExecutor(2) as pool:
                    slow = {**more, "FAULT": "time.sleep(2.5)"}
                    both = list(pool.map(lambda _: self.command(folder, again, slow), range(2)))
                both.sort(key=lambda d: d.returncode)
                resumed, done = both
                texts += both
            elif row.resumes:
                if row.base:
                    done = self.command(folder, again, {**more, **row.environment})
                    texts.append(done)
                    if done.returncode != 0 and row.mend is not None:
                        row.mend(run)
                        resumed = self.command(folder, again, more)
                elif done.returncode != 0:
                    if row.mend is not None:
                        row.mend(run)
                    resumed = self.command(folder, again, more)
            if resumed is not None:
                texts.append(resumed)
                if resumed.returncode != 0:
                    problems.append(f"resume ended with {resumed.returncode}: {_last(resumed.stderr)}")
            for text in texts:
                if "Traceback" in text.stderr + text.stdout:
                    problems.append("a traceback")
                if "unexpected;" in text.stderr and not row.foreign:
                    problems.append("an unforeseen error")
            said = [line for line in done.stderr.splitlines() if line.startswith("gantrick")]
            if done.returncode not in row.codes:
                problems.append(f"exit code {done.returncode}")
            if 0 < done.returncode < 128 and len(said) != 1:
                problems.append(f"{len(said)} sentences")
            if row.says and not re.search(row.says, done.stdout + done.stderr):
                problems.append("it does not say so")
            ended = resumed is not None or done.returncode == 0
            if row.same and ended and not problems:
                problems += differences(run, alone, row.words)
            sees = (
                said[-1] if said else next((t for t in done.stdout.splitlines() if re.search(row.says or "$^", t)), "")
            )
            left = _left(run)
            how = "went on by itself" if done.returncode == 0 else "yes" if resumed and not resumed.returncode else "-"
            if row.resumes and row.same and not problems:
                how += ", the same bits"
        sees = sees.replace(str(folder), "…").replace("|", "¦") or "(nothing)"
        verdict = "; ".join(dict.fromkeys(problems)).replace(str(folder), "…").replace("|", "¦") or "good"
        print(f"{number:02} {row.title}: {verdict}", file=sys.stderr, flush=True)
        if problems:
            for text in texts:
                (folder / f"said-{texts.index(text)}.txt").write_text(f"{text.args}\n{text.stdout}\n---\n{text.stderr}")
        return f"| {row.title} | {row.how} | {sees} | {done.returncode} | {left}; {how} | {verdict} |", not problems


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _left(run: Path) -> str:
    try:
        status = json.loads((run / "status.json").read_text())
        return f"{status['state']} at {status['step']}"
    except (OSError, ValueError, KeyError):
        return "no status" if run.exists() else "no folder"


def outcome(run: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]
    gan = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["gan"]
    return rows, {f"{p}.{k}": v for p in ("generator", "discriminator") for k, v in gan[p].items()}


def differences(run: Path, alone: dict[tuple[str, ...], Any], words: list[str]) -> list[str]:
    """Where a run differs from one that nothing was done to."""
    try:
        rows, weights = outcome(run)
    except (OSError, ValueError, KeyError) as error:
        return [f"the run folder cannot be read: {error}"]
    expected_rows, expected = alone[()]
    found = []
    if any(w.startswith(("dataset", "metric")) for w in words):
        expected_rows, expected = rows, weights  # of another config: that it is whole is what is looked at
    if [r["step"] for r in rows][-1] != STEPS or rows != expected_rows:
        found.append(f"rows differ from a run left alone (steps {[r['step'] for r in rows]})")
    if any(not torch.equal(weights[k], expected[k]) for k in expected):
        found.append("weights differ from a run left alone")
    return found


# --- the faults ------------------------------------------------------------------------------------------------------


def rewrite(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Changes a checkpoint or a YAML file of a run folder."""

    def act(run: Path) -> None:
        path = run / name
        if name.endswith(".pt"):
            state = torch.load(path, weights_only=True)
            change(state)
            torch.save(state, path)
        else:
            config = yaml.safe_load(path.read_text())
            change(config)
            path.write_text(yaml.safe_dump(config))

    return act


def kept(*names: str) -> Callable[[Path], None]:
    """Removes the files, a copy of each beside the run folder."""

    def act(run: Path) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                shutil.copy2(run / name, run.parent / f"kept-{Path(name).name}")
                (run / name).unlink()

    return act


def restored(*names: str) -> Callable[[Path], None]:
    def act(run: Path) -> None:
        for name in names:
            shutil.copy2(run.parent / f"kept-{Path(name).name}", run / name)

    return act


def garbage(name: str, content: bytes = b"\x00\xffgarbage {[\n") -> Callable[[Path], None]:
    def act(run: Path) -> None:
        kept(name)(run)
        (run / name).write_bytes(content)

    return act


def appended(text: str) -> Callable[[Path], None]:
    def act(run: Path) -> None:
        shutil.copy2(run / "metrics.jsonl", run.parent / "kept-metrics.jsonl")
        with open(run / "metrics.jsonl", "a") as file:
            file.write(text)

    return act


def pictures(folder: Path, broken: str | None = None) -> None:
    at = folder / "pictures"
    at.mkdir()
    stream = np.random.default_rng(0)
    for n in range(48):
        Image.fromarray(stream.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(at / f"{n:02}.png")
    good = (at / "07.png").read_bytes()
    if broken == "zero bytes":
        (at / "07.png").write_bytes(b"")
    elif broken == "truncated":
        (at / "07.png").write_bytes(good[: len(good) // 2])
    elif broken == "no picture":
        (at / "07.png").write_bytes(b"hello" * 99)
    elif broken == "16 bits":
        Image.fromarray(stream.integers(0, 65536, (16, 16), dtype=np.uint16)).save(at / "07.png")
    elif broken == "palette":
        Image.open(at / "07.png").convert("P").save(at / "07.png")
    elif broken == "alpha":
        Image.open(at / "07.png").convert("RGBA").save(at / "07.png")
    elif broken == "a folder called .png":
        (at / "07.png").unlink()
        (at / "07.png").mkdir()


def whole_again(run: Path) -> None:
    at = run.parent.parent / "pictures"
    for n in range(48):
        path = at / f"{n:02}.png"
        try:
            Image.open(path).load()
        except OSError:
            if path.is_dir():
                path.rmdir()
            Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(path)


def freed(run: Path) -> None:
    for filler in (run.parent / "filler", run / "filler"):
        filler.unlink(missing_ok=True)


def rows() -> list[Row]:
    key = "a" * 40
    folder = ["dataset=image_folder", "dataset.path=pictures", "dataset.size=16"]
    streamed = [*folder, "dataset.resident=false", "dataset.workers=1"]
    online = {"WANDB_API_KEY": key, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    old = "checkpoints/last.pt"
    only = ("checkpoints/previous.pt", "checkpoints/best.pt")
    metric = ["metric=[faulty]", "eval_every=2"]
    found = [
        Row("none", "a run left alone"),
        # W&B
        Row("W&B unreachable", "online, a key, a dead port", words=["wandb.mode=online"], environment=online,
            says="W&B: .*kept offline"),
        Row("W&B's process is killed", "SIGKILL to wandb-core in step 3",
            "if step == 3:\n for p in children('wandb') or children('gpu_stats'): os.kill(p, signal.SIGKILL)",
            words=["wandb.mode=offline"], says="W&B: .*nothing more is sent"),
        Row("W&B's folder is read-only", "a read-only mount at runs/wandb", words=["wandb.mode=offline"],
            disk="size=1m,ro", mounted="runs/wandb"),
        Row("W&B's disk is full", "a full mount at runs/wandb", "fill()", words=["wandb.mode=offline"],
            disk="size=64k", mounted="runs/wandb"),
        Row("a value W&B cannot take", "a metric gives the picture of no file", words=[*metric, "wandb.mode=offline"],
            environment={"FIGURES": "Figures({'faulty/figure': 1.0}, {}, (run / 'no.png',))"}, says="W&B: "),
        # disk
        Row("the disk is full from the start", "a tmpfs without room",
            before=lambda f: (f / "runs/filler").write_bytes(b"x" * 65536), disk="size=64k", resumes=False,
            codes=(1, 2)),
        Row("the disk has room for all but a checkpoint", "a tmpfs of 96 kB", disk="size=96k",
            mend=lambda run: subprocess.run(["mount", "-o", "remount,size=64m", str(run.parent)], check=True),
            codes=(1,)),
        Row("the disk is full for a while", "filled before step 2, freed before step 4",
            "fill() if step == 2 else free() if step == 4 else None", disk="size=16m", says="could not be written"),
        Row("the disk stays full", "filled before step 3", "fill() if step == 3 else None", disk="size=16m",
            mend=freed, codes=(1,)),
        Row("the disk is full within a checkpoint", "filled inside torch.save at step 3, freed before step 5",
            "from gantrick import checkpoint\nif step == 2:\n real = checkpoint.torch.save\n"
            " def save(state, file):\n"
            "  file.write(b'x' * 999); fill(); checkpoint.torch.save = real; real(state, file)\n"
            " checkpoint.torch.save = save\nif step == 4: free()", disk="size=16m", says="checkpoints could not be"),
        Row("the disk is full and the run is told to stop", "filled before step 3, SIGTERM in it",
            "if step == 3: fill(); os.kill(os.getpid(), signal.SIGTERM)", disk="size=16m", mend=freed, codes=(143,)),
        Row("no inodes are left", "files until the tmpfs has none, before step 3",
            "if step == 3:\n for i in range(99):\n  try: (disk / f'n{i}').touch()\n  except OSError: break",
            disk="size=16m,nr_inodes=40", codes=(1,),
            mend=lambda run: [p.unlink() for p in run.parent.glob("n*")]),
        Row("the disk turns read-only", "remounted before step 3",
            "if step == 3: subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)", disk="size=16m",
            mend=lambda run: subprocess.run(["mount", "-o", "remount,rw", str(run.parent)], check=True), codes=(1,)),
        Row("runs_dir is read-only", "a read-only mount", disk="size=1m,ro", resumes=False, codes=(1, 2)),
        Row("runs_dir is a file", "a file of that name", resumes=False, codes=(1, 2),
            before=lambda f: ((f / "runs").rmdir(), (f / "runs").write_text("x"))),
        # evaluations
        Row("an evaluation raises", "ValueError in a metric", words=metric, environment={"FIGURES": "1 / 0"},
            says=r"metric\.faulty: no figure at step 2: ZeroDivisionError"),
        Row("a metric gives no numbers", "a figure that is a word", words=metric,
            environment={"FIGURES": "Figures({'faulty/figure': 'many'})"}, says=r"metric\.faulty: no figure at step 2"),
        Row("a metric gives NaN", "a figure that is not finite", words=metric,
            environment={"FIGURES": "Figures({'faulty/figure': float('nan')}, {('a', 1): object()})"}),
        Row("a picture raises", "samples/ is a file since step 1",
            "if step == 1: shutil.rmtree(run / 'samples'); (run / 'samples').write_text('x')",
            says="samples: no picture at step 2"),
        Row("a picture raises within an evaluation", "the same, with a metric", words=metric,
            fault="if step == 1: shutil.rmtree(run / 'samples'); (run / 'samples').write_text('x')"),
        Row("a component raises", "ValueError in a trick at step 3", "if step == 3: raise ValueError('a bug')",
            foreign=True, codes=(1,)),
        Row("memory runs out", "MemoryError at step 3", "if step == 3: raise MemoryError('no memory')",
            foreign=True, codes=(1,)),
        # the run folder during a run
        Row("the run folder is moved", "renamed before step 3",
            "if step == 3: run.rename(run.with_name('elsewhere'))", codes=(1,),
            mend=lambda run: (run.parent / "elsewhere").rename(run)),
        Row("the run folder is moved, evaluations on", "the same, before an evaluation", words=metric, codes=(1,),
            fault="if step == 3: run.rename(run.with_name('elsewhere'))",
            mend=lambda run: (run.parent / "elsewhere").rename(run)),
        Row("the run folder is deleted", "rmtree before step 3", "if step == 3: shutil.rmtree(run)", resumes=False,
            codes=(1,)),
        Row("checkpoints/ is deleted", "rmtree before step 3", "if step == 3: shutil.rmtree(run / 'checkpoints')"),
        Row("status.json is deleted", "unlinked before step 3", "if step == 3: (run / 'status.json').unlink()"),
        # signals
        *(Row(f"{name} in step 3", "os.kill", f"if step == 2: os.kill(os.getpid(), signal.{name})", codes=(code,))
          for name, code in (("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138), ("SIGKILL", -9))),
        # several at once
        Row("two processes resume one run", "both at the same moment", "if step == 2: os.kill(os.getpid(), 15)",
            two=True),
        Row("HOME is missing", "not in the environment", environment={"HOME": "-"}, words=["wandb.mode=auto"]),
        Row("HOME cannot be written to", "HOME=/proc/none", environment={"HOME": "/proc/none"},
            words=["wandb.mode=auto"]),
        # data
        *(Row(f"a picture: {what}", "among 48 good ones", words=[*folder],
              before=lambda f, what=what: pictures(f, what), mend=whole_again, codes=codes, resumes=0 in codes)
          for what, codes in (("zero bytes", (1, 2)), ("truncated", (1, 2)), ("no picture", (1, 2)),
                              ("16 bits", (0, 1, 2)),
                              ("palette", (0,)), ("alpha", (0,)), ("a folder called .png", (0, 2)))),
        Row("pictures vanish while they are streamed", "all unlinked before step 2", "if step == 2:\n"
            " for p in Path('pictures').glob('*.png'): p.unlink()", words=streamed, before=pictures, codes=(1,),
            mend=lambda run: (shutil.rmtree(run.parent.parent / "pictures"), pictures(run.parent.parent))),
        Row("pictures turn broken while they are streamed", "all truncated before step 2", "if step == 2:\n"
            " for p in Path('pictures').glob('*.png'): p.write_bytes(p.read_bytes()[:50])", words=streamed,
            before=pictures, codes=(1,),
            mend=lambda run: (shutil.rmtree(run.parent.parent / "pictures"), pictures(run.parent.parent))),
        Row("a reading process is killed", "SIGKILL before step 2",
            "if step == 2:\n for p in children(): os.kill(p, signal.SIGKILL)", words=streamed, before=pictures,
            codes=(1,)),
        Row("the data set is gone before a resume", "the folder renamed", words=folder, base=True, before=pictures,
            after=lambda run: (run.parent.parent / "pictures").rename(run.parent.parent / "p"),
            mend=lambda run: (run.parent.parent / "p").rename(run.parent.parent / "pictures"), codes=(1, 2)),
    ]  # fmt: skip
    # before a resume: each file missing, then garbage
    for name in ("config.yaml", "status.json", "metrics.jsonl", "environment.json", "plan.txt", old):
        rebuilt = name in ("status.json", "environment.json", "plan.txt", old)
        codes = (0,) if rebuilt else (1, 2)
        if name == "metrics.jsonl":  # rows that are gone are gone, and nothing else is
            found.append(
                Row(f"{name} is missing", "before a resume", base=True, after=kept(name), same=False, codes=(0,))
            )
        else:
            found.append(Row(f"{name} is missing", "before a resume", base=True, after=kept(name), mend=restored(name),
                             codes=codes))  # fmt: skip
        found.append(Row(f"{name} is garbage", "before a resume", base=True, after=garbage(name), mend=restored(name),
                         codes=codes))  # fmt: skip
    found += [
        Row("config.yaml is a list", "before a resume", base=True, after=garbage("config.yaml", b"- 1\n- 2\n"),
            mend=restored("config.yaml"), codes=(2,)),
        Row("status.json is a list", "before a resume", base=True, after=garbage("status.json", b"[1]")),
        Row("all checkpoints are garbage", "before a resume", base=True, codes=(1, 2),
            after=lambda run: [garbage(f"checkpoints/{p.name}")(run) for p in (run / "checkpoints").glob("*.pt")],
            mend=lambda run: restored(old)(run)),
        Row("all checkpoints are missing", "before a resume", base=True, after=kept(old, *only)),
        Row("a line of metrics.jsonl is broken", "garbage in its middle", base=True, codes=(1, 2),
            after=appended('{"step": 3, \n{"step": 3}\n'), mend=restored("metrics.jsonl")),
        Row("a line of metrics.jsonl is no row", "a number, and a step that is a word", base=True, codes=(1, 2),
            after=appended('{"step": "three"}\n'), mend=restored("metrics.jsonl")),
        Row("metrics.jsonl ends within a line", "as a killed process leaves it", base=True,
            after=appended('{"step": 4, "d')),
        # older versions
        Row("a config with an unknown key", "as an older version may have written", base=True, codes=(2,),
            after=lambda run: (kept("config.yaml")(run), restored("config.yaml")(run),
                               rewrite("config.yaml", lambda c: c.update(colour="blue"))(run)),
            mend=restored("config.yaml")),
        Row("a config without a key", "log_every and wandb removed", base=True, same=False,
            after=rewrite("config.yaml", lambda c: (c.pop("log_every"), c.pop("tags")))),
        Row("a config without its model", "model removed", base=True, codes=(2,),
            after=lambda run: (kept("config.yaml")(run), restored("config.yaml")(run),
                               rewrite("config.yaml", lambda c: c.pop("model"))(run)),
            mend=restored("config.yaml")),
    ]  # fmt: skip
    for missing in ("data", "acts", "meter", "feed", "step", "random", "gan"):
        fine = missing in ("data", "acts")
        found.append(
            Row(f"a checkpoint without {missing!r}", "as an older version may have written", base=True,
                codes=(0,) if fine else (0, 1, 2),
                after=lambda run, m=missing: (kept(*only, old)(run), restored(old)(run),
                                              rewrite(old, lambda s: s.pop(m))(run)),
                mend=restored(old))
        )  # fmt: skip
    found += [
        Row("a checkpoint of another format", 'its "format" is 99', base=True, codes=(1, 2), mend=restored(old),
            after=lambda run: (kept(*only, old)(run), restored(old)(run),
                               rewrite(old, lambda s: s.update(format=99))(run))),
        Row("a checkpoint of another model", "a weight of another shape", base=True, codes=(1, 2), mend=restored(old),
            after=lambda run: (kept(*only, old)(run), restored(old)(run),
                               rewrite(old, lambda s: s["gan"].update(generator={}))(run))),
        Row("resume with a value that is no YAML", "log_every=[", base=True, resume_words=["log_every=["], codes=(2,)),
        Row("resume of a folder that is not there", "a name misspelt", base=True, codes=(2,),
            after=lambda run: run.rename(run.with_name("moved")),
            mend=lambda run: run.with_name("moved").rename(run)),
        Row("a moved run is resumed", "renamed between", base=True,
            after=lambda run: (run.rename(run.with_name("moved")), run.symlink_to(run.with_name("moved")))),
    ]  # fmt: skip
    return found


def may_mount(root: Path) -> bool:
    at = root / "mount"
    at.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(at)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", str(at)], check=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="rows at once")
    parser.add_argument("--fork", action="store_true", help="import torch once, and fork a process for each command")
    parser.add_argument("--only", default="", help="a pattern of the titles")
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    lab, started = Lab(root, asked.jobs + 1 if asked.fork else 0), time.monotonic()
    chosen = [row for row in rows() if re.search(asked.only, row.title)]
    out = [] if may_mount(root) else [row.title for row in chosen if row.disk]
    chosen = [row for row in chosen if row.title not in out]
    folder = lab.prepare("alone")
    done = lab.command(folder, ["train", *SMALL, f"hydra.run.dir={folder / 'runs/run'}"], {})
    if done.returncode:
        raise SystemExit(done.stderr)
    alone = {(): outcome(folder / "runs/run")}

    def one(numbered: tuple[int, Row]) -> tuple[str, bool]:
        try:
            return lab.row(*numbered, alone)
        except Exception as error:
            print(f"{numbered[1].title}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return f"| {numbered[1].title} | {numbered[1].how} | | | | {type(error).__name__}: {error} |", False

    with ThreadPoolExecutor(asked.jobs) as pool:
        print("| fault | how | what the user sees | exit code | left; resume | |\n|---|---|---|---|---|---|")
        found = []
        for line, good in pool.map(one, enumerate(chosen)):
            print(line, flush=True)
            found.append((line, good))
    bad = sum(not good for _, good in found)
    print(f"\n{len(found)} faults, {bad} of them bad, {time.monotonic() - started:.0f} s.")
    if out:
        print(f"Left out, as nothing can be mounted here: {', '.join(out)}.")
    print(root, file=sys.stderr) if asked.keep or bad else shutil.rmtree(root)
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
