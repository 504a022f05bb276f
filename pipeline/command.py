"""How every `python -m …` of this project starts and ends: flags, one-line errors, exit status."""

import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from absl import app, flags

from pipeline.errors import DryRun, RunError, Stopped, UserError

EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again

_KINDS = {"int": "N", "float": "X", "string": "TEXT", "comma separated list of strings": "A,B,…"}


def run(
    main: Callable[[list[str]], None],
    *,
    takes_arguments: bool = False,
    pass_unknown_flags: bool = False,
) -> None:
    """Parses the flags, calls `main(argv)` and exits the process.

    `argv` holds what is left after the flags were taken out, the program's name first. Errors are
    one line on standard error; the exit status is 2 for what the user got wrong (flags, files,
    directories), 1 for a run that failed, 75 for one that saved its state on SIGTERM or Ctrl-C, 130
    for Ctrl-C where there is nothing to save.

    A command defines its flags in a function that it calls only when it is run: modules of several
    commands, which share names of flags, can then be imported together.

    Args:
      main: the command.
      takes_arguments: whether words that are no flags are left to `main`; else they are refused.
      pass_unknown_flags: whether unknown flags are left to `main`, too.
    """

    def parse_flags(argv: list[str]) -> list[str]:
        if {"--help", "-help", "-h"} & set(argv[1:]):
            try:
                print(help_text(sys.modules["__main__"].__doc__ or ""), flush=True)
            except BrokenPipeError:
                reader_has_gone()
            sys.exit(0)
        try:
            left = flags.FLAGS(argv, known_only=pass_unknown_flags)
        except flags.Error as error:
            missing = re.match(r"flag --(\w+)=None: ", str(error))
            text = f"--{missing[1]} is needed" if missing else str(error).rstrip(".")
            fail(f"{text} (--help lists the flags)", 2)
        if left[1:] and not (takes_arguments or pass_unknown_flags):
            fail(f"{left[1]!r} is no flag (--help lists the flags)", 2)
        return left

    def run_main(argv: list[str]) -> None:
        try:
            main(argv)
            sys.stdout.flush()
        except UserError as error:
            fail(str(error), 2)
        except RunError as error:
            fail(str(error), 1)
        except DryRun as done:
            print(done)
        except Stopped as stopped:
            print(stopped, file=sys.stderr, flush=True)
            sys.exit(EXIT_STOPPED)
        except BrokenPipeError:
            reader_has_gone()
        except OSError as error:  # a full disk, say, where no one foresaw it
            fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - lasts as the process does
    try:
        try:
            _on_ctrl_c(signal.default_int_handler)
            app.run(run_main, flags_parser=parse_flags)
        finally:
            _on_ctrl_c(signal.SIG_DFL)  # what ends anyway ends at once, without a word
    except KeyboardInterrupt:
        fail("interrupted", 130)


def _on_ctrl_c(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Sets what Ctrl-C does, unless it is ignored, as in what a shell starts in its background."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def help_text(doc: str) -> str:
    """What a command is and its flags, by the groups in which it defines them (`module_name`)."""
    lines = [doc.strip()]
    for module, of_module in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("absl."):
            continue
        lines += ["", "Flags:" if module == sys.argv[0] else f"{module}:"]
        for flag in of_module:
            choices = "|".join(getattr(flag.parser, "enum_values", []))
            kind = choices or _KINDS.get(flag.flag_type(), "…")
            name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={kind}"
            text = (flag.help or "").removeprefix(f"<{choices}>: ")  # absl's own way to show them
            if flag.default not in (None, []):
                text += f" Default: {str(flag.default_as_str).strip(chr(39))}."
            lines += [f"  {name}", flags.text_wrap(text, length=88, indent=" " * 6)]
    return "\n".join(lines)


def reader_has_gone() -> NoReturn:
    """Ends the process without a word: the reader of its output, `head` say, wants no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def fail(message: str, status: int) -> NoReturn:
    """Prints `message` as one line on standard error and exits with `status`."""
    # In one piece: a thread that logs, one of Beam's say, cannot write into the middle.
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.stderr.flush()
    sys.exit(status)
