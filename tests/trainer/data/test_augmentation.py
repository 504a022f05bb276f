"""Augmentation: what each kind does to a bitmap, and that replicas see what one device would."""

import itertools
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipeline import synthetic
from pipeline.rasterize import rasterize
from tests.support.trainer_data import DEVICES
from trainer.config import AUGMENTATIONS
from trainer.data.augmentation import RANGES, augment, draw_transforms

STILL = [1, 0, 0, 0, 1, 0, 0, 0]  # the row that changes nothing


def seed(step: int) -> tf.Tensor:
    return tf.constant([5, step], tf.int64)


def drawings(count: int) -> list[list[list[list[int]]]]:
    """Strokes of made-up drawings, as many of each category."""
    return [
        json.loads(synthetic.drawing_line(category, index, seed=0))["drawing"]
        for index in range(-(-count // len(synthetic.CATEGORIES)))
        for category in synthetic.CATEGORIES
    ][:count]


def bitmaps(strokes) -> np.ndarray:
    return np.stack([rasterize(drawing) for drawing in strokes])[..., np.newaxis].astype(np.float32)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return bitmaps(drawings(240))


def pieces(images: np.ndarray) -> int:
    return sum(cv2.connectedComponents(image.astype(np.uint8))[0] - 1 for image in images)


def described(transforms: np.ndarray) -> dict[str, np.ndarray]:
    """Return what rows of `draw_transforms` do, from the inverse of their matrices."""
    inverse = np.linalg.inv(transforms[:, [0, 1, 3, 4]].reshape(-1, 2, 2).astype(float))
    centre = np.full(2, 42.0)
    moved = np.einsum("nij,nj->ni", inverse, centre - transforms[:, [2, 5]]) - centre
    return {
        "flip": np.sign(np.linalg.det(inverse)),
        "right": moved[:, 0],
        "down": moved[:, 1],
        "scale": np.sqrt(np.abs(np.linalg.det(inverse))),
        "angle": np.degrees(np.arctan2(-inverse[:, 0, 1], inverse[:, 1, 1])),
    }


def test_there_are_the_kinds_that_the_flag_names():
    assert tuple(RANGES) == AUGMENTATIONS


def test_without_a_kind_nothing_changes(images):
    transforms = draw_transforms(len(images), [], seed(1))
    np.testing.assert_array_equal(transforms, np.tile(np.float32(STILL), (len(images), 1)))
    np.testing.assert_array_equal(augment(images, transforms), images)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_a_kind_fills_its_ranges_and_leaves_the_rest_alone(kind):
    values = described(draw_transforms(4000, [kind], seed(1)).numpy())
    neutral = {"flip": 1, "right": 0, "down": 0, "scale": 1, "angle": 0}
    for name in neutral.keys() - RANGES[kind].keys():
        np.testing.assert_allclose(values[name], neutral[name], atol=1e-4)
    for name, (low, high) in RANGES[kind].items():
        assert values[name].min() >= low - 1e-4
        assert values[name].max() <= high + 1e-4
        tenth = (high - low) / 10
        assert values[name].min() < low + tenth
        assert values[name].max() > high - tenth
        assert values[name].mean() == pytest.approx((low + high) / 2, abs=tenth / 2)


def test_kinds_draw_the_same_together_as_alone():
    together = described(draw_transforms(500, AUGMENTATIONS, seed(1)).numpy())
    for kind in AUGMENTATIONS:
        alone = described(draw_transforms(500, [kind], seed(1)).numpy())
        for name in RANGES[kind]:
            np.testing.assert_allclose(together[name], alone[name], atol=1e-4)


def test_what_is_drawn_is_independent():
    values = described(draw_transforms(4000, AUGMENTATIONS, seed(1)).numpy())
    correlations = np.corrcoef(np.stack(list(values.values())))
    np.testing.assert_allclose(correlations, np.eye(len(values)), atol=0.07)


def test_about_half_are_mirrored_and_exactly(images):
    mirrored = described(draw_transforms(len(images), ["mirror"], seed(1)).numpy())["flip"] < 0
    result = augment(images, draw_transforms(len(images), ["mirror"], seed(1))).numpy()
    assert 90 < mirrored.sum() < 150
    np.testing.assert_array_equal(result[mirrored], images[mirrored, :, ::-1])
    np.testing.assert_array_equal(result[~mirrored], images[~mirrored])


def test_a_shift_by_whole_pixels_moves_every_pixel(images):
    right, down = 3, -2  # right, and up
    transforms = tf.constant([[1, 0, -right, 0, 1, -down, 0, 0]] * len(images), tf.float32)
    expected = np.zeros_like(images)
    expected[:, :down, right:] = images[:, -down:, :-right]
    np.testing.assert_array_equal(augment(images, transforms), expected)


def test_a_dot_goes_where_its_transform_says():
    """A disc off the centre, by all kinds at once; x to the right, y down."""
    y, x = np.mgrid[:85, :85]
    place = np.array([55.0, 30.0])
    dot = ((x - place[0]) ** 2 + (y - place[1]) ** 2 <= 5**2).astype(np.float32)
    transforms = draw_transforms(50, AUGMENTATIONS, seed(1))
    results = augment(np.tile(dot[np.newaxis, ..., np.newaxis], (50, 1, 1, 1)), transforms).numpy()
    values = described(transforms.numpy())
    for number, result in enumerate(results[..., 0]):
        flip, right, down, scale, angle = (values[name][number] for name in values)
        dx, dy = (place - 42) * (flip, 1) * scale
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        expected = (42 + cosine * dx - sine * dy + right, 42 + sine * dx + cosine * dy + down)
        found = np.argwhere(result)[:, ::-1].mean(axis=0)
        np.testing.assert_allclose(found, expected, atol=0.25)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.float16])
def test_the_result_is_the_same_bitmap_in_every_type(images, dtype):
    transforms = draw_transforms(len(images), AUGMENTATIONS, seed(1))
    result = augment(tf.cast(images, dtype), transforms)
    assert result.dtype == dtype
    assert result.shape == images.shape
    np.testing.assert_array_equal(np.unique(tf.cast(result, tf.float32)), [0, 1])
    np.testing.assert_array_equal(tf.cast(result, tf.float32), augment(images, transforms))


def test_blank_images_stay_blank():
    blank = tf.zeros([300, 85, 85, 1])
    assert not np.any(augment(blank, draw_transforms(300, AUGMENTATIONS, seed(1))))


def test_seed_and_step_decide():
    first = draw_transforms(20, AUGMENTATIONS, seed(1)).numpy()
    np.testing.assert_array_equal(draw_transforms(20, AUGMENTATIONS, seed(1)), first)
    as_int32 = draw_transforms(20, AUGMENTATIONS, tf.constant([5, 1], tf.int32))
    np.testing.assert_array_equal(as_int32, first)
    for other in ([5, 2], [6, 1], [1, 5]):
        assert not np.any(
            draw_transforms(20, AUGMENTATIONS, tf.constant(other))[:, 2].numpy() == first[:, 2]
        )


def test_no_two_images_of_a_batch_are_changed_alike():
    assert len(np.unique(draw_transforms(200, AUGMENTATIONS, seed(1)), axis=0)) == 200


@pytest.mark.parametrize("cuts", [(0, 8), (0, 4, 8), (0, 2, 5, 8), (0, 0, 1, 7, 8), (0, 0)])
def test_the_result_does_not_depend_on_how_replicas_share_the_batch(images, cuts):
    """Each draws for the whole batch and takes its own rows, of which there may be none."""
    batch = tf.constant(images[: cuts[-1]])
    parts = [
        replica_part(batch, start, stop, device)
        for device, (start, stop) in zip(DEVICES, itertools.pairwise(cuts), strict=False)
    ]
    expected = augment(batch, draw_transforms(len(batch), AUGMENTATIONS, seed(1)))
    np.testing.assert_array_equal(tf.concat(parts, axis=0), expected)
    assert not len(batch) or np.any(expected != batch)


def replica_part(batch: tf.Tensor, start: int, stop: int, device: str) -> tf.Tensor:
    """One replica's share, in a graph that knows no batch size."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, 85, 85, 1]), *[tf.TensorSpec([], tf.int32)] * 2]
    )
    def part(batch: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        transforms = draw_transforms(tf.shape(batch)[0], AUGMENTATIONS, seed(1))
        result = augment(batch[start:stop], transforms[start:stop])
        assert result.shape[1:] == (85, 85, 1)
        return result

    with tf.device(device):
        return part(batch, tf.constant(start), tf.constant(stop))


def test_a_row_does_not_depend_on_the_size_of_the_batch():
    many = draw_transforms(100, AUGMENTATIONS, seed(1)).numpy()
    for count in (1, 2, 33, 99):
        np.testing.assert_array_equal(draw_transforms(count, AUGMENTATIONS, seed(1)), many[:count])


@pytest.mark.parametrize("scale", [0.85, 0.95, 1.05])
def test_scaled_lines_are_as_wide_as_if_they_were_drawn_anew(scale):
    """Ink and unbroken lines, beside strokes that are scaled before the pen draws them."""
    strokes = drawings(240)
    anew = bitmaps(
        [
            [[np.rint(np.array(axis) * scale).astype(int) for axis in stroke] for stroke in drawing]
            for drawing in strokes
        ]
    )
    offset = 42 - 42 / scale
    transforms = tf.constant([[1 / scale, 0, offset, 0, 1 / scale, offset, 0, 0]] * 240, tf.float32)
    scaled = augment(bitmaps(strokes), transforms).numpy()
    assert scaled.sum() == pytest.approx(anew.sum(), rel=0.02)
    assert pieces(scaled) == pytest.approx(pieces(anew), rel=0.05)


def test_drawings_keep_most_of_their_ink(images):
    """Some is lost over the border, and shorter lines need less."""
    kept = []
    for step in range(4):
        result = augment(images, draw_transforms(len(images), AUGMENTATIONS, seed(step))).numpy()
        kept.extend(result.sum((1, 2, 3)) / images.sum((1, 2, 3)))
    assert 0.9 < np.mean(kept) < 0.96
    assert np.quantile(kept, 0.01) > 0.75
    assert np.max(kept) < 1.1
