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


def adagan(words: list[str]) -> int:
    """train a mixture of GANs, each on what those before it lack: gantrick adagan components=5 dataset=grid"""
    if {"-h", "--help"} & {*words}:
        print(ADAGAN)
        return 0
    import shlex

    from gantrick.adagan import begin, go_on, split

    command = shlex.join(["gantrick", "adagan", *words])
    own, rest = split(words)
    if "resume" in own:
        return go_on(Path(own.pop("resume")).expanduser(), own, rest, command)
    recipe, folder = _composed("adagan", rest)
    if not any(word.startswith("hydra.run.dir=") for word in rest):
        folder = folder.with_name(f"adagan-{folder.name}")
    return begin(folder, recipe, own, command)


ADAGAN = """usage: gantrick adagan [components=N] [key=value] …
       gantrick adagan resume=FOLDER [components=N]

Trains GANs one after another, each on data reweighted to what the mixture of those before it lacks (AdaGAN, arXiv
1701.02386). It leaves a folder that gantrick sample and gantrick eval take as one generator; each component is an
ordinary run folder in it. A command that was stopped goes on by resume=FOLDER, also to more components.

keys, beside those of gantrick train:
  components=5            how many
  beta=uniform            the share of each new one: uniform is 1/t for the t-th, so that all have the same in the end;
                          or a number between 0 and 1
  classifier_epochs=null  passes over the data in which a classifier learns to tell them from the mixture; null: 5, or
                          as many moves as D makes in a component, whichever is less
  classifier_lr=1e-3      its learning rate, which falls to 0"""


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
        "runs", nargs="+", metavar="RUN", help="run folders and mixtures; of several, each sample is from one of them"
    )
    add, default = parser.add_argument, "(default %(default)s)"
    add("--n", type=_count, help="how many samples, or pictures to reconstruct (default 64), or rows (default 8)")
    add("--seed", type=int, default=0, help=f"of the latents {default}")
    add("--grid", type=Path, metavar="PNG", help="a picture of all samples (default: samples.png, where nothing else)")
    add("--npz", type=Path, help="the array `samples`, uint8 (N, C, H, W) or points (N, D)")
    add("--folder", type=Path, help="a folder with one PNG for each sample")
    add(
        "--checkpoint",
        "--checkpoints",
        metavar="WHICH",
        help="best, last, a step, several as a mixture (1000,2000), "
        "or all that stay under their steps (default: best; of a mixture those that it names)",
    )
    add(
        "--mixture",
        metavar="SHARES",
        default="uniform",
        help="how often each of several is drawn from: uniform, shares "
        "like 0.7,0.3, or by_mode: each mode or class from the one that finds it most often (default: uniform)",
    )
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
    from gantrick import mixture
    from gantrick.feed import to_uint8
    from gantrick.tracking.grid import save_each, save_grid, save_pairs
    from gantrick.types import ConfigError

    faults: list[str] = []
    asked = mixture.check_checkpoints(arguments.checkpoint, faults) if arguments.checkpoint else None
    parts = mixture.parts_of([Path(run).expanduser() for run in arguments.runs], asked, ("best",)) if not faults else []
    shares = mixture.shares_of(arguments.mixture, len(parts), faults) if parts else ()
    if faults:
        raise ConfigError(*(f"--{fault}" for fault in faults))
    whole = mixture.open_members(mixture.together(parts, shares).members)
    by_mode, several = arguments.mixture == "by_mode", len(whole.members) > 1
    if arguments.label is not None and by_mode:
        raise Refused("--label: by_mode draws every class; leave one of the two out")
    if (arguments.interpolate or pictures_alone) and several:
        flag = pictures_alone or "--interpolate"
        raise Refused(f"{flag}: is of one generator's latents; name one run and one checkpoint")
    for run in whole.trained:
        if arguments.truncation is not None:
            run.truncate(arguments.truncation)
        if arguments.standing_statistics:
            run.stand(arguments.standing_statistics)
    first = whole.trained[0]
    columns, count = None, arguments.n or (8 if arguments.traverse or arguments.interpolate else 64)
    if arguments.traverse:
        found = first.traverse(count, arguments.seed, arguments.weights, arguments.label, arguments.entry or ())
        for name, images in found.items():
            path = arguments.grid.with_stem(f"{arguments.grid.stem}-{name}") if len(found) > 1 else arguments.grid
            save_grid(to_uint8(images), path, columns=len(images) // count, block=1)
            print(path)
        return 0
    if arguments.reconstruct:
        originals = first.pictures(arguments.reconstruct, count, "--reconstruct")
        made = to_uint8(first.reconstruct(originals, arguments.weights, arguments.label))
        save_pairs(originals, made, arguments.grid)
        print(arguments.grid)
        return 0
    if arguments.interpolate:
        columns = 8
        samples = first.interpolate(count, columns, arguments.seed, arguments.weights, arguments.label)
    elif by_mode:
        samples = whole.sample_by_mode(count, arguments.seed, arguments.weights)
    elif several:
        samples = whole.sample(count, arguments.seed, arguments.weights, arguments.label)
    else:
        samples = first.sample(count, arguments.seed, arguments.weights, arguments.label)
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
                              (a folder of gantrick adagan is a mixture of its own)
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
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with curves, samples and configs too")
    arguments = parser.parse_intermixed_args(words)
    _has_place(arguments.csv, arguments.json, arguments.latex, arguments.html)
    import json
    from importlib.util import find_spec

    from gantrick.analysis import compare as side

    if bool(arguments.runs) == bool(arguments.wandb):
        raise Refused("name run folders, or a W&B project by --wandb ENTITY/PROJECT: one of the two")
    if arguments.filter and not arguments.wandb:
        raise Refused("--filter: chooses among the runs of a W&B project; name one by --wandb, or leave it out")
    if arguments.html and arguments.wandb:
        raise Refused("--html: its curves and samples are those of run folders; name these, or leave --wandb out")
    if arguments.html and (missing := [name for name in ("plotly", "orjson", "jinja2") if find_spec(name) is None]):
        raise Refused(f'--html: needs {" and ".join(missing)}; pip install "gantrick[report]"')
    left_out: list[str] = []

    def tell(sentence: str) -> None:
        left_out.append(sentence)
        _warn("compare", sentence)

    folders = [path.expanduser() for path in arguments.runs]
    if arguments.wandb:
        from gantrick.tracking import wandb_api

        wanted = wandb_api.filters(arguments.filter)
        runs = side.of_records(wandb_api.records(arguments.wandb, wanted), tell)
        if not runs:
            raise Refused(f"--wandb {arguments.wandb}: no run of gantrick's is there; see its project and --filter")
    else:
        runs = side.read(folders, tell)
    if not runs:
        raise Refused("none of these is a run; name run folders or a sweep under runs/")
    made = side.table(runs)
    _print_table(made.columns, made.rows, numbers_from=made.columns.index("runs") + 1)
    print(
        f"best and last: the mean over seeds ± its {side.CONFIDENCE:.0%} interval (Student's t)", *made.notes, sep="\n"
    )
    if arguments.csv:
        arguments.csv.write_text(side.as_csv(made), encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(json.dumps(made.numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if arguments.latex:
        arguments.latex.write_text(side.as_latex(made), encoding="utf-8")
    if arguments.html:
        from gantrick.analysis import report

        effects = [effect for folder in folders for effect in report.effects(folder, tell)]
        arguments.html.write_text(report.page(runs, effects, left_out), encoding="utf-8", errors="replace")
    return 0


def doctor(words: list[str]) -> int:
    """say what ails a run, by what evidence, and what to try: gantrick doctor RUN"""
    parser = _Parser(
        "gantrick doctor",
        description="Reads a run folder, of a running or failed run too, and names what it sees: with the figures that "
        "say so, how sure that is, and overrides to try that compose with the run's own config.",
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", type=Path, help="run folders, or sweeps for all their jobs")
    add("--json", action="store_true", help="a line of JSON for each run")
    add("--plot", type=Path, metavar="PNG", help="the spectral norms of all layers through training, of one run")
    add("--lipschitz", action="store_true", help="measure D's slope at the last checkpoint first (metric=lipschitz)")
    arguments = parser.parse_args(words)
    if arguments.plot is not None and arguments.plot.suffix != ".png":
        raise Refused(f"--plot {arguments.plot}: must end in .png")
    _has_place(arguments.plot)
    from gantrick.analysis import doctor as ward
    from gantrick.analysis.compare import jobs_of

    runs = [job for path in arguments.runs for job in jobs_of(path.expanduser()) or [path.expanduser()]]
    for run in runs:
        if not ward.is_run(run):
            raise Refused(f"{run}: not a run folder, it has no config.yaml; name a folder under runs/")
    if arguments.plot is not None and len(runs) > 1:
        raise Refused("--plot: is of one run; name one")
    import json

    for number, run in enumerate(runs):
        slopes = _slopes(run) if arguments.lipschitz else []
        report = ward.examine(run)
        told = _told_of(report)
        if arguments.json:
            print(json.dumps({**told, "lipschitz": slopes}, allow_nan=False), flush=True)
        else:
            print("\n" * (number > 0) + "\n".join([ward.heading(report.run), *_lines_of(told, slopes)]), flush=True)
        if arguments.plot is not None and not ward.draw_norms(report.run, arguments.plot):
            raise Refused(f"--plot: {run} has no spectral norms; train with metric=[…,lipschitz]")
    return 0


def _slopes(run: Path) -> list[dict[str, Any]]:
    """Both bounds of D's slope at the last checkpoint; what cannot be had is told."""
    from gantrick import assess
    from gantrick.types import GantrickError

    try:
        asked = assess.request([str(run), "metric=lipschitz", "metric.lipschitz.norms=operator", "checkpoint=last"])
        found = list(assess.Assessor(asked, tell=lambda sentence: _warn("doctor", sentence)))
    except GantrickError as error:
        for fault in getattr(error, "faults", None) or [str(error)]:
            _warn("doctor", f"--lipschitz: {fault}")
        return []
    return [{"checkpoint": each.checkpoint, "step": each.step, **each.taken.figures} for each in found]


def _told_of(report: Any) -> dict[str, Any]:
    """A report as data, with what to try. What composes a config is imported where something was found."""
    run, suggestions, command, trouble = report.run, dict[str, list[Any]](), "", ""
    if report.findings:
        from gantrick.analysis.remedies import Pharmacy

        with Pharmacy(run) as pharmacy:
            suggestions = {finding.name: pharmacy.suggest(finding) for finding in report.findings}
            command, trouble = ("", pharmacy.trouble) if pharmacy.trouble else (pharmacy.command, "")
    return {
        "run": str(run.path),
        "state": run.state,
        "step": run.step,
        "findings": [
            {
                "name": finding.name,
                "title": finding.title,
                "certainty": finding.certainty,
                "evidence": list(finding.evidence),
                "numbers": dict(finding.numbers),
                "suggestions": [
                    {"overrides": list(s.overrides), "why": s.why, "command": s.command}
                    for s in suggestions.get(finding.name, ())
                ],
            }
            for finding in report.findings
        ],
        "not_found": list(report.healthy),
        "not_judged": [
            {
                "name": each.name,
                "title": each.title,
                "reason": each.reason,
                "metrics": list(each.metrics),
                "remedy": each.remedy,
            }
            for each in report.unjudged
        ],
        "notes": list(run.notes),
        "command": command,
        "no_suggestions": trouble,
    }


def _lines_of(told: dict[str, Any], slopes: list[dict[str, Any]]) -> Iterator[str]:
    """What is said of a run below its heading."""
    import shlex

    yield from (f"  note: {note}" for note in told["notes"])
    for slope in slopes:
        if "lipschitz/lower" in slope:
            most = f", at most {slope['lipschitz/upper']:.4g}" if "lipschitz/upper" in slope else ", no upper bound"
            yield f"  D's slope at step {slope['step']:,}: at least {slope['lipschitz/lower']:.4g}{most}"
    for number, finding in enumerate(told["findings"], 1):
        yield f"\n{number}. {finding['title']} ({finding['certainty']})"
        yield from (f"   {line}" for line in finding["evidence"])
        for suggestion in finding["suggestions"]:
            yield f"   try: {shlex.join(suggestion['overrides'])}  ({suggestion['why']})"
    if told["findings"] and told["no_suggestions"]:
        yield f"\nnothing is suggested: the run's config does not compose here: {told['no_suggestions']}"
    elif told["command"]:
        yield "\nthe run's own command, in which overrides to try take the place of what they change:"
        yield f"   {told['command']}"
    if told["not_found"]:
        yield f"\nnot found: {', '.join(told['not_found'])}"
    groups: dict[tuple[str, str], list[str]] = {}
    for each in told["not_judged"]:
        groups.setdefault((each["reason"], each["remedy"]), []).append(each["title"])
    if groups:
        yield "\nnot judged:"
    for (reason, remedy), titles in groups.items():
        yield f"   {', '.join(titles)}: {reason}" + (f"; {remedy}" if remedy else "")
    if metrics := list(dict.fromkeys(name for each in told["not_judged"] for name in each["metrics"])):
        yield f"   to see it: {shlex.join(['gantrick', 'eval', told['run'], 'metric=[' + ','.join(metrics) + ']'])}"


def ablate(words: list[str]) -> int:
    """ask what each part of a recipe is worth: gantrick ablate experiment=sngan_cifar10 seeds=5"""
    if {"-h", "--help"} & {*words}:
        print(ABLATE_USAGE)
        return 0
    from gantrick import config

    arguments = config.parse([word for word in words if word != "--plan"])
    if arguments.multirun or arguments.cfg or arguments.info or "WORLD_SIZE" in os.environ:
        raise Refused("a study lists and starts its runs itself; leave -m, --cfg, --info and torchrun out")
    given = config.flags_first(word for word in words if word != "--plan")
    flags, overrides = given[: len(given) - len(arguments.overrides)], arguments.overrides
    resumed = [word.partition("=")[2] for word in overrides if word.startswith("resume=")]
    if resumed:
        return _ablate(Path(resumed[0]).expanduser(), [w for w in overrides if not w.startswith("resume=")])
    from gantrick.analysis import ablate as study
    from gantrick.analysis.ablation_report import planned
    from gantrick.tracking.console import Meanwhile

    with config.composer_of(arguments) as composing:
        made = study.plan(composing, study.request(overrides, flags))
        with Meanwhile(what="arms timed") as shown:
            made = study.timed(composing, made, shown.beat)
    table, lines = planned(made)
    _print_table(*table)
    print(*lines, sep="\n", flush=True)
    if "--plan" in words:
        return 0
    folder = Path(made.runs_dir).expanduser() / f"ablation-{config.stamp()}"
    study.save(made, folder)
    print(f"study    {folder}", flush=True)
    return _ablate(folder, [])


def _ablate(folder: Path, launcher: list[str]) -> int:
    """Runs what is missing of a study, and reports. 1 where runs failed for reasons that are not theirs."""
    from gantrick import config, train
    from gantrick.analysis import ablate as study
    from gantrick.analysis import ablation_report as say

    made = study.load(folder)
    for word in launcher:
        if not config.key_of(word).startswith(("hydra/launcher", "hydra.launcher")):
            raise Refused(f"{word}: cannot change when a study goes on; only hydra/launcher and its keys can")
    jobs = study.to_do(made, folder)
    try:
        if jobs:
            train.run_jobs(made.asked.flags, launcher or made.asked.launcher, jobs, folder.absolute())
    except (SystemExit, KeyboardInterrupt):
        _warn("ablate", f"the study is stopped; go on with: gantrick ablate resume={folder}")
        raise
    report = say.judge(made, folder)
    say.write(report, folder)
    _print_table(*say.summary(report))
    print(*say.legend(report), f"report   {folder / say.REPORT}.md", sep="\n")
    left = [*report.failed, *report.unfinished]
    for arm, seed in left:
        found = report.outcomes[arm, seed]
        _complain("ablate", f"{made.place(arm, seed)}: {found.reason or f'ended while {found.state}'}")
    if left:
        _complain("ablate", f"{len(left)} runs are missing; try them again with: gantrick ablate resume={folder}")
    return 1 if left else 0


ABLATE_USAGE = """usage: gantrick ablate [key=value] … [--plan]
       gantrick ablate resume=FOLDER

Runs a recipe with and without each of its parts, the same seeds each, and says what each is worth. All words but these
are gantrick train's (gantrick train --help), hydra/launcher=… among them. --plan shows the plan and runs nothing.

  seeds=5                how many, from seed= on
  mode=both              add (each part alone to the bare base), leave (each out of the full recipe), both
  of=[ema,r1]            which parts (default: all regularizers and tricks of the recipe, and its loss); what the recipe
                         lacks is put in. Also other losses and any override: of=wgan_gp,loss=hinge,optimizer.lr=1e-4
  pairs=true             all pairs of parts too: are they worth more together than apart?
  budget=steps           what all arms get the same of: steps, images (real ones taken), seconds (max_seconds=600 each)
  alpha=0.05             the chance of any false verdict among those of a figure
  metric=[fid,kid]       gantrick train's; the first decides

Reported in FOLDER/report.md and report.json; every run is an ordinary run folder in it."""


def bench(words: list[str]) -> int:
    """measure how fast a run with these overrides trains here; gantrick bench tricks: what each trick costs"""
    if words[:1] == ["tricks"]:
        return _bench_tricks(words[1:])
    recipe = _recipe("bench", words or ["experiment=sngan_cifar10"])
    from gantrick.bench import report

    for line in report(recipe):
        print(line, flush=True)
    return 0


def _bench_tricks(words: list[str]) -> int:
    parser = _Parser(
        "gantrick bench tricks",
        usage="gantrick bench tricks [name …] [key=value …] [--rounds N]",
        description="What regularizers and tricks cost: a step with each against one without, in turn, on made-up "
        "data. Settings are gantrick train's (default: SNGAN's ResNet on CIFAR-10, 64 images).",
    )
    parser.add_argument("words", nargs="*", help="ema, regularizer.gp (default: all); batch_size=16")
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="of which medians are told (default: 3)")
    asked = parser.parse_intermixed_args(words)
    from gantrick.bench_tricks import report

    for line in report(asked.words, asked.rounds):
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
    "adagan": adagan,
    "plan": plan,
    "list": list_,
    "cite": cite,
    "eval": eval_,
    "sample": sample,
    "compare": compare,
    "doctor": doctor,
    "ablate": ablate,
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
    command = {"-h": _help, "--help": _help, "--version": _version, **COMMANDS}.get(name)
    if command is None:
        _complain("", f"{name}: is not a command; {_suggest(name, COMMANDS)}")
        return 2
    return _guarded(command, name, words[1:])


def _help(words: list[str]) -> int:
    print(USAGE + "\n" + "".join(f"  {c:<8} {f.__doc__}\n" for c, f in COMMANDS.items()), end="")
    print("\ngantrick <command> --help tells more; gantrick --version is the version.")
    print('eval "$(gantrick -sc install=bash)" has the shell complete commands, groups, choices and keys.')
    return 0


def _version(words: list[str]) -> int:
    print(f"gantrick {__version__}")
    return 0


def _guarded(command: Callable[[list[str]], int], name: str, words: list[str]) -> int:
    try:
        code = command(words)
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
        failed = command in ("train", "adagan", "ablate") and not isinstance(error, types.ConfigError)
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


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> None:
    """A table on stdout; columns from `numbers_from` on are right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        numeric = numbers_from is not None and number >= numbers_from
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False).print(shown)


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
    return _composed(command, words)[0]


def _composed(command: str, words: list[str]) -> tuple[Any, Path]:
    """The same, and the folder that it would run in."""
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
        recipe = check(composing.resolved(arguments.overrides))
        return recipe, Path(composing.config(arguments.overrides).hydra.run.dir)


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
        if typed[0] not in ("train", "adagan", "plan", "cite", "bench", "ablate"):
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
