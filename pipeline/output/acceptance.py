"""Checks that the result of a finished job passes before it becomes a data set.

A run that ends well has lost nothing that it does not name; what is checked here would be lost
without anyone asking for it: files, categories, splits.
"""

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence

from pipeline.cli import RunError, UserError, is_remote
from pipeline.dataset.manifests import SPLITS, Manifest, read_file
from pipeline.graph.sampling import Quotas
from pipeline.output import report
from pipeline.output.publish import Summary
from pipeline.sources.categories import category_of
from pipeline.sources.input_files import InputFile


class TooManyRejects(RunError):  # noqa: N818 - what --max_reject_fraction says may change
    """Share of rejected lines beyond what a run allows."""


def check_inputs_exist(before: Collection[str], after: Collection[str]) -> None:
    """Check that the inputs of a job that was done before can still be seen.

    Args:
      before, after: paths.

    Raises:
      RunError: one is gone, so nobody knows whether it changed while the job read it.
    """
    if gone := [path for path in before if path not in after]:
        raise RunError(
            f"the job has read {report.some(gone)}, which cannot be found now; what it wrote is "
            "kept: put the input back and use --finish"
        )


def check_inputs(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Check that no input file has changed since the job began.

    Args:
      before, after: what `sources.input_versions` tells of each path.

    Raises:
      RunError: one has.
    """
    changed = [path for path, version in before.items() if after.get(path) != version]
    if changed:
        raise RunError(
            f"the input changed while it was read: {report.some(changed)}; nothing was written, "
            "rerun when the files are complete"
        )


def check_shards(manifest: Manifest, paths: Mapping[str, str]) -> None:
    """Check that shards that an earlier run left are whole; a power loss may have damaged them.

    Args:
      manifest: of the data set.
      paths: where the job wrote each shard. Those that are not there may be in place already.

    Raises:
      RunError: one is not what the job wrote.
    """
    shards = {shard.file: shard for split in SPLITS for shard in manifest.splits[split].shards}
    for name, path in paths.items():
        if is_remote(path):  # object stores show only whole objects
            continue
        with contextlib.suppress(FileNotFoundError):
            if hashlib.sha256(read_file(path)).hexdigest() != shards[name].sha256:
                raise RunError(f"{path} is damaged; run the job again")


def check(
    summary: Summary,
    files: Sequence[InputFile],
    labels: Collection[str] | None,
    quotas: Quotas,
    max_reject_fraction: float,
    rejects: str = "",
) -> None:
    """Check the result of a job.

    Args:
      summary: of the job.
      files: its input.
      labels: those of --labels.
      quotas: what was asked for.
      max_reject_fraction: the largest share of rejected lines, 0 to 1.
      rejects: path of the lists of its rejects; empty if they were not kept.

    Raises:
      UserError: no drawings, none of a label or of a file that is named for its category, a
        category of which none is kept, or an empty split.
      TooManyRejects: too many lines were rejected.
    """
    read = summary.drawings.get("read", {})
    if not read and summary.total("other_category"):
        raise UserError(report.unknown_label(summary.labels[0], summary))
    if not read:
        raise UserError(report.no_drawings(summary, files))
    if summary.reject_fraction > max_reject_fraction:
        raise TooManyRejects(report.too_many_rejects(summary, max_reject_fraction, rejects))
    for label in summary.labels:
        if label not in read:
            raise UserError(report.unknown_label(label, summary))
    if labels is None and not summary.total("file_other_word"):  # files are named for categories
        without = report.files_without_drawings(summary, files)
        missing = [index for index in without if category_of(files[index].path) not in read]
        if missing:
            raise UserError(report.missing_categories(missing, files, summary))
    if lost := [label for label in read if not sum(summary.counts.get(label, ()))]:
        raise UserError(report.none_kept(lost, summary))
    for split in SPLITS:
        position = summary.splits.index(split)
        if quotas.asks_for(split) and not any(c[position] for c in summary.counts.values()):
            raise UserError(report.empty_split(split, summary, quotas))
