"""The command line: `gantrick <command> …`. What goes wrong is said in one sentence a fault; nothing heavy is imported
before a command needs it, so that `gantrick --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gantrick import __version__

USAGE = "usage: gantrick <command> …\n"


class Refused(Exception):
    """A command line that cannot be read."""


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are raised."""

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message}; {self.prog} --help shows how it is called")


# --- commands: the words after the command -> the exit code ----------------------------------------------------------


def train(words: list[str]) -> int:
    """train a GAN: gantrick train loss=wgan_ct trick=ema"""
    if "--version" in words:
        print(f"gantrick {__version__}")
        return 0
    from gantrick.train import main as run

    failures = run(words)
    for failure in failures:
        _complain("train", failure)
    return 1 if failures else 0


def plan(words: list[str]) -> int:
    """show, stage by stage, what a run with these overrides would do, without running it"""
    recipe = _recipe("plan", words)
    from gantrick.gan import plan as describe

    print(describe(recipe), end="")
    return 0


def cite(words: list[str]) -> int:
    """print BibTeX of the papers behind a run with these overrides"""
    recipe = _recipe("cite", words)
    from gantrick import registry

    papers = [getattr(registry.load(part.group, part.name), "paper", None) for part in recipe.parts]
    entries = {paper.key: paper.bibtex() for paper in papers if paper is not None}
    print("\n\n".join(entries.values()))
    return 0


def list_(words: list[str]) -> int:
    """show what there is to choose from: gantrick list trick"""
    groups = sorted(folder.name for folder in _config_dir().iterdir() if folder.is_dir())
    parser = _Parser("gantrick list", description="What there is to choose from, with its paper.")
    parser.add_argument("group", nargs="?", help=f"one of {', '.join(groups)}; all of them where it is left out")
    group = parser.parse_args(words).group
    if group is not None and group not in groups:
        raise Refused(f"there is no group {group}; {_suggest(group, groups)}")
    for number, name in enumerate(groups if group is None else [group]):
        rows = list(_choices(name))
        width = max((len(row[0]) for row in rows), default=0)
        print("\n" * (number > 0) + name)
        for choice, summary, paper in rows:
            print(f"  {choice:<{width}}  {summary}{f'  [{paper}]' if paper else ''}")
    return 0


def sample(words: list[str]) -> int:
    """draw images from trained runs: gantrick sample RUN --n 64 --grid samples.png"""
    parser = _Parser("gantrick sample", description="Draws samples from a trained run, or from several as a mixture.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders; of several, each sample is from one of them"
    )
    add, default = parser.add_argument, "(default %(default)s)"
    add("--n", type=_count, help="how many samples, or pictures to reconstruct (default 64), or rows (default 8)")
    add("--seed", type=int, default=0, help=f"of the latents {default}")
    add("--grid", type=Path, metavar="PNG", help="a picture of all samples (default: samples.png, where nothing else)")
    add("--npz", type=Path, help="the array `samples`, uint8 (N, C, H, W) or points (N, D)")
    add("--folder", type=Path, help="a folder with one PNG for each sample")
    add("--checkpoint", default="best", help="of the run: best, last or a step (default: best)")
    add("--weights", choices=("ema", "raw"), help="averaged weights or those in training (default: averaged if kept)")
    add("--truncation", type=_positive, metavar="T", help="draw from latents with |z| at most T")
    add("--standing-statistics", type=_count, metavar="N", help="batch norms take the mean of N batches")
    add("--label", type=int, action="append", help="the class to draw, of a conditional run; may be given again")
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--interpolate", action="store_true", help="every row of the grid leads from one latent to another"
    )
    way.add_argument(
        "--traverse", action="store_true", help="a grid for each code: rows of one z, columns of its values"
    )
    way.add_argument(
        "--reconstruct", type=Path, metavar="FOLDER", help="its pictures over what an encoder makes of them"
    )
    add("--entry", type=int, action="append", help="of z, from 0, to traverse in place of codes; may be given again")
    arguments = parser.parse_intermixed_args(words)
    pictures_alone = "--traverse" if arguments.traverse else "--reconstruct" if arguments.reconstruct else None
    if pictures_alone and (arguments.npz or arguments.folder):
        raise Refused(f"{pictures_alone}: is a picture; leave --npz and --folder out")
    if arguments.entry is not None and not arguments.traverse:
        raise Refused("--entry: says what to traverse; add --traverse")
    if not (arguments.grid or arguments.npz or arguments.folder):
        arguments.grid = Path("traversal.png" if arguments.traverse else "samples.png")
    for flag, suffix in (("grid", ".png"), ("npz", ".npz")):
        path = getattr(arguments, flag)
        if path is not None and path.suffix != suffix:
            raise Refused(f"--{flag} {path}: must end in {suffix}")
    _has_place(arguments.grid, arguments.npz, arguments.folder)
    if arguments.checkpoint not in ("best", "last") and not arguments.checkpoint.isdecimal():
        raise Refused(f"--checkpoint {arguments.checkpoint}: must be best, last or the number of a step")
    if arguments.label is not None and len(arguments.runs) > 1:
        raise Refused("--label: is asked of one run; name one")
    if (arguments.interpolate or pictures_alone) and len(arguments.runs) > 1:
        raise Refused(f"{pictures_alone or '--interpolate'}: is of one generator's latents; name one run")
    from gantrick import sampling
    from gantrick.feed import to_uint8
    from gantrick.tracking.grid import save_each, save_grid, save_pairs

    runs = [sampling.load(run, arguments.checkpoint) for run in arguments.runs]
    for run in runs:
        if arguments.truncation is not None:
            run.truncate(arguments.truncation)
        if arguments.standing_statistics:
            sampling.stand(run.gan, arguments.standing_statistics, 64, arguments.seed, arguments.weights)
    columns, count = None, arguments.n or (8 if arguments.traverse or arguments.interpolate else 64)
    if arguments.traverse:
        found = runs[0].traverse(count, arguments.seed, arguments.weights, arguments.label, arguments.entry or ())
        for name, images in found.items():
            path = arguments.grid.with_stem(f"{arguments.grid.stem}-{name}") if len(found) > 1 else arguments.grid
            save_grid(to_uint8(images), path, columns=len(images) // count, block=1)
            print(path)
        return 0
    if arguments.reconstruct:
        originals = runs[0].pictures(arguments.reconstruct, count, "--reconstruct")
        made = to_uint8(runs[0].reconstruct(originals, arguments.weights, arguments.label))
        save_pairs(originals, made, arguments.grid)
        print(arguments.grid)
        return 0
    if arguments.interpolate:
        columns = 8
        samples = runs[0].interpolate(count, columns, arguments.seed, arguments.weights, arguments.label)
    elif len(runs) == 1:
        samples = runs[0].sample(count, arguments.seed, arguments.weights, arguments.label)
    else:
        samples = sampling.mixed(runs, count, arguments.seed, arguments.weights)
    samples = to_uint8(samples)
    points = samples.ndim == 2
    if points and (arguments.folder or (arguments.grid and samples.shape[1] != 2)):
        raise Refused(f"points of {samples.shape[1]} dimensions have no pictures; use --npz")
    if arguments.grid:
        save_grid(samples, arguments.grid, columns=columns)
    if arguments.npz:
        import numpy

        numpy.savez_compressed(arguments.npz, samples=samples.numpy())
    if arguments.folder:
        save_each(samples, arguments.folder)
    for path in filter(None, (arguments.grid, arguments.npz, arguments.folder)):
        print(path)
    return 0


def eval_(words: list[str]) -> int:
    """take the figures of trained runs: gantrick eval RUN metric=[fid,kid] checkpoint=best,last"""
    parser = _Parser(
        "gantrick eval",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Takes the figures of trained runs, and keeps them in RUN/evaluations/figures.jsonl.",
        epilog=EVAL_KEYS,
    )
    parser.add_argument("words", nargs="+", metavar="RUN | key=value", help="run folders or sweeps, and the keys below")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each, with protocols")
    parser.add_argument("--curve", type=Path, metavar="PNG", help="precision against recall along truncation=…")
    arguments = parser.parse_intermixed_args(words)
    if arguments.curve is not None and (
        arguments.curve.suffix != ".png" or not arguments.curve.absolute().parent.is_dir()
    ):
        raise Refused(f"--curve {arguments.curve}: must end in .png and lie in a folder that is there")
    import json

    from gantrick import assess, parallel
    from gantrick.tracking.console import Meanwhile

    asked = assess.request(arguments.words)
    parallel.start()  # torchrun's processes share the work, and one of them speaks
    if not parallel.writes():
        for _ in assess.Assessor(asked):
            pass
        return 0
    shown = Meanwhile(quiet=arguments.json)
    found, tables = [], dict[tuple[str, str], list[str]]()
    with shown:
        for each in assess.Assessor(asked, shown.beat, lambda sentence: _warn("eval", sentence)):
            found.append(each)
            if arguments.json:
                told = {"runs": [str(run) for run in each.runs], "checkpoint": each.checkpoint, "step": each.step}
                told |= {"truncation": each.truncation, "figures": each.taken.figures, "protocol": each.taken.protocols}
                told["published"] = {name: dict(entry) for name, entry in each.published.items()}
                print(json.dumps(told), flush=True)
            for name, value in each.taken.figures.items():
                protocol = each.taken.protocols[name]
                tables.setdefault((name, _words_of(protocol)), []).append(f"{value:12.6g}  {each.name}")
    for (name, protocol), rows in tables.items() if not arguments.json else ():
        print(f"{name}  ({protocol})", *rows, sep="\n")
    for name in dict.fromkeys(name for name, _ in tables) if not arguments.json else ():
        if rows := _published(name, found):
            print(f"{name} published  (each by a protocol of its own, not the ones above)", *rows, sep="\n")
    if arguments.curve is not None and not assess.curve(found, arguments.curve):
        raise Refused(
            "--curve: needs precision and recall at several truncations; add metric=[prdc] truncation=0.5,1,none"
        )
    return 0 if all(each.taken.figures for each in found) else 1


EVAL_KEYS = """keys:
  metric=[fid,kid]            which figures (default: those the run itself took); metric.fid.samples=1000 sets options
  checkpoint=best,last        best, last, a step, several of them, or all that stay under their steps
  protocol=field              field, training (as the run did), pytorch_fid, clean_fid, mimicry or studiogan
  weights=ema                 ema or raw (default: averaged weights where the run keeps them)
  mixture=uniform             all named runs and checkpoints as one mixture; shares as in mixture=0.7,0.3;
                              by_mode: each mode or class from the one that finds it most often
  truncation=0.5,1,none       latents with |z| at most so much, one after another
  standing_statistics=16      batch norms of the generator take the mean of so many batches
  seed=0  device=auto         of the latents (default: the run's); where it is computed"""


def _words_of(protocol: Any) -> str:
    """A protocol on a line: figures in one table have all of it in common."""
    left_out = ("fingerprint", "extractor_fingerprint", "reference", "quantisation")
    said = [f"{key.replace('_', ' ')} {value}" for key, value in protocol.items() if key not in left_out]
    return ", ".join([*said, f"protocol {protocol.get('fingerprint', 'unknown')}"])


def _published(metric: str, found: Sequence[Any]) -> list[str]:
    """What others took of this figure by the recipes of the runs, a line each; of several runs it says which."""
    by: dict[str, list[str]] = {}
    for each in found:
        for who, entry in each.published.items():
            if entry["metric"] == metric:
                said = [who, *(str(entry[key]) for key in ("protocol", "source") if entry.get(key))]
                by.setdefault(f"{entry['value']:12.6g}  {'; '.join(said)}", []).extend(map(str, each.runs))
    runs = dict.fromkeys(str(run) for each in found for run in each.runs)
    return [line + (f"  [{', '.join(dict.fromkeys(of))}]" if len(runs) > 1 else "") for line, of in by.items()]


def compare(words: list[str]) -> int:
    """set runs side by side: gantrick compare runs/sweep-… --csv table.csv"""
    parser = _Parser("gantrick compare", description="Runs that differ in nothing but their seed share a row.")
    parser.add_argument("runs", nargs="*", metavar="RUN", type=Path, help="run folders, or sweeps for all their jobs")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="the runs of a W&B project in place of folders")
    what = "of those at W&B only: group=sweep-…, tag=wgan_ct, state=finished, seed=0; may be given again, all must hold"
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE", help=what)
    for flag, what in (("csv", "all figures, intervals and counts"), ("json", "the same"), ("latex", "the table")):
        parser.add_argument(f"--{flag}", type=Path, metavar="FILE", help=f"write {what} to a file")
    arguments = parser.parse_intermixed_args(words)
    _has_place(arguments.csv, arguments.json, arguments.latex)
    import json

    from gantrick.analysis import compare as side

    if bool(arguments.runs) == bool(arguments.wandb):
        raise Refused("name run folders, or a W&B project by --wandb ENTITY/PROJECT: one of the two")
    if arguments.filter and not arguments.wandb:
        raise Refused("--filter: chooses among the runs of a W&B project; name one by --wandb, or leave it out")

    def tell(sentence: str) -> None:
        _warn("compare", sentence)

    if arguments.wandb:
        from gantrick.tracking import wandb_api

        wanted = wandb_api.filters(arguments.filter)
        runs = side.of_records(wandb_api.records(arguments.wandb, wanted), tell)
        if not runs:
            raise Refused(f"--wandb {arguments.wandb}: no run of gantrick's is there; see its project and --filter")
    else:
        runs = side.read([path.expanduser() for path in arguments.runs], tell)
    if not runs:
        raise Refused("none of these is a run; name run folders or a sweep under runs/")
    made = side.table(runs)
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(made.columns):
        numeric = number > made.columns.index("runs")
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in made.rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False).print(shown)
    print(
        f"best and last: the mean over seeds ± its {side.CONFIDENCE:.0%} interval (Student's t)", *made.notes, sep="\n"
    )
    if arguments.csv:
        arguments.csv.write_text(side.as_csv(made), encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(json.dumps(made.numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if arguments.latex:
        arguments.latex.write_text(side.as_latex(made), encoding="utf-8")
    return 0


def bench(words: list[str]) -> int:
    """measure how fast a run with these overrides trains on this machine (none: SNGAN on CIFAR-10)"""
    recipe = _recipe("bench", words or ["experiment=sngan_cifar10"])
    from gantrick.bench import report

    for line in report(recipe):
        print(line, flush=True)
    return 0


def fid(words: list[str]) -> int:
    """measure the Fréchet distance of two sets of images: gantrick fid SAMPLES REFERENCE"""
    parser = _Parser(
        "gantrick fid",
        usage="gantrick fid SAMPLES REFERENCE [options]\n       gantrick fid IMAGES --save-stats OUT.npz [options]",
        description="A set is a folder or a zip of images, an .npz of them (samples, images or arr_0, uint8), or one "
        "of statistics (mu, sigma) as pytorch-fid writes and reads. The reference's statistics are kept in "
        "~/.cache/gantrick or GANTRICK_CACHE.",
    )
    add = parser.add_argument
    add("paths", nargs=2, type=Path, help="two sets, or with --save-stats a set and the file to write")
    add("--save-stats", action="store_true", help="write the statistics of a set as .npz, for this and for pytorch-fid")
    add("--extractor", metavar="NAME", help="whose features (default: inception, or what statistics say)")
    add("--weights", metavar="PATH", help="the extractor's weights (default: torch.hub's copy, or a download)")
    add("--resize", choices=("pytorch_fid", "clean_fid"), help="of inception (default: pytorch_fid)")
    add("--batch-size", type=_count, metavar="N", help="images at a time (default: 64, on a GPU 256)")
    add("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one, else cpu)")
    add("--no-cache", action="store_true", help="measure the reference anew, and do not keep it")
    add("--json", action="store_true", help="print the figure, its protocol and notes as JSON")
    arguments = parser.parse_intermixed_args(words)
    from gantrick.fid import Fid

    def warn(sentence: str) -> None:
        print(f"gantrick fid: warning: {sentence}", file=sys.stderr)

    way = Fid(
        arguments.extractor,
        arguments.weights,
        arguments.resize,
        arguments.batch_size,
        arguments.device,
        not arguments.no_cache,
        warn,
    )
    if arguments.save_stats:
        saved = way.save(*arguments.paths)
        print(f"{arguments.paths[1]}: {saved.count} images, {saved.extractor} {saved.fingerprint}, {saved.resizer}")
        return 0
    found = way.compare(*arguments.paths)
    if arguments.json:
        import json

        print(json.dumps({found.name: found.value, "protocol": found.protocol, "notes": found.notes}, indent=2))
        return 0
    print(f"{found.name}: {found.value:.10g}")
    print("\n".join(f"  {name}: {value}" for name, value in found.protocol.items() if value is not None))
    for note in found.notes:
        print(f"  note: {note}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "plan": plan,
    "list": list_,
    "cite": cite,
    "eval": eval_,
    "sample": sample,
    "compare": compare,
    "bench": bench,
    "fid": fid,
}


# --- the way in ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and gives back the exit code: 0, 1 (it failed), 2 (it was refused), 130 (interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    for out in (sys.stdout, sys.stderr):
        if hasattr(out, "reconfigure"):
            out.reconfigure(errors="replace")  # a σ must not end a command where the locale is ASCII
    if words and words[0] in ("-sc", "--shell-completion"):
        return _shell_completion(words)
    if "--traceback" in words:
        words.remove("--traceback")
        os.environ["GANTRICK_DEBUG"] = "1"  # in the environment, so that the processes of a sweep know
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(USAGE + "\n" + "".join(f"  {c:<8} {f.__doc__}\n" for c, f in COMMANDS.items()), end="")
        print("\ngantrick <command> --help tells more; gantrick --version is the version.")
        print('eval "$(gantrick -sc install=bash)" has the shell complete commands, groups, choices and keys.')
        return 0
    if name == "--version":
        print(f"gantrick {__version__}")
        return 0
    if name not in COMMANDS:
        _complain("", f"{name}: is not a command; {_suggest(name, COMMANDS)}")
        return 2
    return _guarded(name, words[1:])


def _guarded(name: str, words: list[str]) -> int:
    try:
        code = COMMANDS[name](words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # argparse after --help, Hydra after its own, a run that was asked to stop
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except BrokenPipeError:  # whoever read our output has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (nothing is left to say, at exit either)
        return 141
    except Exception as error:
        if os.environ.get("GANTRICK_DEBUG") == "1":
            traceback.print_exc()
        faults, code = _told(name, error)
        for fault in faults:
            _complain(name, fault)
        return code


def _told(command: str, error: Exception) -> tuple[Sequence[str], int]:
    """An error as sentences, and its exit code: 2 where nothing was begun, 1 where a run failed or nobody foresaw."""
    types: Any = sys.modules.get("gantrick.types")  # where it was not imported, none of its errors was raised
    if isinstance(error, Refused):
        return [str(error)], 2
    if types is not None and isinstance(error, types.GantrickError):
        failed = command == "train" and not isinstance(error, types.ConfigError)
        return getattr(error, "faults", None) or [str(error)], 1 if failed else 2
    if isinstance(error, OSError) and error.strerror:
        return [f"{error.filename or 'a file'}: {error.strerror}; choose a place that can be written to"], 1
    return [f"{type(error).__name__}: {error} (unexpected; --traceback shows where)"], 1


def _complain(command: str, fault: str) -> None:
    print(f"{f'gantrick {command}'.strip()}: error: {' '.join(fault.split())}", file=sys.stderr)


def _suggest(word: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _warn(command: str, sentence: str) -> None:
    print(f"gantrick {command}: warning: {' '.join(sentence.split())}", file=sys.stderr)


def _has_place(*paths: Path | None) -> None:
    """Raises Refused where the folder of a file that is to be written is not there."""
    for path in filter(None, paths):
        if not path.absolute().parent.is_dir():
            raise Refused(f"{path}: there is no folder {path.parent}; make it first")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number at least 1, not {text}")
    return int(text)


def _recipe(command: str, words: list[str]) -> Any:
    """The recipe that `gantrick train` would run with these words."""
    from gantrick import config

    arguments = config.parse(words)
    if arguments.help:
        print(f"usage: gantrick {command} [--config-dir DIR] [group=name] [key=value] …\n\n{COMMANDS[command].__doc__}")
        print("\nThe overrides are those of gantrick train; gantrick train --help lists them.")
        raise SystemExit(0)
    if arguments.multirun or arguments.cfg or arguments.info:
        raise Refused(f"{command} is about one run; leave -m, --cfg and --info to gantrick train")
    from gantrick.recipe import check

    with config.composer_of(arguments) as composing:
        return check(composing.resolved(arguments.overrides))


def _config_dir() -> Path:
    from gantrick.config import config_dir

    return config_dir()


def _choices(group: str) -> Iterator[tuple[str, str, str]]:
    """(name, what it is, its paper) of all in a group: classes by their docstring, plain files by their comment."""
    from gantrick import registry

    classes = registry.names(group) if group in registry.GROUPS else ()
    files = {file.stem: file for file in (_config_dir() / group).glob("*.yaml")}
    for name in sorted({*classes, *files}):
        if name in classes:
            cls = registry.load(group, name)
            paper = getattr(cls, "paper", None)
            yield name, (cls.__doc__ or "").strip().partition("\n")[0], str(paper) if paper else ""
        else:
            lines = files[name].read_text(encoding="utf-8").splitlines()
            comments = (line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line)
            yield name, next(comments, ""), ""


def _shell_completion(words: list[str]) -> int:
    """Commands are completed here, groups of `list` too, and what follows train, plan and cite by Hydra."""
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()[1:]
    if any(word.startswith("query=") for word in words):
        if len(typed) < 1 or (len(typed) == 1 and not line.endswith(" ")):
            print(" ".join(name for name in COMMANDS if name.startswith(typed[0] if typed else "")))
            return 0
        if typed[0] == "list":
            print(" ".join(sorted(folder.name for folder in _config_dir().iterdir() if folder.is_dir())))
            return 0
        if typed[0] not in ("train", "plan", "cite", "bench"):
            return 0
        program, rest = line.split(maxsplit=1)
        os.environ["COMP_LINE"] = program + rest.removeprefix(typed[0])  # as Hydra knows it: no command in between
    from contextlib import redirect_stderr

    from gantrick.train import complete

    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # a shell would mix it into what is being typed
        try:
            complete(words)
        except (Exception, SystemExit):
            return 1
    return 0
