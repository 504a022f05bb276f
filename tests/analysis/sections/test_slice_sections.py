"""Accuracy by recognition, country and number of strokes, where records hold these."""

import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from analysis.report import make_report
from analysis.sections import slice_sections
from pipeline.dataset import manifests
from tests.support.analysis_data import (
    write_dataset,
    write_evaluation,
    write_predictions,
    write_run,
)
from trainer.runs.predictions import Predictions

LABELS = ("cat", "cake")
PER_LABEL = 8
COUNT = len(LABELS) * PER_LABEL
FIELDS: list[dict[str, str | int]] = [
    {"countrycode": ["DE", "US", "US", ""][n % 4], "recognized": n % 3 - 1, "strokes": n + 1}
    for n in range(COUNT)
]


def write(root: pathlib.Path, fields: Sequence[Mapping[str, str | int]]) -> str:
    """A run of which the first three of each four drawings are right, and its data set."""
    data = root / "data"
    counts = dict.fromkeys(LABELS, 3)
    manifest = write_dataset(data, counts, validation=PER_LABEL, validation_fields=fields)
    examples = manifests.DataSet(str(data), manifest).examples("validation")
    truth = np.array([example.label for example in examples])
    run_dir = write_run(
        root / "run", labels=LABELS, dataset=str(data), dataset_fingerprint=manifest.fingerprint,
        drawings={"train": 6, "validation": COUNT}, precision="float32", learning_rate=0.001,
    )  # fmt: skip
    write_evaluation(run_dir, dict.fromkeys(LABELS, 6), PER_LABEL)
    top = np.stack([truth, 1 - truth, truth], axis=1).astype(np.int16)
    top[3::4, 0] = 1 - truth[3::4]
    shares = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (COUNT, 1))
    write_predictions(run_dir, Predictions(truth.astype(np.int16), shares[:, 0], top, shares))
    return run_dir


def rows_of(page: str, title: str) -> list[list[str]]:
    """Texts of the cells of a table's body, by rows."""
    (table,) = re.findall(rf'aria-label="{title}".*?</table>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("</thead>")[1], re.DOTALL)
    return [re.findall(r">([^<>]+)</t[dh]>", row) for row in rows]


def test_the_report_has_the_accuracy_of_each_part(tmp_path: pathlib.Path) -> None:
    page, missing = make_report([write(tmp_path, FIELDS)])
    assert not [line for line in missing if "field" in line]
    text = page.decode()
    countries = rows_of(text, "Country")
    assert [row[:3] for row in countries] == [
        ["US", "8", "1.000"],
        ["DE", "4", "1.000"],
        ["not known", "4", "0.000"],
    ]
    right = [n % 4 != 3 for n in range(COUNT)]
    for value, name in ((1, "recognized in the game"), (0, "not recognized in the game")):
        own = [is_right for n, is_right in enumerate(right) if FIELDS[n]["recognized"] == value]
        row = [name, str(len(own)), f"{sum(own) / len(own):.3f}"]
        assert row in [found[:3] for found in rows_of(text, "Recognition")]
    assert [row[:3] for row in rows_of(text, "Number of strokes")] == [
        ["1", "1", "1.000"],
        ["2", "1", "1.000"],
        ["3", "1", "1.000"],
        ["4", "1", "0.000"],
        ["5 to 6", "2", "1.000"],
        ["7 to 9", "3", "0.667"],
        ["10 or more", "7", "0.714"],
    ]


def test_a_data_set_without_such_fields_has_no_such_section(tmp_path: pathlib.Path) -> None:
    page, _ = make_report([write(tmp_path, ())])
    assert slice_sections.TITLE not in page.decode()


def test_rare_countries_share_a_row(tmp_path: pathlib.Path) -> None:
    letters = [*map("".join, itertools.product("AB", "CDEFGHIJ"))]
    fields: list[dict[str, str | int]] = [{"countrycode": name} for name in letters]
    assert len(fields) == COUNT
    page, _ = make_report([write(tmp_path, fields)])
    rows = rows_of(page.decode(), "Country")
    assert [row[0] for row in rows] == ["4 others", *letters[: slice_sections.MAX_COUNTRIES]]
    assert rows[0][1] == "4"
    assert slice_sections.TITLE in page.decode()


def test_records_that_lack_a_field_are_named(tmp_path: pathlib.Path) -> None:
    run_dir = write(tmp_path, [{"strokes": 3}] * COUNT)
    path = tmp_path / "data" / manifests.MANIFEST
    path.write_text(path.read_text().replace('"strokes"', '"recognized"'))
    _, missing = make_report([run_dir])
    assert f"{tmp_path}/data: a record lacks the field recognized" in missing


@pytest.mark.parametrize("strokes", [1, 4, 5, 6, 9, 10, 300])
def test_every_number_of_strokes_has_a_row(strokes: int) -> None:
    (name,) = slice_sections._by_strokes([strokes])
    low, *high = map(int, re.findall(r"\d+", name))
    assert low <= strokes <= (high[0] if high else low if name == str(low) else strokes)
