"""Errors that a user sees as one line, and their exit statuses."""


class UserError(Exception):
    """A wrong flag, file or directory. Exit status 2."""


class RunError(Exception):
    """A run that started well and failed. Exit status 1."""

    def __init__(self, text: str) -> None:
        # A worker's error travels as UTF-8, which names of files need not be: Beam would hang.
        super().__init__(text.encode("utf-8", "backslashreplace").decode())


class ContactLost(RunError):  # noqa: N818 - it need not be one
    """A run that lost contact with its job, which may go on. Exit status 1."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """A run that saved its state and stopped; rerun the command to resume. Exit status 75."""


class DryRun(Exception):  # noqa: N818 - it is no error
    """A dry run that went well. Exit status 0."""
