"""Random changes of training bitmaps, drawn and applied on the model's device.

The changes of a step are drawn for the global batch, as a function of a seed, and every replica
takes the rows of its own images: the result is the same on any number of replicas.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipeline.dataset.records import IMAGE_SIZE

# The numbers of each kind, uniform between two bounds. Drawings are scaled upstream until they fill
# the frame, so moves outwards cut them. All of this together cuts 1.7 % of the ink on average, and
# more than a quarter of it from 0.07 % of the drawings (10,350 real ones of 345 categories). Scales
# up to 1.15 would cut 4.9 %, and more than a quarter from 1.8 % of the drawings: squares and
# frames, whose lines lie on the border.
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "mirror": {"flip": (-1, 1)},  # a negative one mirrors: probability one half
    "shift": {"right": (-4, 4), "down": (-4, 4)},  # pixels, fractions too
    "scale": {"scale": (0.85, 1.05)},
    "rotate": {"angle": (-12, 12)},  # degrees, clockwise: at the border of the frame, 9 pixels
}
# The values that leave a drawing as it is, in the order in which they are drawn.
_NEUTRAL = {"flip": 1.0, "right": 0.0, "down": 0.0, "scale": 1.0, "angle": 0.0}

# The pen's width on a bitmap in pixels, which a scaled drawing keeps. With 2 the result has as much
# ink as when its strokes are scaled and drawn anew: 0.999 of it on the same real drawings.
_LINE_WIDTH = 2.0


def draw_transforms(count: tf.Tensor | int, kinds: Sequence[str], seed: tf.Tensor) -> tf.Tensor:
    """Draw a random change for each image of a batch.

    The row of an image depends on its index in the batch and on the seed alone. The numbers of one
    kind do not depend on the other kinds, nor on the device.

    Args:
      count: images in the global batch, over all replicas; a scalar.
      kinds: of `RANGES`.
      seed: [2] int32 or int64, another one for every step.

    Returns:
      [count, 8] float32, one row for each image, as `augment` takes them.

    Raises:
      KeyError: there is no such kind.
    """
    ranges = {name: (value, value) for name, value in _NEUTRAL.items()}
    for kind in kinds:
        ranges |= RANGES[kind]
    low, high = np.array(list(ranges.values()), np.float32).T
    # Philox by name: "auto_select" would draw other numbers on other devices. All five are always
    # drawn, so that each keeps its position in the sequence.
    uniform = tf.random.stateless_uniform([count, len(ranges)], seed, alg="philox")
    flip, right, down, scale, angle = tf.unstack(low + uniform * (high - low), axis=1)
    return _transforms(tf.where(flip < 0, -1.0, 1.0), right, down, scale, angle * (np.pi / 180))


def augment(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Apply a change to each image. XLA has no kernel for it: call it outside of XLA programs.

    Args:
      images: [B, 85, 85, 1] of 0 and 1, of any floating type.
      transforms: [B, 8] float32, the rows of `draw_transforms` for these images.

    Returns:
      Images of the same shape, type and values; pixels from outside are paper, 0.
    """
    interpolated = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),  # bfloat16 would round at the threshold
        transforms=transforms,
        output_shape=[IMAGE_SIZE, IMAGE_SIZE],
        fill_value=0.0,
        interpolation="BILINEAR",
    )
    return tf.cast(interpolated >= _ink_thresholds(transforms), images.dtype)


def _ink_thresholds(transforms: tf.Tensor) -> tf.Tensor:
    """Return the interpolated value from which a pixel becomes ink: [N, 8] → [N, 1, 1, 1].

    Interpolation turns the edge of a line into a ramp from 0 to 1 over one pixel of the image. One
    half cuts it where the edge was, and a line of width w comes out as scale · w. It stays w when
    the edges move outwards by d, w = scale · (w + 2 d), which a threshold of 1/2 - d does. Positive
    for scales above 2/3.
    """
    shrinkage = tf.norm(transforms[:, :2], axis=1)  # 1 / scale: rotated or not, mirrored or not
    thresholds = 0.5 - (shrinkage - 1) * (_LINE_WIDTH / 2)
    return thresholds[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _transforms(
    flip: tf.Tensor, right: tf.Tensor, down: tf.Tensor, scale: tf.Tensor, radians: tf.Tensor
) -> tf.Tensor:
    """Return matrices that map a pixel of the result to its position in the image.

    A drawing is mirrored (F), scaled (s) and rotated (R) about the centre c, then shifted: its
    point p, x to the right and y down, comes to lie at q = s R F (p - c) + c + shift. So
    p = F R⁻¹ (q - c - shift) / s + c, since F is its own inverse. Each argument is [N] float32,
    `flip` of -1 and 1.

    Returns:
      [N, 8]: (a0, a1, a2), (b0, b1, b2), the two rows of that affine map, and (0, 0), which keep
      it affine (tf.raw_ops.ImageProjectiveTransformV3).
    """
    centre = (IMAGE_SIZE - 1) / 2
    cosine, sine = tf.cos(radians) / scale, tf.sin(radians) / scale
    a0, a1 = flip * cosine, flip * sine
    b0, b1 = -sine, cosine
    x, y = centre + right, centre + down  # where the centre comes to lie
    a2 = centre - (a0 * x + a1 * y)
    b2 = centre - (b0 * x + b1 * y)
    zero = tf.zeros_like(scale)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
