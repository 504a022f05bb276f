"""Paths as a user gives them: what they stand for, and which lead away from this machine."""

import os

from pipeline.cli.errors import UserError


def is_remote(path: str) -> bool:
    """Tell whether a path is remote, gs://… or the like."""
    return "://" in path


def expand(text: str) -> str:
    """Return the path that a user means: `~` and `~user` at its start are home directories.

    Raises:
      ValueError: it is empty, holds a NUL, or begins with the `~` of an unknown user.
    """
    if not text.strip():
        raise ValueError("an empty path; is a shell variable unset?")
    if "\0" in text:
        raise ValueError("a path cannot hold a NUL character")
    if is_remote(text):
        return text
    path = os.path.expanduser(text)
    if path.startswith("~"):
        home = path.partition("/")[0]
        raise ValueError(f"no user has the home directory {home}; for a file, write ./{path}")
    return path


def check_output_file(flag: str, path: str) -> None:
    """Check that `path`, the value of `flag`, can be written; call it before the work.

    Raises:
      UserError: it is a directory, in no directory that can be written, or not on this machine.
    """
    if is_remote(path):
        raise UserError(f"--{flag}={path}: it has to be a file on this machine")
    if os.path.isdir(path) or path.endswith("/"):
        raise UserError(f"--{flag}={path}: a directory; name a file in it")
    parent = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(parent):  # missing directories are going to be made
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        raise UserError(f"--{flag}={path}: {parent} is not a directory")
    if not os.access(parent, os.W_OK):
        raise UserError(f"--{flag}={path}: no permission to write in {parent}")


def printable(text: str) -> str:
    r"""Return the text of a path for UTF-8 files and pictures: other bytes become \udcff."""
    return text.encode("utf-8", "backslashreplace").decode()
