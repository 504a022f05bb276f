"""Reject: what a line or record without a usable drawing gives instead of one."""


class Reject(ValueError):  # noqa: N818 - not an error of the program
    """A line or record without a usable drawing. The message is one of a few fixed reasons."""


class Ambiguous(Reject):
    """A drawing whose strokes may be points as well as lists, where nothing tells which."""

    def __init__(self) -> None:
        super().__init__(
            "two or three points a stroke: [x, y] points or lists of x and of y? "
            "A file with longer strokes would tell."
        )
