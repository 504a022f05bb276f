"""Figures as SVG elements of the page: text stays text, colours follow the page's scheme."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from analysis.style import figures

PIXELS_PER_INCH = 115  # of CSS, where 96 is life-size: small print of papers is too small here
# Least width, as a share of the full one: the smallest text, of 6.5 points, then has nine pixels.
LEAST_SCALE = 0.88
_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"(?:url\()?#([\w.-]+)\)?")
# Variables of page.css in the place of the figures' colours.
VARIABLES = {
    figures.TEXT: "var(--text)",
    figures.MUTED: "var(--muted)",
    figures.GRID: "var(--line)",
    "#ffffff": "var(--paper)",
    **{colour: f"var(--colour-{i})" for i, colour in enumerate(figures.COLOURS)},
}
VARIABLES |= {
    figures.faint(colour): f"color-mix(in srgb, {VARIABLES[colour]} 40%, var(--paper))"
    for colour in (figures.TEXT, *figures.COLOURS)
}


def inline_svg(figure: Figure) -> Element:
    """Return a figure as an <svg> element; see `figures.tooltip` for what it says of its parts."""
    root = ElementTree.fromstring(figures.render(figure, "svg"))
    root[:] = [child for child in root if _name(child) == "g"]  # no metadata, no rule for all
    for node in root.iter():
        _adapt(node)
    width, height = (round(side * PIXELS_PER_INCH) for side in figure.get_size_inches())
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "width": str(width),
        "height": str(height),
        "style": f"min-width: {round(LEAST_SCALE * width)}px",
    }
    return root


def _name(node: Element) -> str:
    return node.tag.rpartition("}")[2]


def _references(node: Element) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the attributes that refer to another element: their names and its id."""
    for name in ("href", "clip-path"):
        if match := _REFERENCE.fullmatch(node.get(name, "")):
            yield name, match


def separate_ids(page: Element) -> None:
    """Give the ids in each <svg> of the page a prefix of its own, and drop unused ones."""
    for number, root in enumerate(page.iter("svg"), 1):
        used = {match[1] for node in root.iter() for _, match in _references(node)}
        for node in root.iter():
            if identifier := node.attrib.pop("id", ""):
                node.attrib |= {"id": f"s{number}-{identifier}"} if identifier in used else {}
            for name, match in list(_references(node)):
                node.set(name, match[0].replace("#", f"#s{number}-"))


def _adapt(node: Element) -> None:
    """Write an element as the page does: name without the namespace, colours, font."""
    node.tag = _name(node)  # HTML writes no namespace
    node.text, node.tail = ((text or "").strip() or None for text in (node.text, node.tail))
    if _HREF in node.attrib:
        node.set("href", node.attrib.pop(_HREF))
    if "style" in node.attrib:
        style = re.sub(r"font-family: [^;]*;? ?", "", node.attrib["style"])
        node.set("style", re.sub(r"#\w{6}", lambda found: _colour(found[0]), style))
    if "d" in node.attrib:
        node.set("d", " ".join(node.attrib["d"].split()))
    if node.get("transform", "").startswith("rotate(-0 "):
        del node.attrib["transform"]


def _colour(colour: str) -> str:
    return VARIABLES.get(colour, colour)
