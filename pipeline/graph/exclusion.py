"""Drawings that are to be left out, by their keys."""

import hashlib
from collections.abc import Iterable

from pipeline.cli import UserError
from pipeline.dataset.manifests import read_lines


def read_keys(path: str) -> list[str]:
    """Read the key_ids of a text file, one a line.

    A drawing without one has in its record `strokes:` and a hash, which is such a line, too.

    Raises:
      UserError: the file cannot be read, or holds no key.
    """
    keys = read_lines(path, "key_id")
    if not keys:
        raise UserError(f"{path}: no key_ids in it")
    if keys[0].startswith(("{", "[")):
        raise UserError(f"{path}: it is JSON; write one key_id a line")
    return keys


def hashes(keys: Iterable[str]) -> frozenset[int]:
    """Return 64-bit hashes of keys: all workers get them, and a hundred bytes a key are many."""
    return frozenset(_hash(key.encode()) for key in keys)


def is_excluded(excluded: frozenset[int], key_id: str | None, strokes: bytes) -> bool:
    """Tell whether the hash of a drawing's key is among others."""
    return _hash(record_key(key_id.encode() if key_id else b"", strokes)) in excluded


def record_key(key_id: bytes, strokes: bytes) -> bytes:
    """Return the record's key_id.

    A drawing without one gets `strokes:` and 32 hexadecimal digits of its strokes' BLAKE2b, so that
    every record can be told from every other.
    """
    digest = hashlib.blake2b
    return key_id or b"strokes:" + digest(strokes, digest_size=16).hexdigest().encode()


def _hash(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
