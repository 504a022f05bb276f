"""Sections of the report about a data set: its drawings, counts, ink and origin."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from analysis import mean_drawings
from analysis.counts import plot_counts
from analysis.ink import plot_ink
from analysis.reading import bitmaps
from analysis.sections.page import (
    Column,
    TableCell,
    beside,
    drawings_image,
    element,
    facts,
    mean_image,
    picture,
    table,
)
from analysis.style import texts
from pipeline.cli import counted
from pipeline.dataset.manifests import SPLITS, Manifest

SPLIT = "train"
EXAMPLES = 8  # drawings shown of each category, and
FEW_EXAMPLES = 4  # where there are MANY categories: a page of 345 then stays below 8 MB
EXAMPLES_IN_A_ROW = 4
MEASURED = 1_000  # drawings of each category, at most, in means and in statistics of ink
MANY = 60  # categories: their examples are folded up


class Data(NamedTuple):
    """A data set directory."""

    directory: str
    manifest: Manifest


def origin(data: Data) -> list[Element]:
    """Return content, inputs and settings of the data set."""
    manifest = data.manifest
    splits = [
        f"{manifest.splits[name].records:,} {texts.SPLIT_NAMES[name]}"
        for name in SPLITS
        if manifest.splits[name].records
    ]
    size = sum(shard.bytes for split in manifest.splits.values() for shard in split.shards)
    image, sampling = manifest.image, manifest.sampling
    made_of = sum(each.get("bytes", 0) for each in manifest.inputs)
    pairs = {
        "Directory": data.directory,
        "Drawings": f"{', '.join(splits)}; {len(manifest.labels):,} categories",
        "Images": f"{image['width']}×{image['height']}, {image['encoding']}, {size / 1e6:,.1f} MB",
        "Made from": f"{counted(len(manifest.inputs), 'file')}, {made_of / 1e6:,.1f} MB",
        "Selection": ", ".join(
            f"{count:,} {name.replace('_', ' ')}"
            for name, count in (manifest.drawings | manifest.rejects).items()
            if count
        ),
        "Sampling": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sampling.items()),
        "Fingerprint": manifest.fingerprint,
        "Versions": ", ".join(f"{name} {v}" for name, v in manifest.versions.items()),
    }
    return [facts((name, text) for name, text in pairs.items() if text)]


def counts(data: Data) -> list[Element]:
    """Return the number of drawings of each category and split, in a sentence if all are equal."""
    manifest = data.manifest
    splits = [name for name in SPLITS if manifest.splits[name].records]
    columns = [
        Column("category", is_number=False),
        *(Column(texts.SPLIT_NAMES[name]) for name in splits),
    ]
    equal = {name: {*manifest.splits[name].class_counts.values()} for name in splits}
    if all(len(numbers) == 1 for numbers in equal.values()):
        each = " and ".join(
            f"{min(numbers):,} {texts.SPLIT_NAMES[name]}" for name, numbers in equal.items()
        )
        return [element("p", f"Every category has {each} drawings.")]
    rows = []
    for label in manifest.labels:
        numbers = [manifest.splits[name].class_counts[label] for name in splits]
        rows.append([TableCell(label), *(TableCell(f"{number:,}", number) for number in numbers)])
    figure = picture(
        plot_counts(data.directory), f"Drawings of each of {len(manifest.labels)} categories"
    )
    return beside(figure, table("Drawings", columns, rows))


def examples(data: Data) -> list[Element]:
    """Return the mean drawing of each category beside some of its drawings."""
    directory, manifest = data
    labels = bitmaps.choose_categories(directory, manifest, (), [SPLIT])
    number = FEW_EXAMPLES if len(labels) > MANY else EXAMPLES
    drawings = bitmaps.read_bitmaps(directory, manifest, SPLIT, labels, number)
    means = mean_drawings.read_means(directory, manifest, SPLIT, labels, MEASURED)
    shown = np.stack([mean.image for mean in means.values() if mean.drawings])
    end = float(np.percentile(shown, mean_drawings.PERCENTILE)) or 1.0
    cards = [
        _card(label, manifest.splits[SPLIT].class_counts[label], means[label], end, list(some))
        for label, some in drawings.items()
    ]
    text = (
        f"Left: the mean of up to {MEASURED:,} training drawings, black where {end:.0%} of them or "
        f"more have ink. Right: the first {number} in the data set's random order."
    )
    grid = element("ul", *cards, class_="examples")
    if len(labels) > MANY:
        grid = element("details", element("summary", f"All {len(labels):,} categories"), grid)
    return [element("p", text), grid]


def ink(data: Data) -> list[Element]:
    """Return the ink of the drawings of each category."""
    figure = plot_ink(data.directory, SPLIT, (), MEASURED)
    text = (
        f"The share of a bitmap's pixels with ink, of up to {MEASURED:,} training drawings of each "
        "category."
    )
    alt = f"Ink of the drawings of each of {len(data.manifest.labels)} categories"
    return [element("p", text), picture(figure, alt)]


SECTIONS: Mapping[str, Callable[[Data], list[Element]]] = {
    "Drawings": examples,
    "Counts": counts,
    "Ink": ink,
    "Origin": origin,
}


def _card(
    label: str, count: int, mean: mean_drawings.Mean, end: float, drawings: Sequence[np.ndarray]
) -> Element:
    """Return a category's mean beside drawings of it; `end` of the scale of means."""
    heading = element("p", element("strong", label), f" {count:,}")
    if not drawings:
        return element("li", heading, class_="card")
    left = mean_image(mean.image, end, f"Mean of {mean.drawings:,} drawings of {label}")
    alt = f"{len(drawings)} drawings of {label}"
    right = drawings_image(drawings, alt, EXAMPLES_IN_A_ROW)
    return element("li", heading, element("div", left, right, class_="strip"), class_="card")
