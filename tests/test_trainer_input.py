"""From shards to batches: what comes, in which order, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline import dataset, records
from tests.trainer_data import images_in_files, write_dataset
from trainer.input_pipeline import evaluation_batches, training_batches, unpack_bitmaps


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("data"))
    return directory, write_dataset(directory, train=90, validation=23, shards=4)


def epoch_images(data, seed, epoch, batch_size=8):
    batches = training_batches(*data, batch_size, seed=seed, epoch=epoch)
    return [row.tobytes() for batch in batches for row in batch.images.numpy()]


def test_an_epoch_holds_every_example_once(data):
    images = epoch_images(data, seed=1, epoch=1)
    assert sorted(images) == sorted(images_in_files(*data, "train"))
    assert images != images_in_files(*data, "train")


def test_the_order_depends_on_seed_and_epoch_alone(data):
    first = epoch_images(data, seed=1, epoch=1)
    assert epoch_images(data, seed=1, epoch=1, batch_size=50) == first
    others = [epoch_images(data, *key) for key in ((1, 2), (2, 1), (2, 2))]
    assert len({tuple(images) for images in [first, *others]}) == 4


def test_labels_stay_with_their_images(data):
    directory, manifest = data
    labels = {
        example.image: example.label
        for example in dataset.read_examples(directory, manifest, "train")
    }
    for batch in training_batches(directory, manifest, 8, seed=1, epoch=1):
        for image, label in zip(batch.images.numpy(), batch.labels.numpy(), strict=True):
            assert labels[image.tobytes()] == label


def test_evaluation_follows_the_files(data):
    batches = list(evaluation_batches(*data, "validation", 8))
    images = [row.tobytes() for batch in batches for row in batch.images.numpy()]
    assert images == images_in_files(*data, "validation")
    assert [len(batch.labels) for batch in batches] == [8, 8, 7]


@pytest.mark.parametrize("skip", [1, 5, 12])
def test_an_epoch_goes_on_after_the_batches_that_were_seen(data, skip):
    images = epoch_images(data, seed=1, epoch=1)
    batches = training_batches(*data, 8, seed=1, epoch=1, skip=skip)
    rest = [row.tobytes() for batch in batches for row in batch.images.numpy()]
    assert rest == images[8 * skip :]


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_unpacking_restores_the_bitmaps(data, dtype):
    packed = images_in_files(*data, "train")
    unpacked = unpack_bitmaps(
        tf.constant(np.stack([np.frombuffer(image, np.uint8) for image in packed])), dtype
    )
    assert unpacked.dtype == dtype
    expected = np.stack([records.unpack_bitmap(image) for image in packed])[..., np.newaxis]
    np.testing.assert_array_equal(tf.cast(unpacked, tf.uint8), expected)
