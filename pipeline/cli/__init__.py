"""Start and end of every `python -m …` of this project: flags, one-line errors, exit status."""

from pipeline.cli.command import (
    EXIT_STOPPED,
    define_float,
    define_integer,
    define_path,
    define_paths,
    expand_arguments,
    parse_flags,
    reader_has_gone,
    run,
)
from pipeline.cli.errors import ContactLost, DryRun, RunError, Stopped, UserError
from pipeline.cli.paths import check_output_file, expand, is_remote, printable
from pipeline.cli.tables import align, counted

__all__ = [
    "EXIT_STOPPED",
    "ContactLost",
    "DryRun",
    "RunError",
    "Stopped",
    "UserError",
    "align",
    "check_output_file",
    "counted",
    "define_float",
    "define_integer",
    "define_path",
    "define_paths",
    "expand",
    "expand_arguments",
    "is_remote",
    "parse_flags",
    "printable",
    "reader_has_gone",
    "run",
]
