"""Upstream's frame: where a simplified drawing lies, and what is done with one that does not."""

import re

# auto: normalise what does not lie in the frame. keep: draw it as it lies. normalise: all drawings.
FRAMES = ("auto", "keep", "normalise")
# Upstream moved its drawings to the origin, scaled them to 255 and then simplified them, which may
# take off a little. Of 92,384 real ones of 345 categories the larger of the two minima is at most 7
# but for 61, and of 4,750 of four other collections for none. The rasterizer takes the minima for
# 0, so that of a drawing that begins further in it pushes a part off the canvas, or all of it.
LARGEST_MINIMUM = 7
# Those 61 begin at 0 or 1 on the other axis, at 46 at most on this one, and reach 248 at least; so
# do few from a canvas. The study drew them, and none lost more than 11 % of its ink.
_RARE_MINIMA = (1, 46)
_RARE_MAXIMUM = 248

_find_near_zero = re.compile(b"[\\0-%c]" % LARGEST_MINIMUM).search


def lies_in_frame(packed: bytes) -> bool:
    """Tell whether a drawing looks like one of upstream's, which begin at the origin.

    Args:
      packed: see strokes.pack_strokes.
    """
    x = 2 + 2 * (packed[0] + 256 * packed[1])  # where they begin
    y = (x + len(packed)) // 2
    # Searches in C: most drawings have a zero on both axes, which takes a tenth of a microsecond to
    # find; min() of both takes three.
    if packed.find(0, x, y) >= 0 and packed.find(0, y) >= 0:
        return True
    if _find_near_zero(packed, x, y) and _find_near_zero(packed, y):
        return True
    smaller, larger = sorted((min(packed[x:y]), min(packed[y:])))
    is_rare = smaller <= _RARE_MINIMA[0] and larger <= _RARE_MINIMA[1]
    return is_rare and max(packed[x:]) >= _RARE_MAXIMUM
