"""One HTML page about a run, or several, and their data, to open in a browser, to keep, to mail.

  python -m analysis.report --run_dir=runs/E2_7
  python -m analysis.report --run_dir=runs/depth53 --output=depth53.html
  python -m analysis.report --run_dir=runs/E2_7 --evaluation=test.json

The page holds its pictures and needs neither other files nor the network. Of several runs it shows
the comparison, and the details of the three best. Runs may still be going on: what is missing is
said in its place. The same input gives the same bytes.
"""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from xml.etree.ElementTree import Element

from absl import flags

from analysis.reading import evaluations
from analysis.reading.evaluations import ShownEvaluation, read_saved_of, validation_of
from analysis.reading.runs import (
    Run,
    define_checkpoint_flag,
    define_dataset_flag,
    define_run_dirs_flag,
    find_runs,
    read_evaluation,
    read_intervals,
    read_run,
    read_speeds,
    run_names,
)
from analysis.sections import (
    comparison_sections,
    data_sections,
    page_heading,
    prediction_sections,
    run_sections,
)
from analysis.sections.data_sections import Data
from analysis.sections.page import Chapter, Section, note, to_html
from analysis.sections.run_sections import Subject
from pipeline import cli
from pipeline.cli import RunError, UserError, check_output_file
from pipeline.dataset.manifests import read_manifest
from trainer.runs import run_directory

NAME = "report.html"
MAX_DETAILED = 3  # runs with a chapter of their own: more are not read, and make the page heavy

T = TypeVar("T")


class Missing:
    """What cannot be shown: a line for each reason, in the order in which they were met."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, error: UserError | RunError) -> None:
        if str(error) not in self.lines:
            self.lines.append(str(error))

    def make_sections(
        self, makers: Mapping[str, Callable[[T], list[Element]]], subject: T
    ) -> list[Section]:
        """A section by each maker, with what it makes or why it cannot make it."""
        sections = []
        for title, make in makers.items():
            try:
                content = make(subject)
            except (UserError, RunError) as error:
                self.add(error)
                content = [note(str(error))]
            sections.append(Section(title, content))
        return sections


def make_report(
    run_dirs: Sequence[str],
    dataset: str | None = None,
    checkpoint: str = "best",
    evaluation: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[bytes, list[str]]:
    """The page about some runs.

    Args:
      run_dirs: of the runs, finished or not.
      dataset: the directory that they learned from; None: where they found it, if it is there.
      checkpoint: "best" or "last", the epoch whose answers are shown.
      evaluation: of the one run, a file of trainer.evaluate --output, whose answers are shown
        instead.
      tell: is called with a line for each chapter before it is made.

    Returns:
      the page, and a line for each reason why something is missing in it.

    Raises:
      UserError: a directory is no run's, none of the runs can be read, none learned from
        `dataset`, or `evaluation` cannot be read or is of another run.
    """
    missing = Missing()
    if evaluation and len(run_dirs) > 1:
        raise UserError(f"--evaluation={evaluation}: of one run; --run_dir names {len(run_dirs)}")
    runs = _read(run_dirs, missing)
    subjects = []
    for run, name in zip(runs, run_names(runs), strict=True):
        of_run = validation_of(run, checkpoint)
        shown = read_saved_of(run, evaluation) if evaluation else of_run
        learned = _locate_dataset(of_run, dataset)
        subjects.append(Subject(run, name, shown, learned, _locate_dataset(shown, dataset)))
    if dataset and all(dataset not in (each.dataset, each.evaluated) for each in subjects):
        runs[0].check_dataset(dataset)  # raises what is wrong with it

    chapters = []
    if len(runs) > 1:
        tell(f"{len(runs)} runs: their comparison")
        whole = [run for run in runs if _is_whole(run, missing)]
        makers = comparison_sections.choose(whole)
        chapters.append(Chapter("Comparison", missing.make_sections(makers, whole)))
    for subject in _best(subjects):
        run = subject.run
        tell(f"{run.directory}: {subject.name}, {run.epochs} of {run.planned_epochs} epochs")
        run_makers = run_sections.choose(is_alone=len(runs) == 1) | prediction_sections.SECTIONS
        title = "The run" if len(runs) == 1 else subject.name
        chapters.append(Chapter(title, missing.make_sections(run_makers, subject)))
    directories = _datasets(subjects, missing)
    for directory in directories:
        tell(f"{directory}: the data")
        name = os.path.basename(os.path.normpath(directory))
        title = "The data" if len(directories) == 1 else f"The data in {name}"
        data = Data(directory, read_manifest(directory))
        chapters.append(Chapter(title, missing.make_sections(data_sections.SECTIONS, data)))
    title, heading = page_heading.make_heading(subjects, missing.lines)
    return to_html(title, heading, chapters), missing.lines


def default_output(run_dirs: Sequence[str]) -> str:
    """Where the page goes unless told: into the run's directory, or that which holds all runs."""
    clean = os.path.abspath if any(map(os.path.isabs, run_dirs)) else os.path.normpath
    return os.path.join(os.path.commonpath([clean(path) for path in run_dirs]), NAME)


def _read(run_dirs: Sequence[str], missing: Missing) -> list[Run]:
    """The runs that can be read, at least one."""
    runs, errors = [], []
    for directory in run_dirs:
        run_directory.read_config(directory)  # what is no run at all is a slip in --run_dir
        try:
            runs.append(read_run(directory))
        except UserError as error:
            errors.append(error)
            missing.add(error)
    if not runs:
        raise errors[0]
    return runs


def _locate_dataset(evaluation: ShownEvaluation, given: str | None) -> str | UserError:
    """The directory of the data set that was evaluated, or why it is not to be found."""
    errors = []
    for directory in (given, evaluation.dataset):
        if directory:
            try:
                evaluation.check_dataset(directory)
                return directory
            except UserError as error:
                errors.append(error)
    return errors[0]


def _datasets(subjects: Sequence[Subject], missing: Missing) -> list[str]:
    """The directories that the runs learned from, one of those that hold the same."""
    directories: dict[str, str] = {}
    for subject in subjects:
        if isinstance(subject.dataset, UserError):
            missing.add(subject.dataset)
        else:
            directories.setdefault(subject.run.config["dataset_fingerprint"], subject.dataset)
    return list(directories.values())


def _is_whole(run: Run, missing: Missing) -> bool:
    """Whether nothing is damaged of what a comparison reads."""
    try:
        if run.epochs:
            read_evaluation(run.directory)
        read_speeds(run.directory)
        read_intervals(run.directory)
    except UserError as error:
        missing.add(error)
        return False
    return True


def _best(subjects: Sequence[Subject]) -> list[Subject]:
    """MAX_DETAILED of them, in the order that they have."""
    accuracies = [max(subject.run.history["val_accuracy"], default=0) for subject in subjects]
    ranked = sorted(range(len(subjects)), key=lambda i: -accuracies[i])
    return [subjects[i] for i in sorted(ranked[:MAX_DETAILED])]


def define_flags() -> None:
    define_run_dirs_flag()
    define_dataset_flag()
    define_checkpoint_flag("best")
    evaluations.define_evaluation_flag("With one --run_dir, instead of its validation: ")
    cli.define_path(
        "output",
        None,
        f"The page. Default: {NAME} in the directory of the run, or in that of all runs.",
        kind="FILE",
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    if args.output and not args.output.endswith((".html", ".htm")):
        raise UserError(f"--output={args.output}: a file on this machine, ending in .html")
    run_dirs = find_runs(args.run_dir)
    output = args.output or default_output(run_dirs)
    check_output_file("output", output)
    evaluations.check_checkpoint_flag()
    page, missing = make_report(run_dirs, args.dataset, args.checkpoint, args.evaluation, print)
    for line in missing:
        print("missing:", line)
    _write(output, page)
    print(f"wrote {output}, {len(page) / 1e6:.1f} MB")


def _write(path: str, page: bytes) -> None:
    """The page is complete or not there."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    try:
        os.makedirs(directory or ".", exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(page)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise UserError(f"{path}: cannot write it: {error.strerror}") from None


if __name__ == "__main__":
    define_flags()
    cli.run(main)
