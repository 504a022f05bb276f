"""HTML page about one run, or several, and their data.

  python -m analysis.report RUN
  python -m analysis.report RUN RUN -o comparison.html
  python -m analysis.report RUN --evaluation=test.json

The page is self-contained and works offline. Of several runs it shows the comparison, and the
details of the three best. Runs may be unfinished: the page names what is missing. The same input
gives the same bytes.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar
from xml.etree.ElementTree import Element

from absl import flags

from analysis import commands
from analysis.reading.evaluations import Evaluation, read_saved_of, validation_of
from analysis.reading.runs import (
    Run,
    check_scores,
    check_speed,
    find_runs,
    read_runs,
    run_names,
)
from analysis.sections import (
    comparison_sections,
    data_sections,
    map_section,
    page_heading,
    pair_sections,
    prediction_sections,
    run_sections,
    slice_sections,
)
from analysis.sections.data_sections import Data
from analysis.sections.page import Chapter, Section, note, to_html
from analysis.sections.run_sections import RunView
from analysis.style import figures
from pipeline import cli
from pipeline.cli import RunError, UserError, check_output_file, counted
from pipeline.dataset.manifests import read_manifest

NAME = "report.html"
MAX_DETAILED = 3  # runs with a chapter of their own: more are not read, and make the page heavy

T = TypeVar("T")


class Missing:
    """Reasons why something cannot be shown, a line each, in the order in which they occur."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, error: UserError | RunError) -> None:
        if str(error) not in self.lines:
            self.lines.append(str(error))

    def make_sections(
        self,
        makers: Mapping[str, Callable[[T], list[Element]]],
        shown: T,
        folded: Collection[str] = (),
    ) -> list[Section]:
        """Return a section for each maker, with its content or why that is missing.

        Args:
          makers: by title.
          shown: their argument.
          folded: titles of sections that the reader opens.
        """
        sections = []
        for title, make in makers.items():
            try:
                content = make(shown)
            except (UserError, RunError) as error:
                self.add(error)
                content = [note(str(error))]
            sections.append(Section(title, content, title in folded))
        return sections


def make_report(
    run_dirs: Sequence[str],
    dataset: str | None = None,
    checkpoint: str = "best",
    evaluation: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[bytes, list[str]]:
    """Return the page about some runs.

    Args:
      run_dirs: of the runs, finished or not.
      dataset: the directory of their data set; by default where it was in training.
      checkpoint: "best" or "last", the epoch whose predictions are shown.
      evaluation: a file of trainer.evaluate --output of the one run, to show instead.
      log: called with a line for each chapter before it is made.

    Returns:
      The page, and a line for each reason why something is missing.

    Raises:
      UserError: a directory is no run, no run can be read, none was trained on `dataset`, or
        `evaluation` cannot be read or is of a different run.
    """
    missing = Missing()
    if evaluation and len(run_dirs) > 1:
        raise UserError(f"--evaluation={evaluation}: needs one run, not {len(run_dirs)}")
    runs = read_runs(run_dirs, missing.add)
    views = []
    for run, name in zip(runs, run_names(runs), strict=True):
        of_run = validation_of(run, checkpoint)
        shown = read_saved_of(run, evaluation) if evaluation else of_run
        trained_on = _locate_dataset(of_run, dataset)
        views.append(RunView(run, name, shown, trained_on, _locate_dataset(shown, dataset)))
    if dataset and all(dataset not in (each.dataset, each.evaluated) for each in views):
        runs[0].check_dataset(dataset)  # raises the reason

    chapters = []
    if len(runs) > 1:
        log(f"{len(runs)} runs: comparison")
        whole_views = [view for view in views if _is_whole(view.run, missing)]
        whole = [view.run for view in whole_views]
        sections = missing.make_sections(comparison_sections.choose(whole), whole)
        pairs = missing.make_sections(pair_sections.choose(whole_views), whole_views)
        chapters.append(Chapter("Comparison", [*sections[:1], *pairs, *sections[1:]]))
    for view in _best(views):
        run = view.run
        log(f"{run.directory}: {view.name}, {run.epochs} of {counted(run.planned_epochs, 'epoch')}")
        makers_ = run_sections.FIRST | prediction_sections.SECTIONS | map_section.choose(view)
        makers_ |= slice_sections.choose(view) | run_sections.LAST
        title = "The run" if len(runs) == 1 else view.name
        chapters.append(Chapter(title, missing.make_sections(makers_, view, run_sections.FOLDED)))
    directories = _datasets(views, missing)
    for directory in directories:
        log(f"{directory}: the data")
        name = os.path.basename(os.path.normpath(directory))
        title = "The data" if len(directories) == 1 else f"The data in {name}"
        about = data_sections.SECTIONS
        data = Data(directory, read_manifest(directory))
        chapters.append(Chapter(title, missing.make_sections(about, data, {*about})))
    title, heading = page_heading.make_heading(views, missing.lines)
    return to_html(title, heading, chapters), missing.lines


def default_output(run_dirs: Sequence[str]) -> str:
    """Return the default path: in the run's directory, or the one that holds all runs."""
    clean = os.path.abspath if any(map(os.path.isabs, run_dirs)) else os.path.normpath
    return os.path.join(os.path.commonpath([clean(path) for path in run_dirs]), NAME)


def _locate_dataset(evaluation: Evaluation, given: str | None) -> str | UserError:
    """Return the directory of the data set that was evaluated, or why it is not found."""
    errors = []
    for directory in (given, evaluation.dataset):
        if directory:
            try:
                evaluation.check_dataset(directory)
                return directory
            except UserError as error:
                errors.append(error)
    return errors[0]


def _datasets(views: Sequence[RunView], missing: Missing) -> list[str]:
    """Return the directories of the runs' data sets, each data set once."""
    directories: dict[str, str] = {}
    for view in views:
        if isinstance(view.dataset, UserError):
            missing.add(view.dataset)
        else:
            directories.setdefault(view.run.config["dataset_fingerprint"], view.dataset)
    return list(directories.values())


def _is_whole(run: Run, missing: Missing) -> bool:
    """Return whether a comparison can read the run."""
    try:
        check_scores(run)
        check_speed(run)
    except UserError as error:
        missing.add(error)
        return False
    return True


def _best(views: Sequence[RunView]) -> list[RunView]:
    """Return the best MAX_DETAILED, in their order."""
    accuracies = [view.run.best_epoch[1] if view.run.epochs else 0 for view in views]
    ranked = sorted(range(len(views)), key=lambda i: -accuracies[i])
    return [views[i] for i in sorted(ranked[:MAX_DETAILED])]


def define_flags() -> None:
    commands.define_run_dirs()
    commands.define_dataset()
    commands.define_checkpoint("best")
    commands.define_evaluation(
        "With one run: show this file of trainer.evaluate --output=FILE, not validation."
    )
    text = f"The page (-o). Default: {NAME} in the directory of the run, or in that of all runs."
    cli.define_path("output", None, text, kind="FILE")
    commands.define_short_output()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    if args.output and not args.output.endswith((".html", ".htm")):
        raise UserError(f"--output={args.output}: the name must end in .html")
    run_dirs = find_runs(commands.needed("run_dir", argv[1:], "a run directory"))
    output = args.output or default_output(run_dirs)
    check_output_file("output", output)
    commands.check_checkpoint()
    page, missing = make_report(run_dirs, args.dataset, args.checkpoint, args.evaluation, print)
    for line in missing:
        print("missing:", line)
    figures.write_file(output, page)
    print(f"wrote {output}, {len(page) / 1e6:.1f} MB")


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
