"""What make bench-growth prints: its runs, how they grow, and the plans that follow."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.growth_plan import KINDS, LARGEST_BYTES, Amount, Measured, Plan
from pipeline.graph.deduplicate import BUCKET_DRAWINGS
from pipeline.graph.sampling import MAX_SHARD_DRAWINGS
from pipeline.sources.input_files import MAX_RANGES


class Run(NamedTuple):
    drawings: int
    workers: int
    files: int
    input_bytes: int
    seconds: float
    peak_bytes: int  # of memory, all processes together
    amounts: dict[str, Amount]  # see prepare_counted

    @property
    def shuffled_bytes(self) -> int:
        return sum(self.amounts[kind].bytes for kind in KINDS)

    @property
    def elements(self) -> int:
        return sum(self.amounts[kind].elements for kind in KINDS)

    @property
    def largest_element(self) -> int:
        return max(self.amounts[kind].largest for kind in KINDS)


def runs(measured: Sequence[Run], start_seconds: Mapping[int, float]) -> str:
    """A row a run; `start_seconds` is by number of workers, for a drawing a file."""
    header = (
        *("drawings", "workers", "seconds", "µs", "memory\nMB"),
        *(f"{kind}\nB" for kind in KINDS),
        *("largest\nkB", "output\nMB", "shards", "largest\nMB"),
    )
    rows = [
        (
            f"{run.drawings:,}",
            f"{run.workers}",
            f"{run.seconds:.1f}",
            f"{(run.seconds - start_seconds[run.workers]) / run.drawings * 1e6:.1f}",
            f"{run.peak_bytes / 1e6:,.0f}",
            *(f"{run.amounts[kind].bytes / run.drawings:.1f}" for kind in KINDS),
            f"{run.largest_element / 1e3:,.0f}",
            f"{run.amounts['shard'].bytes / 1e6:,.1f}",
            f"{run.amounts['shard'].elements}",
            f"{run.amounts['shard'].largest / 1e6:,.1f}",
        )
        for run in measured
    ]
    starts = " and ".join(f"{start_seconds[n]:.1f} s with {n}" for n in sorted(start_seconds))
    return (
        f"{measured[0].files} files of a category each; all drawings are kept\n"
        f"{_table(header, rows)}\n"
        "µs a drawing, beyond the start, which takes " + starts + "; bytes shuffled a drawing,\n"
        "by kind; the largest element; the largest shard"
    )


def growth(measured: Sequence[Run], start_seconds: Mapping[int, float]) -> str:
    """How many times as much each run is of the one before it, which had as many workers."""
    header = ("drawings", "workers", "times", *(name for name, _ in _GROWING))
    rows = []
    for few, many in itertools.pairwise(measured):
        if few.workers == many.workers:
            start = start_seconds[few.workers]
            pairs = [(amount(few, start), amount(many, start)) for _, amount in _GROWING]
            rows.append(
                (
                    f"{many.drawings:,}",
                    f"{few.workers}",
                    f"{many.drawings / few.drawings:.2f}",
                    *(f"{more / less:.2f}" if less > 0 else "-" for less, more in pairs),
                )
            )
    return (
        "growth: how many times as many drawings, and as much of all else, as in the run before;\n"
        f"seconds beyond the start\n{_table(header, rows)}"
    )


_GROWING: tuple[tuple[str, Callable[[Run, float], float]], ...] = (
    ("seconds", lambda run, start: run.seconds - start),
    ("memory", lambda run, _: run.peak_bytes),
    ("shuffled\nbytes", lambda run, _: run.shuffled_bytes),
    ("elements", lambda run, _: run.elements),
    ("largest\nelement", lambda run, _: run.largest_element),
    ("output", lambda run, _: run.amounts["shard"].bytes),
    ("largest\nshard", lambda run, _: run.amounts["shard"].largest),
)


def plans(measured: Measured, on_paper: Sequence[Plan]) -> str:
    """A column a plan; the first is of the measured run, beside what was counted there."""
    counted = measured.amounts
    rows: list[tuple[str, ...]] = []

    def add(name: str, values: Sequence[str], was: str = "", at_most: str = "") -> None:
        rows.append((name, was, *values, at_most))

    add("input", [_size(plan.input_bytes) for plan in on_paper], _size(measured.input_bytes))
    add("graph of the job", [_size(plan.graph_bytes) for plan in on_paper])
    items = f"{MAX_RANGES + measured.files:,}"
    add("work items", [f"{plan.work_items:,}" for plan in on_paper], at_most=items)
    for kind in KINDS:
        of_kind = [counted[kind], *(plan.amounts[kind] for plan in on_paper)]
        was, *numbers = [f"{amount.elements:,}" for amount in of_kind]
        add(f"{kind}: elements", numbers, was)
        was, *sizes = [_size(amount.bytes) for amount in of_kind]
        add(f"{kind}: all", sizes, was)
        was, *sizes = [_size(amount.largest) for amount in of_kind]
        add(f"{kind}: largest", sizes, was, _size(LARGEST_BYTES[kind]))
    was, *sizes = [
        _size(sum(amounts[kind].bytes for kind in KINDS))
        for amounts in (counted, *(plan.amounts for plan in on_paper))
    ]
    add("shuffled, together", sizes, was)
    buckets = counted["bucket_drawings"]
    numbers = [f"{plan.buckets:,}" for plan in on_paper]
    add("buckets of identities", numbers, f"{buckets.elements:,}")
    numbers = [f"{plan.bucket_drawings:,}" for plan in on_paper]
    add("drawings in one", numbers, f"{buckets.largest:,}", f"~{BUCKET_DRAWINGS:,}")
    shards = counted["shard_records"]
    add("shards", [f"{plan.shards:,}" for plan in on_paper], f"{shards.elements:,}")
    numbers = [f"{plan.shard_drawings:,}" for plan in on_paper]
    add("drawings in one", numbers, f"{shards.largest:,}", f"~{MAX_SHARD_DRAWINGS:,}")
    add("output", [_size(plan.output_bytes) for plan in on_paper], _size(counted["shard"].bytes))
    hours = [f"{plan.vcpu_hours:,.3g}" for plan in on_paper]
    add("vCPU hours", hours, f"{measured.seconds / 3600:.3g}")

    header = ("", "counted", *(f"{plan.drawings:,}" for plan in on_paper), "at most")
    return (
        f"on paper, all drawings kept, {measured.files} files; beside it what was counted\n"
        f"{_table(header, rows)}\n"
        f"{measured.seconds / measured.drawings * 1e6:.1f} µs a drawing, "
        f"{measured.element_seconds * 1e6:.0f} µs an element more than were counted"
    )


def _size(size: float) -> str:
    """Bytes in three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need be; the first to the left, the others to the right."""
    heads = [name.splitlines() or [""] for name in header]
    height = max(map(len, heads))
    lines = [
        *zip(*([""] * (height - len(head)) + head for head in heads), strict=True),
        *rows,
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
