"""HTML page of chapters, sections, tables and pictures, self-contained and usable offline.

Elements are those of the standard library's ElementTree, whose serializer escapes every text.
"""

import base64
import importlib.resources
import io
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.sections.inline_svg import inline_svg, separate_ids
from analysis.style import image_grid
from pipeline.cli import printable

# A browser may load nothing but what the page holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
SCRIPTS = ("page.js", "drawings.js", "explorer.js", "map.js")
NARROW = 700  # of CSS's pixels
FEW_GRAYS = 16  # fit in four bits a pixel
MEAN_STEP = 17  # gray levels, of 256: the 16 that remain fit in four bits a pixel
MANY_ROWS = 30  # of a table: one of more scrolls in itself
LINE_ENDS = {"h1", "h2", "h3", "p", "tr", "li", "div", "dd", "table", "figure", "section", "script"}


class Section(NamedTuple):
    """Content below a heading of the third level."""

    title: str
    content: Sequence[Element]
    is_folded: bool = False  # until the reader opens it


class Chapter(NamedTuple):
    """Sections below a heading of the second level."""

    title: str
    sections: Sequence[Section]


class Column(NamedTuple):
    """A column of a table."""

    header: str
    is_number: bool = True


class TableCell(NamedTuple):
    """A cell of a table."""

    text: str
    value: float | None = None  # by which numbers are sorted; None comes last either way
    link: str = ""  # the address on the page to which the text leads
    bar: float | None = None  # length of a bar behind the text, as a share of the column


def number_cell(value: float | None, form: str = ".3f") -> TableCell:
    """Return a number, or a dash for None and NaN."""
    if value is None or math.isnan(value):
        return TableCell("–", None)
    return TableCell(f"{value:{form}}", value)


def element(tag: str, *content: Element | str, **attributes: str | int) -> Element:
    """Return an element with its children; in attributes' names _ is -, and dropped at the end.

    `element("p", "a < b", class_="note")` is <p class="note">a &lt; b</p>.
    """
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    node = Element(tag, {names[name]: str(value) for name, value in attributes.items()})
    for child in content:
        if isinstance(child, Element):
            node.append(child)
        elif len(node):
            node[-1].tail = (node[-1].tail or "") + child
        else:
            node.text = (node.text or "") + child
    if tag in LINE_ENDS:
        node.tail = "\n"  # a page of one line is hard to read and to compare
    return node


def note(text: str) -> Element:
    """Return a paragraph that says what is missing, and why."""
    return element("p", text, class_="missing")


def facts(pairs: Iterable[tuple[str, str]]) -> Element:
    """Return a list of names and values."""
    items = [element("div", element("dt", name), element("dd", text)) for name, text in pairs]
    return element("dl", *items, class_="facts")


def picture(figure: Figure, alt: str) -> Element:
    """Return a figure as SVG in a box that scrolls where it is narrower than legible text.

    Args:
      figure: made with `figures.style()`.
      alt: a description for those who cannot see it.
    """
    attributes = {"class_": "picture", "role": "group", "aria_label": alt}
    return element("figure", inline_svg(figure), tabindex=0, **attributes)


def beside(picture_: Element, table_: Element) -> list[Element]:
    """Return a picture and a table, side by side if the picture leaves room for it."""
    if int(picture_[0].get("width", 0)) > NARROW:
        return [picture_, table_]
    return [element("div", picture_, table_, class_="beside")]


def packed_script(data: bytes) -> Element:
    """Return data that the page holds compressed, zlib in base64, for `inflate` of drawings.js."""
    # Level 9 takes seven times as long for 3 % less.
    return element("script", base64.b64encode(zlib.compress(data, 7)).decode(), type="text/plain")


def drawings_image(
    bitmaps: Sequence[np.ndarray], alt: str, columns: int | None = None, inks: Sequence[int] = ()
) -> Element:
    """Return bitmaps, [85, 85] each, as one picture; see `image_grid.arrange`."""
    return _image(image_grid.arrange(bitmaps, columns or len(bitmaps), inks), alt)


def mean_image(mean: np.ndarray, end: float, alt: str) -> Element:
    """Return a mean drawing, black where the share of drawings with ink is `end` or more.

    Args:
      mean: [85, 85] of shares from 0 to 1.
      end: above 0.
      alt: a description.
    """
    shares = np.minimum(mean / end, 1)
    levels = np.round(shares * (image_grid.PAPER // MEAN_STEP)) * MEAN_STEP
    return _image((image_grid.PAPER - levels).astype(np.uint8), alt)


def _image(pixels: np.ndarray, alt: str) -> Element:
    grays, places = np.unique(pixels, return_inverse=True)
    if len(grays) <= FEW_GRAYS:
        image = Image.fromarray(places.reshape(pixels.shape).astype(np.uint8), "P")
        image.putpalette(np.repeat(grays, 3).tolist())
    else:
        image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    height, width = pixels.shape
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return element("img", src=source, alt=alt, class_="ink", width=width, height=height)


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[TableCell]],
    sorted_by: tuple[int, str] | None = None,
) -> Element:
    """Return a sortable table in a box that scrolls where it is too wide or too long.

    Args:
      caption: for those who cannot see it.
      columns: from the left; the first one names the row.
      rows: with a cell for each column.
      sorted_by: the column by which the rows are sorted, and "ascending" or "descending".
    """
    headers = [element("th", column.header, scope="col", **_kind(column)) for column in columns]
    if sorted_by:
        headers[sorted_by[0]].set("aria-sort", sorted_by[1])
    lines = []
    for row in rows:
        cells = [_cell(column, cell) for column, cell in zip(columns, row, strict=True)]
        cells[0].tag = "th"
        cells[0].set("scope", "row")
        lines.append(element("tr", *cells))
    content = element("table", element("thead", element("tr", *headers)), element("tbody", *lines))
    kind = "table long" if len(lines) > MANY_ROWS else "table"
    return element("div", content, class_=kind, role="group", tabindex=0, aria_label=caption)


def section_id(chapter: int, title: str) -> str:
    """Return the id of a section, to which addresses lead."""
    return f"c{chapter}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}"


def to_html(title: str, heading: Sequence[Element], chapters: Sequence[Chapter]) -> bytes:
    """Return the page as a file.

    Args:
      title: of the browser's tab.
      heading: above all chapters.
      chapters: as listed in the table of contents.
    """
    contents, body = element("ol"), element("main", element("header", *heading))
    for i, chapter in enumerate(chapters, 1):
        items = []
        parent = element("section", element("h2", chapter.title), id=f"c{i}")
        for section in chapter.sections:
            name = section_id(i, section.title)
            content = section.content
            if section.is_folded:
                content = [element("details", element("summary", "Show"), *content)]
            parent.append(element("section", element("h3", section.title), *content, id=name))
            items.append(element("li", element("a", section.title, href=f"#{name}")))
        link = element("a", chapter.title, href=f"#c{i}")
        contents.append(element("li", link, *([element("ol", *items)] if items else [])))
        body.append(parent)
    navigation = element(
        "nav",
        element("details", element("summary", "Contents"), contents, open=""),
        aria_label="Contents",
    )
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", title),
            element("style", _resource("page.css")),
        ),
        element("body", navigation, body, element("script", *map(_resource, SCRIPTS))),
        lang="en",
    )
    separate_ids(page)
    _write_data_once(page)
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    return printable(f"<!DOCTYPE html>\n{text}\n").encode()


def _write_data_once(page: Element) -> None:
    """Keep the first of equal data in scripts, such as drawings of two runs; others name it."""
    first: dict[str, Element] = {}
    for script in page.iter("script"):
        if script.get("type") == "text/plain" and script.text:
            kept = first.setdefault(script.text, script)
            if kept is script:
                script.set("id", f"data-{len(first)}")
            else:
                script.set("data-same", kept.get("id", ""))
                script.text = None


def _kind(column: Column) -> dict[str, str]:
    return {"class_": "number"} if column.is_number else {}


def _cell(column: Column, cell: TableCell) -> Element:
    if not column.is_number:
        text = element("a", cell.text, href=cell.link) if cell.link else cell.text
        return element("td", text)
    value = "" if cell.value is None else f"{cell.value:.12g}"
    attributes = _kind(column)
    if cell.bar is not None:
        attributes = {"class_": "number bar", "style": f"--bar: {100 * cell.bar:.1f}%"}
    return element("td", cell.text, data_value=value, **attributes)


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")
