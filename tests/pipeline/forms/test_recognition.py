"""What is no form of drawings is named in one line, with what to do."""

import gzip
import io
import pathlib
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.cli import UserError
from pipeline.sources import input_files
from tests.support.ndjson import line


def message(path: pathlib.Path) -> str:
    with pytest.raises(UserError) as error:
        input_files.match_files([str(path)])
    assert str(error.value).startswith(f"--input: {path}")
    return str(error.value).removeprefix(f"--input: {path}")


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((3, 784), np.uint8))
    return file.getvalue()


def npz(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", npy())
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("cat.ndjson"))
    return file.getvalue()


TEXT = line("cat", 1)


@pytest.mark.parametrize(
    ("name", "content", "looks_like"),
    [
        ("cat.npy", npy(), "numpy bitmaps of 28×28 pixels; drawings are read as strokes: take the"),
        ("cat.npz", npz("arr_0"), "numpy bitmaps of 28×28 pixels"),
        ("cat.bin", npy(), "numpy bitmaps of 28×28 pixels"),
        ("cat.bin", bytes(784 * 200), "numpy bitmaps of 28×28 pixels"),
        ("cat.bin", bytes(range(196)) * 4 * 3, "numpy bitmaps of 28×28 pixels"),
        ("cat.npz", npz("train", "test", "valid"), "sketch-rnn's .npz; drawings are read as str"),
        ("cat.png", b"\x89PNG\r\n\x1a\n", "a PNG picture; drawings are read as strokes: ndjson"),
        ("cat.ndjson", b"<!DOCTYPE html><title>404</title>", "an HTML or XML page, such as a serv"),
        ("cat.ndjson", b"\n <?xml version='1.0'?><Error/>", "an HTML or XML page"),
        ("cat.ndjson", TEXT.encode("utf-16"), "text in UTF-16, as PowerShell's > writes it; wri"),
        ("cat.ndjson", TEXT.encode("utf-16-be"), "text in UTF-16"),
        ("cat.ndjson", TEXT.encode("utf-16-le"), "text in UTF-16"),
        ("cat.ndjson.crdownload", TEXT.encode(), "a download that is not finished; finish it, a"),
        ("cat.ndjson.xz", b"\xfd7zXZ\x00rest", "an xz-compressed file; unpack it"),
        ("cat.ndjson.zst", b"\x28\xb5\x2f\xfdrest", "a zstd-compressed file; unpack it"),
        ("cat.tar", tar(), "a tar archive; unpack it"),
        ("cat.tar.gz", gzip.compress(tar()), "a tar archive; unpack it"),
        ("cat.zip", npz(), "a zip archive without files; pack"),
        ("cat.zip.gz", gzip.compress(npz("a")), "a zip archive in a compressed file; unpack it"),
        ("cat.7z", b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # archives hold the time
)
def test_what_is_no_drawing_is_named(
    name: str, content: bytes, looks_like: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = message(path)
    assert found.startswith(f" looks like {looks_like}")
    assert "\n" not in found


def test_a_file_in_an_archive_is_named_with_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat.ndjson", TEXT)
        archive.writestr("dog.ndjson", "<html>")
    assert message(path).startswith("/dog.ndjson looks like an HTML or XML page")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_files_of_one_name_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for text in (TEXT, TEXT * 2):
            archive.writestr("cat.ndjson", text)
    assert message(path).startswith(" looks like a zip archive with several files named cat.ndjson")


def test_a_damaged_archive_and_one_with_a_password_are_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat.ndjson", TEXT)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"--input: cannot read .*all\.zip: File is not a zip file"):
        input_files.match_files([str(path)])
    encrypted = bytearray(content)
    for at in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        struct.pack_into("<H", encrypted, at, 1)
    path.write_bytes(encrypted)
    with pytest.raises(UserError, match=r"cannot read .*all\.zip/cat\.ndjson: .* password"):
        input_files.match_files([str(path)])


def test_a_parquet_file_without_strokes_names_its_columns(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "images.parquet"
    pictures = [{"image": {"bytes": b"PNG", "path": "a.png"}, "label": 3}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(pictures), path)
    assert message(path).startswith(
        " looks like a parquet file without a column 'drawing' of strokes (image, label); drawings"
    )
    path.write_bytes(path.read_bytes()[:100])
    assert message(path) == " looks like a parquet file that is damaged; fetch it again"


def test_a_parquet_file_that_was_compressed_again_is_refused(tmp_path: pathlib.Path) -> None:
    content = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist([{"drawing": "[[[1, 2], [3, 4]]]"}]), content)
    path = tmp_path / "cat.parquet.gz"
    path.write_bytes(gzip.compress(content.getvalue()))
    assert message(path) == " looks like a parquet file in a .gz or .bz2 file; unpack it"


@pytest.mark.parametrize("content", [b"", b"\n", b"garbage\n", bytes(600), b'{"word": "cat'])
def test_what_looks_like_nothing_is_read_line_by_line(
    content: bytes, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "cat.ndjson"
    path.write_bytes(content)
    (file,) = input_files.match_files([str(path)])
    assert file.form == "ndjson"


def test_upstream_s_form_is_told_from_the_first_line_however_long_it_is(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "cat.json"  # whatever it is called
    long = line("cat", 1, drawing=[[[*range(30_000)], [0] * 30_000, [0] * 30_000]])
    for text in (f"{long}\n{TEXT}", TEXT, f"\ufeff{TEXT}\r\n{TEXT}\r\n", f"{TEXT}\n{{\n"):
        path.write_text(text)
        (file,) = input_files.match_files([str(path)])
        assert file.form == "ndjson"
