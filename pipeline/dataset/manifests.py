"""Data set directory: file names and `manifest.json`, the one description that all parts read.

A directory is a data set when it holds `manifest.json`; the file is written last.
"""

import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.cli import UserError, is_remote, printable
from pipeline.dataset import records
from pipeline.drawings.label_rule import clean_label

FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"
LABELS = "labels.txt"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split."""

    file: str  # name within the data set directory
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
    """Shards of one split and how many drawings of each class they hold together."""

    records: int
    class_counts: dict[str, int]  # by label, in the order of the labels
    shards: tuple[Shard, ...]

    def with_generation(self) -> "Split":
        """Name its shards anew: their names end in a dot and 8 digits of a hash of their content.

        Other content has other names, so that no shard can be taken for another data set's.
        """
        content = "\n".join(shard.sha256 for shard in self.shards)
        generation = hashlib.sha256(content.encode()).hexdigest()[:8]
        named = [dataclasses.replace(s, file=f"{s.file}.{generation}") for s in self.shards]
        return dataclasses.replace(self, shards=tuple(named))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Content of `manifest.json`. Settings that only describe how the data were made are dicts."""

    labels: tuple[str, ...]  # the position is the class index
    image: dict[str, Any]  # height, width, encoding
    splits: dict[str, Split]
    rasterizer: dict[str, Any]
    sampling: dict[str, Any]
    inputs: list[dict[str, Any]]  # file, bytes
    drawings: dict[str, int]  # read, rejected, …
    rejects: dict[str, int]  # by reason
    versions: dict[str, str]
    fields: tuple[str, ...] = ()  # of records.FIELDS, those that the records hold
    format_version: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """Identifies the content (labels and every record), wherever the directory lies."""
        content = [*self.labels, *(s.sha256 for split in SPLITS for s in self.splits[split].shards)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the file's text; names of inputs that are not UTF-8 become escapes."""
        content = {name: value for name, value in vars(self).items() if name != "fields" or value}
        text = json.dumps(content, default=vars, indent=1, ensure_ascii=False)
        return printable(text) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse a manifest; raises ValueError, KeyError or TypeError for any other format."""
        fields = json.loads(text)
        if fields["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {fields['format_version']} is not {FORMAT_VERSION}")
        fields["labels"] = tuple(fields["labels"])
        fields["fields"] = tuple(fields.get("fields", ()))
        fields["splits"] = {
            name: Split(**{**split, "shards": tuple(Shard(**shard) for shard in split["shards"])})
            for name, split in fields["splits"].items()
        }
        if set(fields["splits"]) != set(SPLITS):
            raise ValueError(f"the splits are not {', '.join(SPLITS)}")
        return cls(**fields)


def shard_name(split: str, index: int, count: int) -> str:
    """Name a shard, but for the generation at the end (see `Split.with_generation`)."""
    return f"quickdraw-{split}.tfrecord-{index:05d}-of-{count:05d}"


def generation_of(shard_file: str) -> str:
    """Find what a shard's name ends in after its number: a dot and the generation, or nothing."""
    return re.sub(r"^quickdraw-\w+\.tfrecord-\d+-of-\d+", "", shard_file)


def read_file(path: str) -> bytes:
    """Read a file, on this machine or where Beam can read.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
      UserError: a package is missing that reads such paths.
    """
    if is_remote(path):
        # Imports Beam, a second that other paths need not wait for.
        from pipeline.files import storage

        return storage.read_file(path)
    with open(path, "rb") as file:
        return file.read()


def read_manifest(directory: str, read_file: Callable[[str], bytes] = read_file) -> Manifest:
    """Read the manifest of a data set directory.

    Args:
      directory: the directory.
      read_file: reads it, raising what `read_file` above does.

    Raises:
      UserError: there is no such directory, it is no complete data set, or the file is damaged.
    """
    path = os.path.join(directory, MANIFEST)
    try:
        return Manifest.from_json(read_file(path).decode())
    except (FileNotFoundError, NotADirectoryError):
        if not is_remote(directory) and not os.path.isdir(directory):
            raise UserError(f"{directory}: no such directory") from None
        raise UserError(
            f"{directory}: no complete data set (no {MANIFEST}); python -m pipeline.main makes one"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a manifest of format {FORMAT_VERSION}: {error}") from None


@dataclasses.dataclass
class DataSet:
    """A data set directory, whose shards are checked against the manifest as they are read."""

    directory: str
    manifest: Manifest
    read_file: Callable[[str], bytes] = read_file  # raises what `read_file` above does

    def split(self, name: str) -> Split:
        """Return one of SPLITS.

        Raises:
          UserError: it has no drawings.
        """
        split = self.manifest.splits[name]
        if not split.records:
            raise UserError(f"{self.directory}: no drawings in its {name} split")
        return split

    def path(self, shard: Shard) -> str:
        return os.path.join(self.directory, shard.file)

    def examples(self, split: str) -> Iterator[records.Example]:
        """Read the examples of a split in the order of its shards.

        Raises:
          UserError: a shard is missing, damaged, or of another data set.
        """
        for shard in self.manifest.splits[split].shards:
            yield from self.shard_examples(shard)

    def shard_examples(self, shard: Shard) -> Iterator[records.Example]:
        """Read the examples of one shard; raises as `examples` does."""
        path = self.path(shard)
        try:
            content = self.read_file(path)  # at most 50,000 records, 50 MB
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            for _ in records.read_records(io.BytesIO(content), path):
                pass  # a record's own checksum says where the damage is
            raise UserError(f"{path}: damaged, or of another data set")
        yield from records.read_examples(content, path)


def _is_json(text: str) -> bool:
    try:
        return bool(json.loads(text))
    except ValueError:
        return False


def read_lines(path: str, item: str) -> list[str]:
    """Read the lines of a text file that are not empty, without spaces around them.

    `item`: what a line is, for the error.

    Raises:
      UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        lines = list(io.TextIOWrapper(io.BytesIO(read_file(path)), encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8, a {item} a line") from None
    return [line.strip() for line in lines if line.strip()]


def read_labels(path: str) -> tuple[str, ...]:
    """Read the labels of a text file, one a line; the line number from 0 is the class index.

    Raises:
      UserError: the file cannot be read, is empty, or names a label twice or one that is none.
    """
    lines = read_lines(path, "label")
    if "".join(lines).startswith(("[", "{")) and _is_json("".join(lines)):
        raise UserError(f"{path}: it is JSON; write one label a line")
    if not lines:
        raise UserError(f"{path}: no labels in it")
    labels: dict[str, None] = {}
    for line in lines:
        try:
            label = clean_label(line)
        except ValueError as error:
            raise UserError(f"{path}: label {line[:80]!r} is {error}") from None
        if label in labels:
            raise UserError(f"{path}: duplicate label {label!r}")
        labels[label] = None
    return tuple(labels)
