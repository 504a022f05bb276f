"""Last stage of the graph: counts and rejects, in files of the staging directory."""

import json
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipeline.cli import RunError
from pipeline.files import storage
from pipeline.graph.batches import Element, read_element
from pipeline.graph.parse import Rejects
from pipeline.graph.sampling import Selection
from pipeline.graph.shards import WrittenShard

SUMMARY = "summary.json"
REJECTS = "rejects"


def reject_file_name(index: int, num_files: int) -> str:
    """Name the list of an input file's rejects by its place in the sorted list of inputs."""
    return f"rejects-{index:05d}-of-{num_files:05d}.jsonl"


def write_rejects(of_file: tuple[int, Iterable[Element]], staging: str, num_files: int) -> str:
    """Writes a file's rejects as JSON lines, by position; returns the name of the file written.

    The name is made of the input's place in the sorted list of inputs, never of its text. Where
    work items held more rejects than they list, a last line says how many.
    """
    index, elements = of_file
    parts: list[Rejects] = [pickle.loads(read_element(element)) for element in elements]
    name = reject_file_name(index, num_files)
    path = parts[0].path
    lines = [
        {
            "file": path,
            "byte_offset": reject.byte_offset,
            "reason": reject.reason,
            "head": reject.head.decode("utf-8", "backslashreplace"),
        }
        for reject in sorted(reject for part in parts for reject in part.listed)
    ]
    if not_listed := sum(part.not_listed for part in parts):
        lines.append({"file": path, "not_listed": not_listed})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    _write(FileSystems.join(staging, REJECTS, name), text)
    return name


def write_summary(
    _: None,
    staging: str,
    selection: Selection,
    counts: Counter[tuple[str, str]],
    shards: Sequence[WrittenShard],
    reject_files: Iterable[str],
) -> None:
    """Writes what the launching process needs to complete the data set: see publish.Summary."""
    by_kind: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (kind, name), number in sorted(counts.items()):
        by_kind[kind][name] = number
    summary = {
        "labels": selection.labels,
        "splits": selection.splits,
        "available": dict(zip(selection.labels, selection.available.tolist(), strict=True)),
        "counts": dict(zip(selection.labels, selection.counts.tolist(), strict=True)),
        "drawings": by_kind,
        "shards": [
            {**written._asdict(), "shard": written.shard.__dict__} for written in sorted(shards)
        ],
        "reject_files": sorted(reject_files),
    }
    _write(FileSystems.join(staging, SUMMARY), json.dumps(summary))


def sum_counters(counters: Iterable[Counter[Any]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _write(path: str, text: str) -> None:
    with storage.errors_as(RunError, f"cannot write {path}"):
        storage.write_text(path, text)
