"""Start and end of every `python -m …` of this project: flags, one-line errors, exit status."""

import glob
import io
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from absl import app, flags

from pipeline.cli import paths
from pipeline.cli.errors import DryRun, RunError, Stopped, UserError

flags.disclaim_key_flags()  # path flags belong to the command that defines them

EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again

_KINDS = {"int": "N", "float": "X", "string": "TEXT", "comma separated list of strings": "A,B,…"}


def define_path(
    name: str,
    default: str | None,
    help: str,
    *,
    kind: str = "DIR",
    is_for_tensorflow: bool = False,
    **options: Any,
) -> None:
    """Define a flag that is a path, as `flags.DEFINE_string` would, but see `paths.expand`.

    Every flag of this project that is a path is defined here or by `define_paths`.

    Args:
      name: of the flag.
      default: a path, or None.
      help: for --help.
      kind: the value's placeholder in --help: DIR, FILE or PATH.
      is_for_tensorflow: whether to refuse names that are not UTF-8, which TensorFlow cannot open.
      options: `required`, `module_name` (the group in --help), as of `flags.DEFINE`.
    """
    _define(_PathParser(kind, is_for_tensorflow), name, default, help, **options)


def define_paths(
    name: str, default: list[str] | None, help: str, *, kind: str, **options: Any
) -> None:
    """Define a flag that is a comma-separated list of paths or globs; `options` as above.

    If the whole text, with its commas, is the name of an existing file or a glob that matches one,
    it is that one path.
    """
    serializer = flags.CsvListSerializer(",")
    _define(_PathsParser(kind), name, default, help, serializer=serializer, **options)


def define_float(
    name: str,
    default: float | None,
    help: str,
    *,
    lower_bound: float,
    upper_bound: float,
    **options: Any,
) -> None:
    """Define a flag that is a finite number between two bounds, which it may equal.

    Every flag of this project that is a number is defined here or by `define_integer`:
    `flags.DEFINE_float` takes NaN for a number in any range, and infinity where one end is open.
    """
    _define(_FloatParser(lower_bound, upper_bound), name, default, help, **options)


def define_integer(
    name: str, default: int | None, help: str, *, lower_bound: int, upper_bound: int, **options: Any
) -> None:
    """Define a flag that is a whole number between two bounds, which it may equal."""
    _define(flags.IntegerParser(lower_bound, upper_bound), name, default, help, **options)


def _define(parser: Any, *arguments: Any, **options: Any) -> None:
    # A sweep hands its runs the flags that it was given.
    flags.DEFINE(parser, *arguments, **{"serializer": flags.ArgumentSerializer(), **options})


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    """Expand the words of a command line that are paths, see `paths.expand`.

    Raises:
      UserError: one is no path.
    """
    try:
        return [paths.expand(argument) for argument in arguments]
    except ValueError as error:
        raise UserError(f"an argument: {error}") from None


class _PathParser(flags.ArgumentParser):
    """Parser of a `define_path` flag."""

    def __init__(self, kind: str, is_for_tensorflow: bool) -> None:
        self._kind = kind
        self._is_for_tensorflow = is_for_tensorflow

    def parse(self, argument: str) -> str:
        path = paths.expand(argument)
        if self._is_for_tensorflow and path != paths.printable(path):
            raise ValueError("not UTF-8; TensorFlow cannot open such names")
        return path

    def flag_type(self) -> str:
        return self._kind


class _PathsParser(flags.ListParser):
    """Parser of a `define_paths` flag."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def parse(self, argument: str | list[str]) -> list[str]:
        if isinstance(argument, list):  # the default
            return argument
        whole = os.path.expanduser(argument)
        if os.path.exists(whole) or glob.glob(whole):
            return [whole]
        return [paths.expand(item) for item in super().parse(argument) or [""]]

    def flag_type(self) -> str:
        return f"{self._kind},…"


class _FloatParser(flags.FloatParser):
    """Parser of a `define_float` flag."""

    def is_outside_bounds(self, val: float) -> bool:
        return math.isnan(val) or super().is_outside_bounds(val)


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

    def parse(argv: list[str]) -> list[str]:
        return parse_flags(
            argv, takes_arguments=takes_arguments, pass_unknown_flags=pass_unknown_flags
        )

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
        except UnicodeEncodeError as error:  # a name that is not UTF-8, where no one foresaw it
            near = error.object[max(0, error.start - 200) : error.end + 200]
            fail(f"{near!r}: not UTF-8", 2)
        except OSError as error:  # a full disk, say, where no one foresaw it
            fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - lasts as the process does
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be any bytes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            _on_ctrl_c(signal.default_int_handler)
            app.run(run_main, flags_parser=parse)
        finally:
            _on_ctrl_c(signal.SIG_DFL)  # what ends anyway ends at once, without a word
    except KeyboardInterrupt:
        fail("interrupted", 130)


def parse_flags(
    argv: list[str], *, takes_arguments: bool = False, pass_unknown_flags: bool = False
) -> list[str]:
    """Parses a command line, the program's name first; see `run`.

    Returns:
      What is left after the flags were taken out.

    Raises:
      SystemExit: --help was printed, or the one line of an error.
    """
    if {"--help", "-help", "-h"} & set(argv[1:]):
        try:
            print(help_text(sys.modules["__main__"].__doc__ or ""), flush=True)
        except BrokenPipeError:
            reader_has_gone()
        sys.exit(0)
    flags.FLAGS.set_gnu_getopt()  # flags may follow words, as files that a shell has listed
    try:
        left = flags.FLAGS(argv, known_only=pass_unknown_flags)
    except flags.Error as error:
        missing = re.match(r"flag --(\w+)=None: ", str(error))
        text = f"--{missing[1]} is needed" if missing else str(error).rstrip(".")
        text = re.sub(r"^flag (--\w+)(=(?=: ))?", r"\1", text)  # --output: an empty path
        fail(f"{text} (--help lists the flags)", 2)
    if left[1:] and not (takes_arguments or pass_unknown_flags):
        fail(f"{left[1]!r} is not a flag (--help lists the flags)", 2)
    return left


def _on_ctrl_c(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    """Sets what Ctrl-C does, unless it is ignored, as in what a shell starts in its background."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def help_text(doc: str) -> str:
    """Return the text of --help: the command's docstring and its flags by group (`module_name`)."""
    lines = [doc.strip()]
    for module, of_module in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("absl."):
            continue
        lines += ["", "Flags:" if module == sys.argv[0] else f"{module}:"]
        for flag in of_module:
            choices = "|".join(getattr(flag.parser, "enum_values", []))
            flag_type = flag.flag_type().removeprefix("multi ")  # which may be given repeatedly
            kind = choices or _KINDS.get(flag_type, flag_type)
            name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={kind}"
            text = (flag.help or "").removeprefix(f"<{choices}>: ")  # absl's own way to show them
            text = text.partition(";\n    repeat this option")[0]  # absl's
            if flag.default not in (None, []):
                text += f" Default: {str(flag.default_as_str).strip(chr(39))}."
            lines += [f"  {name}", flags.text_wrap(text, length=88, indent=" " * 6)]
    return "\n".join(lines)


def reader_has_gone() -> NoReturn:
    """End the process silently: the reader of its output, `head` say, has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def fail(message: str, status: int) -> NoReturn:
    """Prints `message` as one line on standard error and exits with `status`."""
    # In one piece: a thread that logs, one of Beam's say, cannot write into the middle.
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.stderr.flush()
    sys.exit(status)
