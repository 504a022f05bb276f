"""How every `python -m …` of this project starts and ends: flags, one-line errors, exit status."""

import os
import sys
from collections.abc import Callable

from absl import app, flags

from pipeline.errors import RunError, UserError


def run(main: Callable[[list[str]], None], *, pass_unknown_flags: bool = False) -> None:
    """Parses the flags, calls `main(argv)` and exits the process.

    `argv` holds what is left after the flags were taken out, the program's name first. Errors are
    one line on standard error; the exit status is 2 for what the user got wrong (flags, files,
    directories), 1 for a run that failed, 130 for Ctrl-C.

    Args:
      main: the command.
      pass_unknown_flags: hand unknown flags to `main` in `argv` instead of refusing them.
    """

    def parse_flags(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv, known_only=pass_unknown_flags)
        except flags.Error as error:
            fail(f"{error} (--help lists the flags)", 2)
            raise AssertionError("not reached") from None

    def run_main(argv: list[str]) -> None:
        try:
            main(argv)
            sys.stdout.flush()
        except UserError as error:
            fail(str(error), 2)
        except RunError as error:
            fail(str(error), 1)
        except KeyboardInterrupt:
            fail("interrupted", 130)
        except BrokenPipeError:  # the reader of our output, `head` say, has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    app.run(run_main, flags_parser=parse_flags)


def fail(message: str, status: int) -> None:
    """Prints `message` as one line on standard error and exits with `status`."""
    print("error:", " ".join(message.split()), file=sys.stderr, flush=True)
    sys.exit(status)
