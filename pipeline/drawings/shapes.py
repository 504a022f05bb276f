"""Shapes in which people write strokes → the one of upstream: lists of x, of y, and of time.

Upstream's stroke is [[x, …], [y, …]], with the times as a third list in raw drawings. Others are
points, [[x, y], …] or [[x, y, time], …]; objects, {"x": [x, …], "y": [y, …]} or [{"x": x, "y": y},
…]; and, as Hugging Face's `datasets` turns lists of objects around, a drawing {"x": [[x, …], …],
"y": …}. Objects say what they are. Of lists the shape does, unless each stroke has two or three
points, and the times, which do not go back, if there are any: else they are what the other drawings
of the file are, its layout.
"""

from typing import Any

from pipeline.drawings.reject import Ambiguous, Reject

LISTS, POINTS, UNKNOWN = "lists", "points", "unknown"  # layouts
_AXES = (2, 3)  # numbers of lists in a stroke, or of numbers in a point
_TIMES = ("t", "time", "times", "timestamp")


def layout_of(strokes: Any) -> str:
    """Return the layout that the shape of a drawing shows; UNKNOWN if it may be either, or none."""
    if type(strokes) is not list or not strokes:
        return UNKNOWN
    counts, lengths = set(), set()
    for stroke in strokes:
        if type(stroke) is not list or not stroke or any(type(each) is not list for each in stroke):
            return UNKNOWN
        sizes = set(map(len, stroke))
        if len(sizes) != 1:
            return UNKNOWN
        counts.add(len(stroke))
        lengths |= sizes
    may_be_lists = len(counts) == 1 and counts <= set(_AXES) and 0 not in lengths
    may_be_points = len(lengths) == 1 and lengths <= set(_AXES)
    if may_be_lists and may_be_points:  # times never go back
        may_be_lists = counts == {2} or all(_ascends(stroke[2]) for stroke in strokes)
        may_be_points = lengths == {2} or all(_ascends([p[2] for p in s]) for s in strokes)
    if may_be_lists == may_be_points:
        return UNKNOWN
    return LISTS if may_be_lists else POINTS


def _ascends(values: list[Any]) -> bool:
    return all(type(value) in (int, float) for value in values) and values == sorted(values)


def as_lists(strokes: Any, layout: str) -> Any:
    """Return the strokes as lists of x, of y and, where they are known, of times.

    What is of no shape is returned as it is.

    Args:
      strokes: a list of strokes of any shape above, or Hugging Face's object of lists.
      layout: of the file; UNKNOWN if no drawing in it tells.

    Raises:
      Ambiguous: the strokes may be points as well as lists, and the layout is not known.
      Reject: the strokes are not points in a file of points.
    """
    if type(strokes) is dict:
        strokes = _turn(strokes)
    if type(strokes) is not list or not strokes:
        return strokes
    if any(type(stroke) is dict or _are_objects(stroke) for stroke in strokes):
        return [_of_objects(stroke) for stroke in strokes]
    if layout == UNKNOWN:
        layout = layout_of(strokes)
        if layout == UNKNOWN and _is_of_numbers(strokes):
            raise Ambiguous
    return [_transpose(stroke) for stroke in strokes] if layout == POINTS else strokes


def _turn(drawing: dict[str, Any]) -> Any:
    """Turn {"x": [[x, …], …], "y": …} into a list of objects, a stroke each."""
    columns = _axes(drawing)
    if not columns or any(type(column) is not list for column in columns):
        return drawing
    if len({len(column) for column in columns}) != 1:
        raise Reject("the coordinate lists of a drawing differ in length")
    return [dict(zip("xyt", stroke, strict=False)) for stroke in zip(*columns, strict=True)]


def _of_objects(stroke: Any) -> Any:
    """Return the lists of a stroke that is an object, or a list of them; another as it is."""
    if type(stroke) is dict:
        return _axes(stroke) or stroke
    if not _are_objects(stroke):
        return stroke
    points = [_axes(point) for point in stroke]
    if not all(points) or len({len(point) for point in points}) != 1:
        return stroke
    return [list(axis) for axis in zip(*points, strict=True)]


def _axes(fields: dict[str, Any]) -> list[Any]:
    """Return x, y and maybe time of an object; nothing if it has no x and y."""
    if "x" not in fields or "y" not in fields:
        return []
    times = [fields[name] for name in _TIMES if fields.get(name) is not None]
    return [fields["x"], fields["y"], *times[:1]]


def _are_objects(stroke: Any) -> bool:
    return type(stroke) is list and bool(stroke) and all(type(point) is dict for point in stroke)


def _is_of_numbers(strokes: list[Any]) -> bool:
    """Tell whether every stroke is two or three lists of two or three numbers each."""
    return all(
        type(stroke) is list
        and len(stroke) in _AXES
        and all(type(each) is list and len(each) in _AXES for each in stroke)
        and len(set(map(len, stroke))) == 1
        for stroke in strokes
    )


def _transpose(stroke: Any) -> list[list[Any]]:
    if type(stroke) is not list or any(type(point) is not list for point in stroke):
        raise Reject("a stroke is not a list of points")
    if not stroke:
        raise Reject("a stroke has no points")
    sizes = set(map(len, stroke))
    if len(sizes) != 1 or not sizes <= set(_AXES):
        raise Reject("a point is not x and y, nor x, y and time")
    return [list(axis) for axis in zip(*stroke, strict=True)]
