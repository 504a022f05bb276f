"""What a finished run tells its user: the table, the warnings, the reason for a failure."""

import difflib
from collections.abc import Iterator, Sequence

from pipeline.dataset import SPLITS, Manifest
from pipeline.publish import Summary
from pipeline.sampling import Quotas
from pipeline.sources import InputFile
from pipeline.summary import REJECTS

_MAX_WARNINGS = 10  # of the same kind


def table(summary: Summary, manifest: Manifest) -> str:
    """What was read, kept and written of every category, and rejected for every reason."""
    header = ("category", "read", "kept", *SPLITS)
    rows = [
        (
            label,
            summary.drawings.get("read", {}).get(label, 0),
            summary.available[label],
            *(manifest.splits[split].class_counts[label] for split in SPLITS),
        )
        for label in manifest.labels
    ]
    totals = [sum(column) for column in list(zip(*rows, strict=True))[1:]] if rows else []
    lines = [_row(header, rows), *(_row(row, rows) for row in rows)]
    if totals:
        lines.append(_row(("total", *totals), rows))
    lines.append("")
    if other := summary.total("other_category"):
        lines.append(f"{other:,} drawings of categories that are not in --labels were left out.")
    if repeated := summary.total("repeated"):
        lines.append(f"{repeated:,} drawings stood there more than once and were kept once.")
    if other_strokes := summary.total("other_strokes"):
        lines.append(f"{other_strokes:,} drawings had the key of another one and were left out.")
    for reason, count in summary.drawings.get("rejected", {}).items():
        lines.append(f"{count:,} lines rejected: {reason}.")
    shards = sum(len(manifest.splits[split].shards) for split in SPLITS)
    size = sum(shard.bytes for split in SPLITS for shard in manifest.splits[split].shards)
    lines.append(f"{shards} shards, {size / 1e6:,.1f} MB.")
    return "\n".join(lines)


def _row(row: tuple[object, ...], rows: list[tuple[object, ...]]) -> str:
    width = max([len("category"), *(len(str(label)) for label, *_ in rows)])
    name, *numbers = row
    cells = [f"{cell:>11,}" if isinstance(cell, int) else f"{cell:>11}" for cell in numbers]
    return f"{name:<{width}}" + "".join(cells)


def warnings(summary: Summary, quotas: Quotas, output: str) -> Iterator[str]:
    """A line for each category that has too few drawings, and one for rejected lines."""
    wanted = {
        "train": quotas.train if quotas.train is not None else 1,  # 'all', but of none
        "validation": quotas.validation,
        "test": quotas.test,
    }
    number_short = 0
    for label, counts in summary.counts.items():
        got = dict(zip(summary.splits, counts, strict=True))
        short = [
            f"{split} has {got[split]:,} of {wanted[split]:,}"
            for split in SPLITS
            if got[split] < wanted[split]
        ]
        if short and (number_short := number_short + 1) <= _MAX_WARNINGS:
            yield f"{label}: only {summary.available[label]:,} drawings; {', '.join(short)}"
    if number_short > _MAX_WARNINGS:
        more = number_short - _MAX_WARNINGS
        yield f"{more:,} more categories have too few drawings, see the table"
    if rejected := summary.total("rejected"):
        line = f"{rejected:,} lines rejected ({summary.reject_fraction:.2%}), "
        line += f"see {output}/{REJECTS}"
        if not_listed := summary.total("not_listed"):
            line += f", which lists all but {not_listed:,} of them"
        yield line


def no_drawings(summary: Summary, files: Sequence[InputFile]) -> str:
    """The one line for an input without a single usable drawing."""
    line = f"no drawings to use in the {len(files)} input files"
    if other := summary.total("other_category"):
        line += f"; the {other:,} in them are of categories that are not in --labels"
    if rejected := summary.total("rejected"):
        line += f"; {rejected:,} lines rejected: {', '.join(summary.drawings['rejected'])}"
    return line


def unknown_label(label: str, summary: Summary) -> str:
    """The one line for a label of --labels that no drawing has."""
    seen = [*summary.drawings["read"], *summary.drawings.get("other_category", {})]
    close = difflib.get_close_matches(label, seen, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"--labels: no drawing of category {label!r} in the input{hint}"


def too_many_rejects(summary: Summary, allowed: float, staging: str) -> str:
    """The one line for a run with more rejects than --max_reject_fraction."""
    reasons = summary.drawings["rejected"]
    most = max(reasons, key=lambda reason: reasons[reason])
    not_listed = summary.total("not_listed")
    listed = f"all but {not_listed:,} of them" if not_listed else "they"
    return (
        f"{summary.total('rejected'):,} lines rejected, {summary.reject_fraction:.2%} of all, more "
        f"than --max_reject_fraction={allowed:g}; most often: {most} ({reasons[most]:,}); "
        f"{listed} are listed in {staging}/{REJECTS}"
    )
