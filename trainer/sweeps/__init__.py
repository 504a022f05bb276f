"""Several runs: what they differ in, and the table of what each achieves."""

__all__ = [
    "sweep_axes",
    "sweep_table",
]
