"""Command line of all pictures: their sources, options and output.

A script declares a `PictureCommand`. Its sources are words of the command line or, the same, a
flag: `python -m analysis.throughput RUN RUN -o FILE`.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from matplotlib.figure import Figure

from analysis.reading import evaluations, runs
from analysis.style import figures
from pipeline import cli
from pipeline.cli import UserError

__all__ = [
    *("DATASET", "DRAWINGS", "EVALUATED_DRAWINGS", "EVALUATION"),
    *("OPTIONAL_RUNS", "RUN", "RUNS_WITH_SCORES", "RUNS_WITH_SPEED"),
    *("PictureCommand", "Source", "check_checkpoint", "given", "needed"),
    *("choice", "globs", "integer", "names", "switch"),
    *("define_checkpoint", "define_dataset", "define_evaluation", "define_output"),
    *("define_run_dirs", "define_short_output"),
]

Define = Callable[[str], object]  # defines the flag of a name

flags.disclaim_key_flags()  # what is defined here belongs to the command


class Source(NamedTuple):
    """Data that a picture shows, as given on the command line."""

    define_flags: Callable[[], object]
    read: Callable[[Sequence[str]], tuple[Any, ...]]  # words -> first arguments of the plot


class PictureCommand(NamedTuple):
    """A command that draws one picture, or several that differ in a suffix of their names.

    `plot` is called with what the source reads and with the options, by name.
    """

    source: Source
    plot: Callable[..., Figure | Mapping[str, Figure]]
    options: Mapping[str, Define] = {}

    def define_flags(self) -> None:
        """Define all flags of the command."""
        self.source.define_flags()
        define_output()
        for name, define in self.options.items():
            define(name)

    def main(self, argv: Sequence[str]) -> None:
        """Draw and write the pictures; `argv`: the program's name and the words."""
        outputs = flags.FLAGS.output
        figures.check_outputs(outputs)
        options = {name: flags.FLAGS[name].value for name in self.options}
        drawn = self.plot(*self.source.read(argv[1:]), **options)
        for suffix, figure in ({"": drawn} if isinstance(drawn, Figure) else drawn).items():
            paths = [suffix.join(os.path.splitext(path)) for path in outputs]
            figures.write(figure, paths)
            print("wrote", ", ".join(paths))

    def run(self) -> None:
        """Run the command and exit; see `pipeline.cli.run`."""
        self.define_flags()
        cli.run(self.main, takes_arguments=True)


def integer(default: int | None, help: str, lower: int, upper: int) -> Define:
    """Return what defines an option that is a number."""
    return lambda name: cli.define_integer(
        name, default, help, lower_bound=lower, upper_bound=upper
    )


def choice(default: str | None, values: Sequence[str], help: str) -> Define:
    """Return what defines an option that is one of some values."""
    return lambda name: flags.DEFINE_enum(name, default, values, help)


def names(default: Sequence[str], help: str) -> Define:
    """Return what defines an option that is a list."""
    return lambda name: flags.DEFINE_list(name, [*default], help)


def globs(help: str) -> Define:
    """Return what defines an option that is a list of files or globs, with commas between."""
    return lambda name: cli.define_paths(name, [], help, kind="GLOB")


def switch(default: bool, help: str) -> Define:
    """Return what defines an option that is on or off."""
    return lambda name: flags.DEFINE_bool(name, default, help)


def define_output(*, required: bool = True) -> None:
    """Define --output and -o for pictures."""
    text = "Pictures to write (-o), with commas between: .png, .svg, .pdf or .eps."
    cli.define_paths("output", None if required else [], text, kind="FILE", required=required)
    define_short_output()


def define_short_output() -> None:
    """Define -o as --output."""
    flags.FLAGS["o"] = flags.FLAGS["output"]


def define_checkpoint(default: str) -> None:
    """Define --checkpoint."""
    text = "Which epoch: the best by validation accuracy, or the last."
    flags.DEFINE_enum("checkpoint", default, runs.CHECKPOINTS, text)


def define_dataset(help: str = "Data set of the run, if it was moved.") -> None:
    """Define --dataset."""
    cli.define_path("dataset", None, help)


def define_evaluation(help: str) -> None:
    """Define --evaluation."""
    cli.define_path("evaluation", None, help, kind="FILE")


def check_checkpoint() -> None:
    """Raise UserError if --checkpoint is given together with --evaluation."""
    args = flags.FLAGS
    if args.evaluation and args["checkpoint"].present:
        raise UserError("--checkpoint cannot be combined with --evaluation, which has one already")


def given(flag: str, words: Sequence[str]) -> list[str]:
    """Return the paths that a flag and the words name."""
    value = flags.FLAGS[flag].value or []
    return [*([value] if isinstance(value, str) else value), *cli.expand_arguments(words)]


def needed(flag: str, words: Sequence[str], noun: str) -> list[str]:
    """Return the paths that a flag and the words name, at least one.

    Raises:
      UserError: there is none.
    """
    paths = given(flag, words)
    if not paths:
        raise UserError(f"{noun} is needed (--help lists the flags)")
    return paths


def _one(flag: str, words: Sequence[str], noun: str) -> str:
    first, *others = needed(flag, words, noun)
    if others:
        raise UserError(f"{noun} is needed, not {1 + len(others)}")
    return first


def _run_dirs(words: Sequence[str]) -> list[str]:
    return needed("run_dir", words, "a run directory")


def _read_runs(paths: Sequence[str], *checks: Callable[[runs.Run], None]) -> list[runs.Run]:
    """Return the runs that can be read, and warn of each other one."""
    skipped: list[UserError] = []
    found = runs.read_runs(paths, skipped.append, checks)
    count = len(found) + len(skipped)
    for i, error in enumerate(skipped, 1):
        print(f"warning: {i} of {count} runs skipped: {error}", file=sys.stderr)
    return found


def define_run_dirs() -> None:
    """Define --run_dir of several runs."""
    text = "The same as RUN …: directories of runs, or of several runs such as a sweep's."
    cli.define_paths("run_dir", [], text, kind="DIR")


def _define_run_dir() -> None:
    cli.define_path("run_dir", None, "The same as RUN: directory of the run.")


def _define_evaluation_flags() -> None:
    _define_run_dir()
    define_checkpoint("best")
    define_evaluation("Show this file of trainer.evaluate --output=FILE instead of a run.")


def _read_evaluation(words: Sequence[str]) -> tuple[evaluations.Evaluation]:
    args = flags.FLAGS
    if bool(given("run_dir", words)) == bool(args.evaluation):
        raise UserError("either a run directory or --evaluation is needed")
    check_checkpoint()
    if args.evaluation:
        return (evaluations.read_saved(args.evaluation),)
    run = runs.read_run(_one("run_dir", words, "one run directory"))
    return (evaluations.validation_of(run, args.checkpoint),)


def _read_evaluated_drawings(words: Sequence[str]) -> tuple[evaluations.Evaluation, str]:
    (evaluation,) = _read_evaluation(words)
    return evaluation, flags.FLAGS.dataset or evaluation.dataset


def _define_evaluated_drawings_flags() -> None:
    _define_evaluation_flags()
    define_dataset()


RUN = Source(_define_run_dir, lambda words: (_one("run_dir", words, "one run directory"),))
RUNS_WITH_SPEED = Source(
    define_run_dirs, lambda words: (_read_runs(_run_dirs(words), runs.check_speed),)
)
RUNS_WITH_SCORES = Source(
    define_run_dirs,
    lambda words: (_read_runs(_run_dirs(words), runs.check_scores, runs.check_speed),),
)
OPTIONAL_RUNS = Source(define_run_dirs, lambda words: (_read_runs(given("run_dir", words)),))
EVALUATION = Source(_define_evaluation_flags, _read_evaluation)
EVALUATED_DRAWINGS = Source(_define_evaluated_drawings_flags, _read_evaluated_drawings)
DATASET = Source(
    lambda: define_dataset("The same as DATASET: directory of the data set."),
    lambda words: (_one("dataset", words, "one data set directory"),),
)
DRAWINGS = Source(
    lambda: globs("The same as FILE …: files of drawings, or globs.")("input"),
    lambda words: (needed("input", words, "a file of drawings"),),
)
