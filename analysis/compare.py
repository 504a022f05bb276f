"""Compares any runs: a table, and a picture of accuracy and cost.

  python -m analysis.compare --run_dir=runs --table=runs.md,runs.csv --output=runs.png

Prints the table. --table writes it as Markdown or CSV. --output draws the accuracy against the
parameters and against the multiply-adds, beside the 20 runs of the study.
"""

import os

from absl import flags

from analysis.reading.runs import define_checkpoint_flag, define_run_dirs_flag, read_runs
from analysis.style import figures, run_table
from analysis.style.cost_scatter import plot_costs
from pipeline import cli
from pipeline.cli import UserError, check_output_file

TABLES = {".md": run_table.to_markdown, ".csv": run_table.to_csv}


def define_flags() -> None:
    define_run_dirs_flag()
    define_checkpoint_flag("last")
    cli.define_paths("table", [], "Tables to write, with commas between: .md or .csv.", kind="FILE")
    cli.define_paths(
        "output",
        [],
        "Pictures to write, with commas between: .png, .svg, .pdf or .eps.",
        kind="FILE",
    )
    flags.DEFINE_bool("reference", True, "Pictures show the study's 20 runs, too.")


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    for path in args.table:
        check_output_file("table", path)
        if os.path.splitext(path)[1] not in TABLES:
            raise UserError(f"--table={path}: the name must end in .md or .csv")
    runs = read_runs(args.run_dir)
    rows = run_table.make_rows(runs, args.checkpoint)
    print(run_table.to_text(rows))
    for path in args.table:
        _write(path, TABLES[os.path.splitext(path)[1]](rows))
    if args.output:
        figures.write(plot_costs(runs, args.checkpoint, args.reference), args.output)
    if written := [*args.table, *args.output]:
        print("\nwrote", ", ".join(written))


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: cannot write it: {error.strerror}") from None


if __name__ == "__main__":
    define_flags()
    cli.run(main)
