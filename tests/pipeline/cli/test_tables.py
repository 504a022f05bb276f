import pytest

from pipeline.cli import align, counted


def test_a_number_stands_before_a_noun_in_its_form():
    assert [counted(number, "line") for number in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
    assert [counted(number, "category") for number in (1, 1200)] == [
        "1 category",
        "1,200 categories",
    ]


def test_columns_line_up_and_lines_end_with_their_last_character():
    rows = [("category", "drawings"), ("cat", "1,200"), ("The Eiffel Tower", "7")]
    assert align(rows, "<>") == [
        "category          drawings",
        "cat                  1,200",
        "The Eiffel Tower         7",
    ]
    assert align([("a", ""), ("bb", "c")], "<<", gap=" | ") == ["a  |", "bb | c"]
    assert align([], "<>") == []


def test_a_row_with_a_cell_too_many_is_an_error():
    with pytest.raises(ValueError, match="argument"):
        align([("a", "b", "c")], "<<")
