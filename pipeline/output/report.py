"""Texts of a finished run: the table, the warnings, the reason for a failure."""

from collections.abc import Iterator, Sequence

from pipeline.cli import align, counted
from pipeline.dataset.manifests import MANIFEST, SPLITS, Manifest
from pipeline.forms.readers import CAN_BE_CUT
from pipeline.graph.sampling import Quotas
from pipeline.graph.summary import REJECTS
from pipeline.output import label_hints
from pipeline.output.publish import Summary
from pipeline.sources.categories import category_of
from pipeline.sources.input_files import InputFile

_MAX_WARNINGS = 10  # of the same kind
_DISPLACED_FRACTION = 0.01  # above it they are worth a warning; of Google's 0.0008 are
_MAX_FILES = 20  # that one line names
_SHOWN = 3  # other names in a line
_MAX_ROWS = 1_000  # of the table: so many categories are all shown
_ROWS_AT_ENDS = 10  # of more: those with the most drawings, and those with the fewest


def some(names: Sequence[str]) -> str:
    """Return the first of many names, and the number of the others."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def table(summary: Summary, manifest: Manifest) -> str:
    """Return the table of drawings read, kept and written of every category, and of rejects.

    Of more than 1,000 categories it has those with the most drawings and those with the fewest.
    """
    lines = _category_lines(summary, manifest)
    lines.append("")
    if other := summary.total("other_category"):
        lines.append(f"{counted(other, 'drawing')} of categories not in --labels dropped.")
    if not_recognized := summary.total("not_recognized"):
        lines.append(f"{counted(not_recognized, 'unrecognized drawing')} dropped.")
    if excluded := summary.total("excluded"):
        lines.append(f"{counted(excluded, 'drawing')} of --exclude dropped.")
    if repeated := summary.total("repeated"):
        lines.append(f"{counted(repeated, 'duplicate drawing')} dropped.")
    if elsewhere := summary.drawings.get("kept_elsewhere"):
        of = some([f"{number:,} of {label}" for label, number in elsewhere.items()])
        lines.append(f"Of these, another category keeps {of}.")
    if other_strokes := summary.total("other_strokes"):
        lines.append(
            f"{counted(other_strokes, 'drawing')} with the key_id of a different drawing: all are "
            "kept, distinguished by their strokes."
        )
    unit = _unit(summary)
    if normalised := summary.total("normalised"):
        lines.append(
            f"{counted(normalised, 'drawing')} outside of Google's frame (integers from 0 to 255, "
            "starting near 0) normalised; --frame=keep leaves them as they are."
        )
    if displaced := summary.displaced():
        lines.append(
            f"{counted(sum(displaced.values()), 'drawing')} not beginning near 0 on both axes: cut "
            "off at the border or off-centre."
        )
    for reason, number in summary.drawings.get("rejected", {}).items():
        lines.append(f"{counted(number, unit)} rejected: {reason}.")
    shards = [shard for split in SPLITS for shard in manifest.splits[split].shards]
    if shards:
        lines.append(
            f"{counted(len(shards), 'shard')}, {sum(s.bytes for s in shards) / 1e6:,.1f} MB."
        )
    return "\n".join(lines)


def _category_lines(summary: Summary, manifest: Manifest) -> list[str]:
    """Return a header, a line a category, and the totals."""
    read = summary.drawings.get("read", {})
    shown: Sequence[str] = manifest.labels
    more = 0
    if len(shown) > _MAX_ROWS:
        more = len(shown) - 2 * _ROWS_AT_ENDS
        by_kept = sorted(shown, key=lambda label: -summary.available[label])
        shown = (*by_kept[:_ROWS_AT_ENDS], *by_kept[-_ROWS_AT_ENDS:])
    rows: list[tuple[str, ...]] = [("category", "read", "kept", *SPLITS)]
    for label in shown:
        counts = [manifest.splits[split].class_counts[label] for split in SPLITS]
        rows.append(_row(label, read.get(label, 0), summary.available[label], *counts))
    records = [manifest.splits[split].records for split in SPLITS]
    kept = sum(summary.available.values())
    lines = align([*rows, _row("total", summary.total("read"), kept, *records)], "<>>>>>")
    if more:
        note = f"… {more:,} more categories, with numbers between these: see {MANIFEST} …"
        lines.insert(1 + _ROWS_AT_ENDS, note)
    return lines


def _row(name: str, *numbers: int) -> tuple[str, ...]:
    return (name, *(f"{number:,}" for number in numbers))


def _unit(summary: Summary) -> str:
    """Return the word for what was rejected: line, record of a file without lines, or any."""
    records = summary.total("rejected_records")
    if not records:
        return "line"
    return "record" if records == summary.total("rejected") else "entry"


def warnings(summary: Summary, quotas: Quotas, output: str = "") -> Iterator[str]:
    """Yield a line for each category with too few drawings, one for drawings outside of the frame,
    and one for rejected lines, which are listed in `output`, if there is one."""
    number_short = 0
    for label, counts in summary.counts.items():
        got = dict(zip(summary.splits, counts, strict=True))
        quota = {split: quotas.of(split, summary.available[label]) for split in SPLITS}
        wanted = {split: 1 if number is None else number for split, number in quota.items()}
        short = [
            f"{split} has {got[split]:,} of {wanted[split]:,}"
            for split in SPLITS
            if got[split] < wanted[split]
        ]
        if short and (number_short := number_short + 1) <= _MAX_WARNINGS:
            available = counted(summary.available[label], "drawing")
            yield f"{label}: only {available}; {', '.join(short)}"
    if number_short > _MAX_WARNINGS:
        more = number_short - _MAX_WARNINGS
        where = "the table" if len(summary.labels) <= _MAX_ROWS else f"class_counts in {MANIFEST}"
        yield f"{more:,} more categories have too few drawings, see {where}"
    displaced = summary.displaced()
    if sum(displaced.values()) > _DISPLACED_FRACTION * summary.written:
        most = sorted(displaced.items(), key=lambda item: -item[1])
        yield (
            f"{sum(displaced.values()):,} of {summary.written:,} drawings do not begin near 0 on "
            "both axes, as nearly all of Google's do: they are cut off at the border or off-centre "
            "(--frame=auto moves them): "
            f"{some([f'{number:,} of {label}' for label, number in most])}"
        )
    if rejected := summary.total("rejected"):
        line = f"{counted(rejected, _unit(summary))} rejected ({summary.reject_fraction:.2%})"
        line += f", see {output}/{REJECTS}" if output else ""
        if output and (not_listed := summary.total("not_listed")):
            line += f", which lists all but {not_listed:,} of them"
        yield line


def no_drawings(summary: Summary, files: Sequence[InputFile]) -> str:
    """Return the error for an input without a single usable drawing."""
    line = f"no drawings to use in the {len(files)} input files"
    if rejected := summary.total("rejected"):
        reasons = ", ".join(summary.drawings["rejected"])
        line += f"; {counted(rejected, _unit(summary))} rejected: {reasons}"
    return line


def unknown_label(label: str, summary: Summary) -> str:
    """Return the error for a label of --labels that no drawing has."""
    seen = {**summary.drawings.get("read", {}), **summary.drawings.get("other_category", {})}
    hint = label_hints.hint(label, summary.labels, seen)
    return f"--labels: no drawing of category {label!r} in the input{hint}"


def file_warnings(summary: Summary, manifest: Manifest) -> Iterator[str]:
    """Yield a warning that names the input files without a drawing, if there are any."""
    files = [InputFile(entry["file"], entry["bytes"], entry["form"]) for entry in manifest.inputs]
    if without := files_without_drawings(summary, files):
        named = _name_files(without, files, summary)
        yield f"{len(without):,} of {len(files):,} input files gave no drawing: {named}"


def files_without_drawings(summary: Summary, files: Sequence[InputFile]) -> list[int]:
    """Return the indices of input files without a drawing of any category."""
    read = summary.drawings.get("file_read", {})
    return [index for index in range(len(files)) if not read.get(str(index))]


def _why(index: int, files: Sequence[InputFile], summary: Summary) -> str:
    """Return the reason why a file gave no drawing."""
    rejected = summary.drawings.get("file_rejected", {}).get(str(index), 0)
    unit = "line" if files[index].form in CAN_BE_CUT else "record"
    if rejected:
        return f"{counted(rejected, unit)} rejected"
    return f"no {unit}s in it" if files[index].bytes else "0 bytes"


def _name_files(indices: Sequence[int], files: Sequence[InputFile], summary: Summary) -> str:
    named = [f"{files[i].path} ({_why(i, files, summary)})" for i in indices[:_MAX_FILES]]
    if more := len(indices) - len(named):
        named.append(f"{more:,} more")
    return ", ".join(named)


def missing_categories(indices: Sequence[int], files: Sequence[InputFile], summary: Summary) -> str:
    """Return the error for files that are named for their category and have no drawing of it."""
    return (
        f"no drawing, hence no category, of {_name_files(indices, files, summary)}; repair these "
        "files, remove them from --input, or name the categories with --labels"
    )


def none_kept(labels: Sequence[str], summary: Summary) -> str:
    """Return the error for categories of which no drawing is kept."""
    label = labels[0]
    read = summary.drawings["read"][label]
    reasons = [
        f"{number:,} {text}"
        for kind, text in (
            ("not_recognized", "were not recognized (--recognized_only)"),
            ("excluded", "are in --exclude"),
            ("kept_elsewhere", "are also in another category, which keeps them"),
        )
        if (number := summary.drawings.get(kind, {}).get(label, 0))
    ]
    more = f"; {len(labels) - 1:,} more categories likewise" if len(labels) > 1 else ""
    return (
        f"no drawing of category {label!r} is kept: of {read:,} read "
        f"{', '.join(reasons) or 'none was chosen'}{more}; leave them out with --labels"
    )


def empty_split(split: str, summary: Summary, quotas: Quotas) -> str:
    """Return the error for a split that was asked for and would be empty."""
    most = max(summary.available.values())
    taken = [
        f"{name} takes {quotas.of(name, most):,}"
        for name in summary.splits[: summary.splits.index(split)]
        if quotas.of(name, most)
    ]
    before = f"{' and '.join(taken)} of each category first" if taken else "the share is too small"
    mend = {
        "train": "lower --validation_per_category, or give --validation_share=0.2 instead",
        "validation": "lower --train_per_category, or give another --validation_share",
        "test": "lower --validation_per_category, or give another --test_share",
    }[split]
    return (
        f"no {split} drawings: categories have at most {most:,} drawings, and {before}; {mend}, "
        f"or --{split}_per_category=0"
    )


def folder_note(paths: Sequence[str], categories: Sequence[str]) -> str:
    """Return a note if drawings without a word take their folder's category; empty otherwise."""
    by_folder = {
        category
        for path, category in zip(paths, categories, strict=True)
        if category and category != category_of(path)
    }
    if not by_folder:
        return ""
    return f"Drawings without a word get their folder's name as category: {some(sorted(by_folder))}"


def too_many_rejects(summary: Summary, allowed: float, rejects: str) -> str:
    """Return the error for a run with more rejects than --max_reject_fraction."""
    reasons = summary.drawings["rejected"]
    most = max(reasons, key=lambda reason: reasons[reason])
    not_listed = summary.total("not_listed")
    listed = f"all but {not_listed:,} of them" if not_listed else "they"
    where = f"; {listed} are listed in {rejects}" if rejects else ""
    return (
        f"{counted(summary.total('rejected'), _unit(summary))} rejected, "
        f"{summary.reject_fraction:.2%} of all, more than --max_reject_fraction={allowed:g}; "
        f"most often: {most} ({reasons[most]:,}){where}"
    )
