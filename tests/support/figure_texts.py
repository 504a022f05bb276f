"""Shared code of the tests of pictures: where the texts of a figure are."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Of many lengths, and more than any real data set has.
LABELS = [
    f"{word} {i}"
    for i in range(69)
    for word in ("The Great Wall of China", "ant", "aircraft carrier", "rollerskates", "hot tub")
]


def text_boxes(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """(text, [x0, y0, x1, y1] in pixels) of every text that is drawn."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [*axes.texts, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts.append(axis.label)
            for tick in axis.get_major_ticks():
                if low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    texts += [tick.label1, tick.label2]
    return [
        (text.get_text(), np.array(text.get_window_extent().extents))
        for text in texts
        if text.get_visible() and text.get_text().strip()
    ]


def assert_texts_are_apart(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """No text lies on another or reaches over the edge of the figure; returns `text_boxes`."""
    found = text_boxes(figure)
    texts, boxes = zip(*found, strict=True)
    low, high = np.array(boxes)[:, :2], np.array(boxes)[:, 2:]
    outside = (low < 0).any(axis=1) | (high > figure.bbox.max).any(axis=1)
    assert not outside.any(), [texts[i] for i in np.flatnonzero(outside)]
    overlaps = (low[:, None] < high[None]).all(axis=2) & (low[None] < high[:, None]).all(axis=2)
    np.fill_diagonal(overlaps, False)
    assert not overlaps.any(), [(texts[i], texts[j]) for i, j in np.argwhere(overlaps)[:5]]
    return found
