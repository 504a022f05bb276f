"""Every form of file gives the drawings of the same ndjson; all forms are those of public files."""

import bz2
import csv
import gzip
import io
import json
import pathlib
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.cli import RunError
from pipeline.drawings.drawing import Drawing, Reading, parse_drawing
from pipeline.drawings.reject import Reject
from pipeline.drawings.shapes import layout_of
from pipeline.sources import input_files
from tests.support.ndjson import line

LINES = [line("cat", n, recognized=n % 3 > 0, countrycode="SE") for n in range(40)]
ROWS: list[dict[str, Any]] = [json.loads(text) for text in LINES]
EXPECTED = [parse_drawing(text.encode()) for text in LINES]


def read(path: pathlib.Path, range_bytes: int = 1 << 20, **reading: Any) -> list[Any]:
    files = input_files.match_files([str(path)])
    items = input_files.work_items(files, range_bytes)
    return [
        found.drawing
        for item in items
        for found in input_files.read_drawings(item, Reading(**reading))
    ]


def form_of(path: pathlib.Path) -> str:
    (file,) = input_files.match_files([str(path)])
    return file.form


def reasons(drawings: list[Any]) -> list[str]:
    return [str(drawing) for drawing in drawings if isinstance(drawing, Reject)]


# JSON


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps(ROWS, indent=8),
        json.dumps(ROWS, separators=(",", ":")),
        "[\n" + ",\n".join(LINES) + "\n]\n",  # cut into lines
        "[" + "\n,".join(LINES) + "]",
        "\n".join(json.dumps(row, indent=4) for row in ROWS),  # one after the other
        "".join(LINES),
        ", ".join(LINES),
        "\ufeff \n" + json.dumps(ROWS),
        json.dumps(ROWS[:20]) + "\n" + json.dumps(ROWS[20:]),
        json.dumps([ROWS[:20], ROWS[20:]]),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 100])
def test_json_that_is_not_a_line_a_drawing(
    text: str, chunk_bytes: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.forms.json_values.CHUNK_BYTES", chunk_bytes)
    path = tmp_path / "cat.json"
    path.write_text(text, encoding="utf-8")
    assert form_of(path) == "json"
    assert read(path) == EXPECTED


def test_strings_of_json_may_hold_brackets_and_quotation_marks(tmp_path: pathlib.Path) -> None:
    rows = [{"note": 'a "b" ]} \\', **row} for row in ROWS]
    path = tmp_path / "cat.json"
    path.write_text(json.dumps(rows))
    assert read(path) == EXPECTED


def test_a_bare_drawing_and_arrays_of_them(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.json"
    expected = [drawing.strokes for drawing in EXPECTED]
    strokes = [row["drawing"] for row in ROWS]
    for text in (json.dumps(strokes), "\n".join(map(json.dumps, strokes)), json.dumps(strokes[0])):
        path.write_text(text)
        found = [drawing.strokes for drawing in read(path)]
        assert found == expected[: len(found)]
        assert len(found) == (40 if text.count("[[[") > 1 else 1)


def test_json_is_read_in_bounded_memory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.forms.json_values.CHUNK_BYTES", 10_000)
    path = tmp_path / "cat.json"
    path.write_text(json.dumps([row for row in ROWS for _ in range(200)]))
    (file,) = input_files.match_files([str(path)])
    tracemalloc.start()
    count = sum(1 for _ in input_files.read_drawings(input_files.WorkItem(file)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 8_000
    assert peak_bytes < 200_000 < file.bytes / 4


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (LINES[5].replace("]]]", "]]", 1), "not JSON"),  # a bracket is missing
        (LINES[5].replace('"word"', "word"), "not JSON"),
        ('{"word": "cat"}', "no field drawing"),
        ("null", "not JSON"),
        ('{"drawing": [' + "[[0], [1]], " * 600_000 + "[[0], [1]]]}", "line longer than 4 MiB"),
    ],
)
def test_a_broken_drawing_costs_only_itself(
    broken: str, reason: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "cat.json"
    path.write_text("[" + ",\n".join([*LINES[:5], broken, *LINES[6:]]) + "]")
    found = read(path)
    assert reasons(found) == [reason]
    assert [one for one in found if isinstance(one, Drawing)] == EXPECTED[:5] + EXPECTED[6:]


@pytest.mark.parametrize(
    "broken",
    [LINES[5][:-1], LINES[5].replace('"word"', '"word')],
)
def test_damage_of_json_that_takes_in_other_drawings_is_an_error(
    broken: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "cat.json"
    path.write_text("[" + ",\n".join([*LINES[:5], broken, *LINES[6:]]) + "]")
    with pytest.raises(
        RunError, match=r"cat\.json: the JSON that begins with .* is broken and swallows"
    ):
        read(path)


def test_a_json_array_that_ends_early_is_a_reject(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.json"
    path.write_text(json.dumps(ROWS)[:-20])
    found = read(path)
    assert found[:-1] == EXPECTED[:-1]
    assert reasons(found) == ["not JSON"]


def test_one_broken_line_at_the_start_makes_no_other_form(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.ndjson"
    path.write_text("\n".join([LINES[0][:60], *LINES[1:]]))
    assert form_of(path) == "ndjson"
    assert reasons(read(path)) == ["not JSON"]


def test_a_part_of_a_file_that_begins_within_a_drawing_costs_that_one(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "cat.ndjson"
    for cut in (LINES[0].index("[[[") + 1, LINES[0].index("[[[") + 12, len(LINES[0]) - 9):
        path.write_text("\n".join([LINES[0][cut:], *LINES[1:]]))
        assert form_of(path) == "ndjson"
        assert len(reasons(read(path))) == 1


# Tables


def write_csv(path: pathlib.Path, **options: Any) -> None:
    columns = ["countrycode", "drawing", "key_id", "recognized", "word"]
    with path.open("w", encoding=options.pop("encoding", "utf-8"), newline="") as file:
        writer = csv.writer(file, **options)
        writer.writerow(columns)
        for row in ROWS:
            fields = {**row, "drawing": json.dumps(row["drawing"])}
            writer.writerow([fields[name] for name in columns])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"lineterminator": "\n"},
        {"encoding": "utf-8-sig"},
        {"quoting": csv.QUOTE_ALL},
    ],
)
@pytest.mark.parametrize("range_bytes", [1 << 20, 1000, 97])
def test_kaggle_s_csv_however_it_is_cut(
    options: dict[str, Any], range_bytes: int, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "anything.csv"
    write_csv(path, **options)
    assert form_of(path) == "csv"
    assert read(path, range_bytes) == EXPECTED


def test_a_row_of_csv_that_is_broken_costs_only_itself(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.csv"
    write_csv(path)
    rows = path.read_text().splitlines()
    rows[3] = rows[3].replace('"[', "[")
    rows[4] = rows[4].replace(']"', "]")
    rows[5] = rows[5].replace("[[[", "[[(")
    path.write_text("\n".join(rows))
    found = read(path)
    assert reasons(found) == [
        "not as many values as the first line has columns",
        "not a row of comma-separated values",
        "drawing is a text that is not JSON",
    ]
    assert [one for one in found if isinstance(one, Drawing)] == EXPECTED[:2] + EXPECTED[5:]


def test_a_number_too_long_for_a_label_costs_only_its_row(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.csv"
    rows = [f'{word},"[[[0, 1, 2, 3], [4, 5, 6, 7]]]"' for word in ("1" * 5000, "cat")]
    path.write_text("\n".join(["word,drawing", *rows]))
    found = read(path, labels=("cat",))
    assert isinstance(found[0], Reject)
    assert isinstance(found[1], Drawing)


def test_text_of_parquet_that_is_not_utf_8_is_an_error(tmp_path: pathlib.Path) -> None:
    words = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    table = pa.table({"word": words, "drawing": ["[[[0, 1], [2, 3]]]"]})
    pyarrow.parquet.write_table(table, tmp_path / "cat.parquet")
    with pytest.raises(RunError, match=r"cannot read .*cat\.parquet: "):
        read(tmp_path / "cat.parquet")


def test_raw_drawings_of_csv_longer_than_the_csv_module_s_own_limit(
    tmp_path: pathlib.Path,
) -> None:
    strokes = [[[*range(20_000)], [0] * 20_000, [0] * 20_000]]
    path = tmp_path / "cat.csv"
    path.write_text(f'key_id,drawing\n1,"{json.dumps(strokes)}"\n')
    (found,) = read(path)
    assert found == parse_drawing(json.dumps({"key_id": 1, "drawing": strokes}).encode())


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize(
    "change",
    [
        lambda strokes: strokes,
        json.dumps,
        lambda strokes: [{"x": x, "y": y} for x, y in strokes],
        # As Hugging Face's datasets turn lists of objects around.
        lambda strokes: {"x": [x for x, _ in strokes], "y": [y for _, y in strokes]},
    ],
)
def test_parquet(change: Callable[[Any], Any], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.parquet"
    rows = [{**row, "drawing": change(row["drawing"])} for row in ROWS]
    pyarrow.parquet.write_table(table_of(rows), path, row_group_size=7)
    assert form_of(path) == "parquet"
    assert read(path) == EXPECTED


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_texts_that_parquet_holds_as_bytes(kind: pa.DataType, tmp_path: pathlib.Path) -> None:
    table = table_of(ROWS)
    for name in ("word", "key_id"):
        texts = table.column(name).cast(pa.string()).cast(kind)
        table = table.set_column(table.schema.get_field_index(name), name, texts)
    pyarrow.parquet.write_table(table, tmp_path / "cat.parquet")
    assert read(tmp_path / "cat.parquet") == EXPECTED


def test_words_that_are_numbers_are_lines_of_the_labels(tmp_path: pathlib.Path) -> None:
    rows = [{**row, "word": n % 3} for n, row in enumerate(ROWS)]
    paths = [tmp_path / name for name in ("a.parquet", "a.ndjson", "a.csv")]
    pyarrow.parquet.write_table(table_of(rows), paths[0])
    paths[1].write_text("\n".join(map(json.dumps, rows)))
    with paths[2].open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "drawing": json.dumps(row["drawing"])} for row in rows)
    for path in paths:
        found = read(path, labels=("cat", "dog"))
        words = [one.word if isinstance(one, Drawing) else str(one) for one in found]
        assert words[:3] == ["cat", "dog", "word is a number that --labels has no line for"]
        assert len(words) == 40
    assert set(reasons(read(paths[1]))) == {
        "word is a number; --labels=FILE names the categories, the first is 0"
    }


# Compression


@pytest.mark.parametrize("name", ["cat.ndjson", "cat.ndjson.gz", "cat.ndjson.GZ", "cat.csv.bz2"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compression_is_told_by_the_content(
    name: str, compress: Callable[[bytes], bytes], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / name
    for content in ("\n".join(LINES), json.dumps(ROWS)):
        path.write_bytes(compress(content.encode()))
        assert read(path) == EXPECTED
        path.write_text(content)  # as what a browser has unpacked and named as it was
        assert read(path) == EXPECTED


def test_zeros_after_a_gzip_stream_are_padding_or_a_hole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.ndjson.gz"
    halves = (LINES[:20], LINES[20:])
    half = [gzip.compress("".join(f"{each}\n" for each in part).encode()) for part in halves]
    path.write_bytes(half[0] + half[1] + bytes(100))
    assert read(path) == EXPECTED
    path.write_bytes(half[0] + bytes(max(512, len(half[1]))))
    with pytest.raises(RunError, match=r"cat\.ndjson\.gz: Compressed file ends in zeros"):
        read(path)


def test_files_in_a_zip_archive_are_files_of_their_own(tmp_path: pathlib.Path) -> None:
    write_csv(tmp_path / "cat.csv")
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "cat.csv", "csv/cat.csv")
        archive.writestr("csv/dog.json", json.dumps(ROWS[:7]))
        archive.writestr("__MACOSX/csv/._dog.json", b"\0\5\26\7")
        table = io.BytesIO()
        pyarrow.parquet.write_table(table_of(ROWS), table)
        archive.writestr("csv/emu.parquet", table.getvalue())
    files = input_files.match_files([str(path)])
    assert [(file.path, file.form) for file in files] == [
        (f"{path}/csv/cat.csv", "csv"),
        (f"{path}/csv/dog.json", "json"),
        (f"{path}/csv/emu.parquet", "parquet"),
    ]
    assert read(path, range_bytes=10) == EXPECTED + EXPECTED[:7] + EXPECTED


# Strokes


def points(strokes: Any) -> Any:
    return [[list(point) for point in zip(*stroke, strict=True)] for stroke in strokes]


SHAPES: dict[str, Callable[[Any], Any]] = {
    "a text": json.dumps,
    "points": points,
    "objects of lists": lambda strokes: [{"x": x, "y": y} for x, y in strokes],
    "objects, a point each": lambda strokes: [
        [{"x": x, "y": y} for x, y in zip(*stroke, strict=True)] for stroke in strokes
    ],
    "an object of lists": lambda strokes: dict(zip("xy", zip(*strokes, strict=True), strict=True)),
    "a text of points": lambda strokes: json.dumps(points(strokes)),
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_shapes_of_strokes(shape: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.ndjson"
    rows = [{**row, "drawing": SHAPES[shape](row["drawing"])} for row in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read(path) == EXPECTED


AMBIGUOUS = [[[3, 0], [255, 40]], [[10, 255], [20, 0]]]


def test_strokes_of_two_points_are_what_the_file_s_other_drawings_are(
    tmp_path: pathlib.Path,
) -> None:
    as_lists = parse_drawing(json.dumps({"drawing": AMBIGUOUS}).encode()).strokes
    as_points = parse_drawing(json.dumps({"drawing": points(AMBIGUOUS)}).encode()).strokes
    assert as_lists != as_points
    for change, expected in ((list, as_lists), (points, as_points)):
        path = tmp_path / "cat.ndjson"
        others = [{"drawing": change(row["drawing"])} for row in ROWS]
        # The one that tells comes long after what is looked at first.
        path.write_text(
            f"{json.dumps({'drawing': AMBIGUOUS})}\n" * 2000 + "\n".join(map(json.dumps, others))
        )
        found = read(path)
        assert {drawing.strokes for drawing in found[:2000]} == {expected}
        assert [drawing.strokes for drawing in found[2000:]] == [one.strokes for one in EXPECTED]


def test_where_no_drawing_tells_other_files_do_or_it_is_a_reject(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cross.ndjson"
    path.write_text(json.dumps({"drawing": AMBIGUOUS}) + "\n")
    assert reasons(read(path)) == [
        "two or three points a stroke: [x, y] points or lists of x and of y? "
        "A file with longer strokes would tell."
    ]
    for change in (list, points):
        rows = [{"drawing": change(row["drawing"])} for row in ROWS]
        (tmp_path / "house.ndjson").write_text("\n".join(map(json.dumps, rows)))
        files = input_files.match_files([f"{tmp_path}/*.ndjson"])
        (found,) = input_files.read_drawings(input_files.WorkItem(files[0]))
        assert isinstance(found.drawing, Drawing)
        expected = json.dumps({"drawing": change(AMBIGUOUS)}).encode()
        assert found.drawing.strokes == parse_drawing(expected).strokes


@pytest.mark.parametrize(
    ("strokes", "layout"),
    [
        ([[[0, 500, 1000], [0, 250, 500], [0, 10, 20]]], "lists"),  # x, y and time of three points
        ([[[0, 500], [0, 250], [30, 10]]], "points"),  # no time goes back
        ([[[0, 500, 20], [0, 250, 10]]], "lists"),
        ([[[0, 500, 10], [0, 250, 20]]], "unknown"),
        ([[[0, 500], [0, 250]]], "unknown"),
        ([[[0, 1], [0, 1]], [[0, 1, 2], [0, 1, 2]]], "lists"),
        ([[[0, 1], [0, 1]], [[0, 1], [2, 3], [4, 5]]], "points"),
        ([[[0, 1]]], "points"),
        ([[[0], [1]]], "lists"),
        ([[[0, 1, 2, 3], [0, 1, 2, 3]]], "lists"),
        ([[[0, 1], [0, 1, 2]]], "unknown"),
        ([], "unknown"),
        ([[["a", "b"], ["c", "d"], ["e", "f"]]], "points"),
        ({"x": []}, "unknown"),
    ],
)
def test_the_layout_that_a_shape_shows(strokes: Any, layout: str) -> None:
    assert layout_of(strokes) == layout


def test_the_output_of_upstream_s_own_binary_parser(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.ndjson"
    rows = [
        {
            "key_id": int(row["key_id"]),
            "countrycode": "SE",
            "recognized": int(row["recognized"]),
            "timestamp": 1485553794,
            "image": row["drawing"],
        }
        for row in ROWS
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read(path) == [drawing._replace(word=None) for drawing in EXPECTED]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_id", 1.5),
        ("key_id", ["1"]),
        ("key_id", "k" * 256),
        ("key_id", ""),
        ("recognized", "yes"),
        ("recognized", [1]),
        ("timestamp", {"a": True}),
        ("countrycode", 7),
        ("word", None),
        ("word", ""),
    ],
)
def test_optional_fields_never_refuse_a_drawing(field: str, value: Any) -> None:
    drawing = parse_drawing(json.dumps({**ROWS[1], field: value}).encode())
    assert drawing == EXPECTED[1]._replace(**{field: None} if hasattr(drawing, field) else {})


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), (0, False), ("True", True), ("false", False), (1.0, True)]
)
def test_recognized_in_other_words(value: Any, expected: bool) -> None:
    found = parse_drawing(json.dumps({**ROWS[0], "recognized": value}).encode())
    assert found.recognized is expected


def test_a_key_that_pandas_made_a_float_is_the_integer() -> None:
    line = json.dumps({**ROWS[0], "key_id": 5000000000000001.0}).encode()
    assert parse_drawing(line).key_id == "5000000000000001"
