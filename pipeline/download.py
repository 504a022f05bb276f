"""Downloads drawings from the public bucket of Quick, Draw!.

  python -m pipeline.download --categories=cat,sun --output=drawings
  python -m pipeline.download --labels=FILE --drawings_per_category=3000 --output=drawings

Every category becomes `<category>.ndjson` (`.bin` for the binary format): the whole file or, with
--drawings_per_category=N, its first N drawings. A file has that name only when it is complete;
until then it is `<name>.<version>.part`. Rerun the command to resume interrupted downloads;
complete files are left alone. A file is complete if it begins with --drawings_per_category
plausible drawings, or if its length and checksum match the server's. A damaged
file is replaced once its replacement is complete. Raw and simplified files have the same names:
each format needs its own directory.
"""

import contextlib
import math
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import requests
from absl import flags
from tqdm import tqdm

from pipeline import cli
from pipeline.cli import RunError, UserError, counted, is_remote
from pipeline.dataset.manifests import read_labels
from pipeline.sources import bucket
from pipeline.sources.bucket import AnswerError, Source
from pipeline.sources.partial_file import PartialFile, count_drawings, crc32c_of

PARALLEL = 4  # files at a time: enough to fill a line, few enough for any server
FAILURES = 6  # in a row, without a new byte, before a file is given up: about half a minute
FIRST_DELAY_SECONDS = 1.0  # after the first failure; twice as long after each further one
_REPLACED = "it will be replaced by a new download"


@dataclass
class _File:
    """One category's file in a run."""

    url: str
    target: Path
    limit: int | None  # drawings
    bar: "tqdm[None]"  # counts files, of all threads
    shown: float = 0.0  # how much of this file the bar shows

    def show(self, share: float) -> None:
        with self.bar.get_lock():
            self.bar.update(share - self.shown)
        self.shown = share

    def note(self, text: str) -> None:
        tqdm.write(f"{self.target.name}: {text}", file=sys.stderr)  # above the bar


def download(
    source: Source,
    categories: Sequence[str],
    output: Path,
    drawings_per_category: int | None = None,
) -> int:
    """Makes `output` hold a file of each category, whole or with at least this many drawings.

    Shows a bar on a terminal, elsewhere a line a file, on standard error.

    Returns:
      How many files were downloaded; the others were there.

    Raises:
      UserError: there is no such category, the directory cannot be made, or it holds a file of
        that name that is not a copy of the server's.
      RunError: the server cannot be reached or keeps failing, or a file cannot be written.
    """
    for name in categories:  # become names of files
        if "/" in name or name.startswith(".") or not name.isprintable():
            raise UserError(f"no such category in the data set: {name!r}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={output}: cannot write there: {error.strerror}") from None

    categories = list(dict.fromkeys(categories))
    form = "{percentage:3.0f}%|{bar}| {n:.1f} of {total} files, {elapsed}, {remaining} left"
    bar = tqdm(total=len(categories), bar_format=form, leave=False, disable=None)

    def fetch(category: str) -> tuple[str, bool]:
        name = source.file_name(category)
        file = _File(source.url(category), output / name, drawings_per_category, bar)
        try:
            is_new = _fetch(file)
        except OSError as error:
            raise RunError(f"cannot write {file.target}: {error.strerror}") from error
        file.show(1.0)
        return name, is_new

    downloaded = 0
    with bar, ThreadPool(PARALLEL) as pool:  # at an error, its threads are not waited for
        for done, (name, is_new) in enumerate(pool.imap_unordered(fetch, categories), 1):
            downloaded += is_new
            if bar.disable:
                print(f"{done} of {len(categories)} files: {name}", file=sys.stderr)
    return downloaded


def _fetch(file: _File) -> bool:
    """Complete the file, with as many tries as needed; returns whether it was incomplete."""
    may_be_whole = file.target.exists()
    if file.limit and may_be_whole:
        drawings = count_drawings(file.target, file.limit)
        if drawings.is_enough and drawings.is_sound:
            return False
    failures = furthest = 0
    part = PartialFile(file.target, file.limit)
    with requests.Session() as session, contextlib.closing(part):
        while True:
            try:
                if may_be_whole and _is_whole(file, session):
                    return False
                may_be_whole = False
                if _extend(file, session, part):
                    break
            except AnswerError as error:
                failures = 1 if part.size_bytes > furthest else failures + 1
                furthest = max(furthest, part.size_bytes)
                if failures == FAILURES:
                    raise RunError(
                        f"cannot download {file.url}: {error} ({failures} tries); "
                        "rerun the command to resume"
                    ) from error
                delay = FIRST_DELAY_SECONDS * 2 ** (failures - 1) * random.uniform(0.5, 1)
                file.note(f"{error}; next try in {delay:.1f} s")
                time.sleep(delay)
        part.finish()
    if file.limit and not part.drawings.is_enough:
        file.note(f"the data set has only {counted(part.drawings.count, 'drawing')} of it")
    return True


def _is_whole(file: _File, session: requests.Session) -> bool:
    """Tell whether the existing file is the server's; print a note if it is a damaged copy.

    Raises:
      UserError: it is another file, not to be replaced.
    """
    with bucket.get(session, file.url, 0, bucket.PIECE_BYTES) as (answer, pieces):
        server_head = next(pieces, b"")
    size, total = file.target.stat().st_size, answer.total_bytes
    has_its_length = size == total
    if answer.crc32c is not None and (has_its_length or total is None):
        if crc32c_of(file.target) == answer.crc32c:
            return True
        if has_its_length:
            file.note(f"its checksum is not the server's; {_REPLACED}")
            return False
    if (total is not None and size > total) or not _may_be_copy(file.target, server_head):
        raise UserError(f"{file.target} is not a copy of {file.url}; choose another --output")
    drawings = count_drawings(file.target, file.limit)
    ends_well = drawings.is_enough or drawings.finish()
    if not drawings.is_sound or (has_its_length and not ends_well):
        file.note(f"damaged, not every line is a drawing; {_REPLACED}")
        return False
    return has_its_length


def _may_be_copy(path: Path, server_head: bytes) -> bool:
    """Tell whether a file begins as the server's, but for zeros that a power loss may leave."""
    with path.open("rb") as file:
        head = file.read(len(server_head))
    return all(ours in (0, byte) for ours, byte in zip(head, server_head, strict=False))


def _extend(file: _File, session: requests.Session, part: PartialFile) -> bool:
    """Append the answer of one request to the part; returns whether it is complete."""
    # The last byte comes again: an answer to a range past the end would not tell the version.
    start = max(part.size_bytes - 1, 0)
    with bucket.get(session, file.url, start, part.expected_end()) as (answer, pieces):
        part.reset_unless_version(answer.version)
        position, size_before = answer.start, part.size_bytes
        if position > size_before:
            raise AnswerError("the file has changed on the server")
        goes_by_looks = bool(file.limit) or answer.crc32c is None
        while not part.drawings.is_enough and (piece := next(pieces, b"")):
            part.append(piece[part.size_bytes - position :])
            position += len(piece)
            share_of_bytes = part.size_bytes / (answer.total_bytes or math.inf)
            file.show(part.drawings.count / file.limit if file.limit else share_of_bytes)
            if goes_by_looks and not part.drawings.is_sound:
                break
    if goes_by_looks and not part.drawings.is_sound:
        part.discard()
        raise AnswerError("the answer holds no drawings, or damaged ones")
    if part.drawings.is_enough:
        return True
    if part.size_bytes == (position if answer.total_bytes is None else answer.total_bytes):
        if part.size_bytes == 0:
            raise AnswerError("the server sent an empty file")
        ends_well = part.drawings.finish()
        if not (ends_well if answer.crc32c is None else part.crc32c == answer.crc32c):
            part.discard()  # a length that is stated wrongly made it look whole
            raise AnswerError("the answer is not the whole file, or damaged")
        return True
    if part.size_bytes == size_before:
        raise AnswerError("the answer held nothing new")
    return False


def define_flags() -> None:
    flags.DEFINE_list("categories", [], "Comma-separated names, or 'all' of the bucket.")
    cli.define_path("labels", None, "File with the categories, one a line.", kind="FILE")
    cli.define_path("output", None, "Directory to download to.", required=True)
    text = "Format of the files; raw has every point with its time, in about seven times the bytes."
    flags.DEFINE_enum("format", "simplified", list(bucket.SUFFIXES), text)
    text = "Fetch only this many drawings, from the start of each file. Default: all."
    cli.define_integer("drawings_per_category", None, text, lower_bound=1, upper_bound=10**9)
    flags.DEFINE_string("base_url", bucket.BUCKET, "URL of the bucket or of a mirror.")


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    if not re.match("https?://[^/]", args.base_url):
        raise UserError(f"--base_url: {args.base_url!r} is not an http:// or https:// address")
    if bool(args.categories) == bool(args.labels):
        raise UserError("--categories or --labels says what to download; give one of them")
    if is_remote(args.output):
        raise UserError(f"--output={args.output}: it has to be a directory on this machine")
    source, output = Source(args.base_url.rstrip("/"), args.format), Path(args.output)
    categories = read_labels(args.labels) if args.labels else args.categories
    if categories == ["all"]:
        categories = source.categories()
    downloaded = download(source, categories, output, args.drawings_per_category)
    there = len(set(categories)) - downloaded
    print(f"{output}: {counted(downloaded, 'file')} downloaded, {there} already there")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
