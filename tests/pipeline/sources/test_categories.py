import pytest

from pipeline.sources import categories


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("a/b/cat.ndjson", "cat"),
        ("full_simplified_The Eiffel Tower.ndjson", "The Eiffel Tower"),
        ("gs://bucket/full_raw_t-shirt.ndjson", "t-shirt"),
        ("full_binary_sea turtle.bin", "sea turtle"),
        ("cat.ndjson.gz", "cat"),
        ("cat.bin.bz2", "cat"),
        # As browsers and tools name them
        ("full%2Fsimplified%2Fcat.ndjson", "cat"),
        ("full%2Fraw%2FThe%20Eiffel%20Tower.ndjson", "The Eiffel Tower"),
        ("full-binary-house.bin", "house"),
        ("cat (1).ndjson", "cat"),
        ("cat(12).ndjson", "cat"),
        ("cat.ndjson (1)", "cat"),
        ("full_binary_house (1).bin", "house"),
        ("cat.ndjson.1", "cat"),
        ("cat.jsonl", "cat"),
        ("cat.json", "cat"),
        ("cat.csv", "cat"),
        ("cat.parquet", "cat"),
        ("cat.ndjson.GZ", "cat"),
        ("cat.NDJSON", "cat"),
        ("100% cotton.ndjson", "100% cotton"),
    ],
)
def test_category_of_a_file(path: str, category: str) -> None:
    assert categories.category_of(path) == category


@pytest.mark.parametrize(
    "names",
    [
        ["drawings.json"],
        ["000.ndjson", "001.ndjson"],
        ["drawing (1).json", "drawing (2).json", "drawing.json"],
        ["drawing_1.json", "drawing_2.json"],
        ["anna.json", "ben.json"],
        ["3f2c9a10-11ab-4c0d-9e1f-aabbccddeeff.json", "9c04f7e1.json"],
    ],
)
def test_a_folder_for_each_category(names: list[str]) -> None:
    paths = [f"in/{folder}/{name}" for folder in ("cat", "sea turtle") for name in names]
    expected = ["cat"] * len(names) + ["sea turtle"] * len(names)
    assert categories.file_categories(paths) == expected
    assert categories.file_categories(paths, ["sea turtle", "cat"]) == expected


def test_folders_that_hold_categories_or_kinds_of_data_are_none() -> None:
    paths = ["animals/cat.ndjson", "animals/dog.ndjson", "food/cake.ndjson"]
    assert categories.file_categories(paths) == ["cat", "dog", "cake"]
    paths = ["raw/cat.ndjson", "simplified/cat.ndjson", "train/7.json", "test/7.json"]
    assert categories.file_categories(paths) == ["", "", "", ""]
    assert categories.file_categories(paths, ["cat"]) == ["cat", "cat", "", ""]
    assert categories.file_categories(["in/0.ndjson", "in/1.ndjson"]) == ["0", "1"]


def test_labels_tell_files_of_different_names_by_their_folders() -> None:
    paths = ["cat/anna.json", "dog/ben.json"]
    assert categories.file_categories(paths) == ["anna", "ben"]
    assert categories.file_categories(paths, ["cat", "dog"]) == ["cat", "dog"]
