"""Compares runs: a table, and a picture of accuracy and cost.

  python -m analysis.compare RUN [RUN ...] --table=runs.md,runs.csv -o runs.png

Prints the table. --table writes it as Markdown or CSV. --output draws the accuracy against the
parameters and against the multiply-adds, beside the study's runs on the same categories.
"""

import os

from absl import flags

from analysis import commands
from analysis.comparison.cost_scatter import plot_costs
from analysis.comparison.run_table import RunTable, make_table
from analysis.style import figures
from pipeline import cli
from pipeline.cli import UserError, check_output_file

TABLES = {".md": RunTable.to_markdown, ".csv": RunTable.to_csv}


def define_flags() -> None:
    commands.RUNS_WITH_SCORES.define_flags()
    commands.define_checkpoint("last")
    cli.define_paths("table", [], "Tables to write, with commas between: .md or .csv.", kind="FILE")
    commands.define_output(required=False)
    flags.DEFINE_bool(
        "reference", True, "Show the study's runs on the same categories in pictures, too."
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    for path in args.table:
        check_output_file("table", path)
        if os.path.splitext(path)[1] not in TABLES:
            raise UserError(f"--table={path}: the name must end in .md or .csv")
    (runs,) = commands.RUNS_WITH_SCORES.read(argv[1:])
    table = make_table(runs, args.checkpoint)
    print(table.to_text())
    for path in args.table:
        text = TABLES[os.path.splitext(path)[1]](table)
        figures.write_file(path, text.encode("utf-8", "backslashreplace"))
    if args.output:
        figures.write(plot_costs(runs, args.checkpoint, args.reference), args.output)
    if written := [*args.table, *args.output]:
        print("\nwrote", ", ".join(written))


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
