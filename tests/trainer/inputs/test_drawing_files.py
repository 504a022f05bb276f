"""Lines of drawings: in their order, in batches, as they arrive."""

import bz2
import gzip
import io
import json
import os
import tracemalloc
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import RunError, UserError
from pipeline.drawings.drawing import MAX_LINE_BYTES, parse_drawing
from tests.support.ndjson import line
from trainer.inputs.drawing_files import READING, check_files, read_batches
from trainer.inputs.drawing_lines import read_lines


def keys(batch):
    return [each.drawing.key_id if each.drawing else each.error for each in batch]


def numbered(*numbers):
    return "".join(f"{line(number=number)}\n" for number in numbers).encode()


def key(number):
    return json.loads(line(number=number))["key_id"]


def test_batches_go_on_from_file_to_file(tmp_path):
    (tmp_path / "a").write_bytes(numbered(0, 1, 2))
    (tmp_path / "b").write_bytes(numbered(3, 4))
    batches = read_batches([str(tmp_path / "a"), str(tmp_path / "b")], 2)
    assert [keys(batch) for batch in batches] == [[key(0), key(1)], [key(2), key(3)], [key(4)]]


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbf" + numbered(0) + b"\n{\r\n  \n" + line(number=1).encode())
    (batch,) = read_batches([str(path)], 100)
    assert [each.place for each in batch] == [f"{path}:{number}" for number in (1, 3, 5)]
    assert keys(batch) == [key(0), "not JSON", key(1)]


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_compressed_files_are_read(tmp_path, ending, compress):
    path = tmp_path / f"a.ndjson.{ending}"
    path.write_bytes(compress(numbered(0, 1)))
    assert [keys(batch) for batch in read_batches([str(path)], 5)] == [[key(0), key(1)]]


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_what_a_damaged_file_still_holds_comes_before_the_error(tmp_path, ending, compress):
    path = tmp_path / f"a.ndjson.{ending}"
    (tmp_path / "b").write_bytes(numbered(0))
    path.write_bytes(compress(numbered(1))[:-9])
    batches = read_batches([str(tmp_path / "b"), str(path)], 5)
    assert key(0) in keys(next(batches))
    with pytest.raises(
        UserError, match=f"a.ndjson.{ending}: cannot be read: Compressed file ended"
    ):
        list(batches)


def test_an_open_pipe_is_not_waited_for(monkeypatch):
    """Neither for a full batch nor for the end of a line that has begun."""
    reading, writing = os.pipe()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(os.fdopen(reading, "rb")))
    batches = read_batches(["-"], 100)
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(numbered(0))
        assert keys(next(batches)) == [key(0)]
        pipe.write(numbered(1, 2) + b'{"draw')
        assert keys(next(batches)) == [key(1), key(2)]
        pipe.write(b'ing": 1}\n')
        (bad,) = next(batches)
        assert (bad.place, bad.error) == ("stdin:4", "drawing is not a list of strokes")
        pipe.write(numbered(*range(250)))
        assert [len(next(batches)) for _ in range(2)] == [100, 100]
    assert [len(batch) for batch in batches] == [50]


def test_an_endless_line_is_rejected_without_being_kept(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"[" * (10 * MAX_LINE_BYTES) + b"\n" + numbered(1))
    tracemalloc.start()
    (batch,) = read_batches([str(path)], 5)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keys(batch) == ["line longer than 4 MiB", key(1)]
    assert peak_bytes < 5 * MAX_LINE_BYTES


def test_raw_drawings_become_their_simplified_twins(sample, tmp_path):
    with open(sample / "raw_simplified_pairs.ndjson", encoding="utf-8") as file:
        pairs = [json.loads(text) for text in file]
    strokes = {}
    for kind in ("raw", "simplified"):
        path = tmp_path / kind
        path.write_text("".join(f"{json.dumps({'drawing': pair[kind]})}\n" for pair in pairs))
        (batch,) = read_batches([str(path)], len(pairs))
        strokes[kind] = [each.drawing.strokes for each in batch]
    assert len(pairs) == 600
    assert strokes["raw"] == strokes["simplified"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    check_files([str(tmp_path / "a"), "-"])
    with pytest.raises(UserError, match=r"nowhere.ndjson: no such file"):
        check_files([str(tmp_path / "a"), str(tmp_path / "nowhere.ndjson")])
    with pytest.raises(UserError, match=f"{tmp_path} is a directory; name files"):
        check_files([str(tmp_path)])


def test_other_forms_of_files_are_read_as_the_pipeline_reads_them(tmp_path):
    rows = [json.loads(line(number=number)) for number in range(3)]
    forms = {
        "a.json": json.dumps(rows, indent=1),
        "b.csv": "key_id,drawing\n"
        + "".join(f'{row["key_id"]},"{json.dumps(row["drawing"])}"\n' for row in rows),
    }
    for name, text in forms.items():
        path = tmp_path / name
        path.write_text(text)
        (batch,) = read_batches([str(path)], 5)
        assert keys(batch) == [key(0), key(1), key(2)]
        assert [each.place for each in batch] == [f"{path}: drawing {n}" for n in (1, 2, 3)]


def test_what_is_no_form_of_drawings_is_named(tmp_path):
    path = tmp_path / "cat.npy"
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"cat\.npy looks like numpy bitmaps of 28×28 pixels; "):
        list(read_batches([str(path)], 5))


def test_any_word_will_do(tmp_path):
    path = tmp_path / "a"
    path.write_text(f"{line(word=3)}\n{line(word=None)}\n")
    (batch,) = read_batches([str(path)], 5)
    assert [each.drawing.word for each in batch] == ["3", None]


def test_a_lone_stroke_of_two_points_is_read_as_lists_and_it_is_said_once(tmp_path, capsys):
    path = tmp_path / "a"
    stroke = json.dumps({"drawing": [[[215, 255], [128, 128]]]})
    path.write_text(f"{stroke}\n{stroke}\n")
    (batch,) = read_batches([str(path)], 5)
    level = parse_drawing(json.dumps({"drawing": [[[0, 255], [0, 0]]]}).encode())
    assert [each.drawing.strokes for each in batch] == [level.strokes] * 2
    assert capsys.readouterr().err == (
        f"{path}:1: two or three points a stroke: [x, y] points or lists of x and of y? "
        "A file with longer strokes would tell. Read as lists of x and of y.\n"
    )
    path.write_text(f"{stroke}\n{json.dumps({'drawing': [[[9, 9], [7, 7], [200, 9], [1, 1]]]})}\n")
    (batch,) = read_batches([str(path)], 5)  # the second is of points: so is the first
    assert batch[0].drawing.strokes != level.strokes
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "drawing", [[[[0, 1000], [0, each]] for each in range(300)], [[[300, 400], [500, 600]]]]
)
def test_a_bad_drawing_of_unknown_layout_is_an_error_in_its_place(tmp_path, drawing):
    path = tmp_path / "a"
    path.write_text(f"{json.dumps({'drawing': drawing})}\n{line(number=2)}\n")
    layout_is_unknown = READING._replace(frame="keep")
    with path.open("rb") as file:
        bad, good = read_lines(file, "a", layout_is_unknown, may_wait=False)
    assert (bad.drawing, bad.place) == (None, "a:1")
    assert bad.error
    assert keys([good]) == [key(2)]


def archive(path, **contents):
    """Write a zip archive of files: name → content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return str(path)


def test_files_in_an_archive_are_read_each_in_its_form(tmp_path):
    rows = json.dumps([json.loads(line(number=number)) for number in (3, 4)])
    contents = {
        "own/a.ndjson": numbered(0) + b"\n" + numbered(1),
        "own/b.ndjson.bz2": bz2.compress(numbered(2)),
        "own/c.json": rows,
        "__MACOSX/own/._a.ndjson": b"\0\5\26\7",
    }
    path = archive(tmp_path / "own.zip", **contents)
    (batch,) = read_batches([path], 100)
    assert keys(batch) == [key(number) for number in range(5)]
    assert [each.place.removeprefix(f"{path}/own/") for each in batch] == [
        "a.ndjson:1", "a.ndjson:3", "b.ndjson.bz2:1", "c.json: drawing 1", "c.json: drawing 2"
    ]  # fmt: skip


def test_a_file_in_an_archive_without_drawings_is_one_error_that_names_it(tmp_path):
    contents = {
        "README.txt": "Drawings of mine.\n\nThe second line.\n",
        "a.ndjson": numbered(0) + b"{",
        "b.png": b"\x89PNG\r\n",
        "c.zip": b"PK\3\4",
        "d.ndjson": numbered(1),
        "e.ndjson": b"",
    }
    path = archive(tmp_path / "own.zip", **contents)
    (batch,) = read_batches([path], 100)
    assert [f"{each.place}: {each.error}".split(";")[0] for each in batch if each.error] == [
        f"{path}/README.txt: looks like a file without drawings",
        f"{path}/a.ndjson:2: not JSON",
        f"{path}/b.png: looks like a PNG picture",
        f"{path}/c.zip: looks like a zip archive in a compressed file",
        f"{path}/e.ndjson: no drawings in the file",
    ]
    assert [each.drawing.key_id for each in batch if each.drawing] == [key(0), key(1)]


def test_an_archive_that_is_damaged_or_empty_is_named(tmp_path):
    path = archive(tmp_path / "a.zip", **{"a.ndjson": numbered(0), "b.ndjson": numbered(1, 2)})
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"b.ndjson") + 20] ^= 255
    (tmp_path / "a.zip").write_bytes(content)
    batches = read_batches([path], 100)
    assert key(0) in keys(next(batches))
    with pytest.raises(UserError, match=r"a\.zip/b\.ndjson: cannot be read: "):
        list(batches)
    (tmp_path / "a.zip").write_bytes(content[:-40])
    with pytest.raises(UserError, match=r"a\.zip: cannot be read: File is not a zip file"):
        list(read_batches([path], 100))
    for contents in ({}, {"folder/": b""}):
        with pytest.raises(UserError, match=r"b\.zip looks like a zip archive without files; "):
            list(read_batches([archive(tmp_path / "b.zip", **contents)], 100))


def test_a_large_file_in_an_archive_is_not_kept(tmp_path):
    path = archive(tmp_path / "a.zip", a=numbered(0) * 60_000)
    tracemalloc.start()
    assert sum(map(len, read_batches([path], 100))) == 60_000
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < len(numbered(0)) * 60_000 / 2


def test_drawings_before_damage_that_may_hide_others_come_before_the_error(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'[{line(number=0)}, {{"drawing": [[[1, "drawing": 1}}, {line(number=1)}]')
    batches = read_batches([str(path)], 5)
    assert keys(next(batches))[0] == key(0)
    with pytest.raises(RunError, match=r"a\.json"):
        list(batches)


def test_parquet_without_strokes_is_refused_as_the_pipeline_refuses_it(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": ["cat"], "image": [b"1"]}), path)
    with pytest.raises(
        UserError, match=r"a\.parquet looks like a parquet file without a column 'drawing'"
    ):
        list(read_batches([str(path)], 5))


def test_a_file_that_does_not_tell_its_layout_is_read_as_the_others_are(tmp_path, capsys):
    """As the pipeline prepares them."""
    points = json.dumps({"drawing": [[[9, 9], [7, 7], [200, 9], [1, 1]]]})
    lone = json.dumps({"drawing": [[[215, 255], [128, 128]]]})
    path = archive(tmp_path / "own.zip", **{"a.ndjson": lone, "b.ndjson": points})
    for name, content in (("a", lone), ("b", points)):
        (tmp_path / name).write_text(content)
    for paths in ([path], [str(tmp_path / "a"), str(tmp_path / "b")]):
        (batch,) = read_batches(paths, 5)
        expected = parse_drawing(lone.encode(), READING._replace(layout="points"))
        assert batch[0].drawing.strokes == expected.strokes
        assert capsys.readouterr().err == ""
    (tmp_path / "c").write_text(line())  # of lists: nothing is certain any more
    list(read_batches([path, str(tmp_path / "c")], 5))
    assert f"{path}/a.ndjson:1: two or three points a stroke: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", b""),
        ("a.ndjson", b"\n \r\n"),
        ("a.ndjson.gz", gzip.compress(b"", mtime=0)),
        ("a.json", b"[ ]"),
        ("a.csv", b"word,drawing\n"),
        ("a.bin", b""),
    ],
)
def test_a_file_without_drawings_is_an_error_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b").write_bytes(numbered(0))
    (batch,) = read_batches([str(tmp_path / name), str(tmp_path / "b")], 5)
    assert keys(batch) == ["no drawings in the file", key(0)]
    assert batch[0].place == str(tmp_path / name)


def test_nothing_on_stdin_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(os.fdopen(reading, "rb")))
    os.close(writing)
    assert list(read_batches(["-"], 100)) == []
