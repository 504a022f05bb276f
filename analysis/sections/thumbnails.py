"""Bitmaps as small pictures of an HTML page, which may be laid out anew at every width."""

import io
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from analysis.sections.page import image_element
from analysis.style.tiles import INK, PAPER
from pipeline.dataset.records import IMAGE_SIZE

GAP = 11  # pixels between drawings
FEW_GRAYS = 16  # fit in four bits a pixel
MEAN_STEP = 8  # gray levels, of 256: finer ones are not seen and take twice the bytes


def drawings_image(
    bitmaps: Sequence[np.ndarray], alt: str, columns: int | None = None, inks: Sequence[int] = ()
) -> Element:
    """Drawings in rows as one picture.

    Args:
      bitmaps: [85, 85] of 0 and 1, at least one.
      alt: what they show.
      columns: in a row; all if None.
      inks: the gray level of each; black if empty.
    """
    columns = columns or len(bitmaps)
    cell = IMAGE_SIZE + GAP
    rows = -(-len(bitmaps) // columns)
    pixels = np.full((rows * cell - GAP, columns * cell - GAP), PAPER, np.uint8)
    for i, bitmap in enumerate(bitmaps):
        top, left = (cell * place for place in divmod(i, columns))
        gray = np.where(bitmap, inks[i] if inks else INK, PAPER)
        pixels[top : top + IMAGE_SIZE, left : left + IMAGE_SIZE] = gray
    return _image(pixels, alt)


def mean_image(mean: np.ndarray, end: float, alt: str) -> Element:
    """A mean drawing, black where the share of drawings with ink is `end` or more.

    Args:
      mean: [85, 85] of shares from 0 to 1.
      end: above 0.
      alt: what it shows.
    """
    shares = np.minimum(mean / end, 1)
    levels = np.round(shares * (PAPER // MEAN_STEP)) * MEAN_STEP
    return _image((PAPER - levels).astype(np.uint8), alt)


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
    return image_element("png", buffer.getvalue(), alt, class_="ink", width=width, height=height)
