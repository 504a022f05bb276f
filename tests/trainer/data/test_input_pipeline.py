"""From shards to batches: what comes, in which order, and what is refused."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipeline.dataset import manifests, records
from tests.support.trainer_data import DEVICES, images_in_files, write_dataset
from trainer.data import input_pipeline
from trainer.data.input_pipeline import (
    evaluation_batches,
    evaluation_order,
    training_batches,
    unpack_bitmaps,
)
from trainer.hardware.devices import make_strategy
from trainer.hardware.hosts import ONE_HOST, Hosts
from trainer.hardware.replicas import gather_rows, replica_slice

# Readers of one shard and of two, of very different sizes.
SHARDS = [9, 3, 0, 14, 1, 8, 8, 2, 11, 5, 6, 7, 4, 10, 1, 12, 3, 1, 6]
BATCH_SIZE = 8
STEPS = -(-sum(SHARDS) // BATCH_SIZE)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("data"))
    return manifests.DataSet(
        directory, write_dataset(directory, train=SHARDS, validation=23, shards=4)
    )


@pytest.fixture(scope="module")
def epoch(data):
    """[step][row]: the images of an epoch."""
    return global_batches(data)


def train_batches(data, hosts=ONE_HOST, seed=1, epoch=1, batch_size=BATCH_SIZE, skip=0):
    return training_batches(data, batch_size, seed=seed, epoch=epoch, skip=skip, hosts=hosts)


def global_batches(data, hosts=1, make=train_batches, **settings):
    """[step][row]: the images of the global batches, put together of those of all hosts."""
    of_hosts = [make(data, hosts=Hosts(hosts, index), **settings) for index in range(hosts)]
    steps = []
    for parts in zip(*of_hosts, strict=True):
        images = []
        for part in parts:
            first, rows, count = (int(number) for number in part.slice)
            assert first == len(images)
            # A host that has none of a batch gets a blank row: a convolution cannot do without.
            assert len(part.examples.images) == len(part.examples.labels) == max(rows, 1)
            images += [row.tobytes() for row in part.examples.images.numpy()[:rows]]
        assert len(images) == count
        steps.append(images)
    return steps


def flat(steps):
    return [image for step in steps for image in step]


def test_an_epoch_holds_every_example_once(data, epoch):
    assert sorted(flat(epoch)) == sorted(images_in_files(data, "train"))
    assert flat(epoch) != images_in_files(data, "train")


@pytest.mark.parametrize("batch_size", [1, 3, 8, 50, 110, 111])
def test_batches_differ_by_one_row_at_most(data, batch_size):
    sizes = [len(batch.examples.labels) for batch in train_batches(data, batch_size=batch_size)]
    assert len(sizes) == -(-sum(SHARDS) // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("hosts", [2, 3, 4])
def test_the_batches_are_the_same_on_any_number_of_hosts(data, epoch, hosts):
    assert global_batches(data, hosts) == epoch


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_replicas_divide_the_same_batches(data, epoch, hosts):
    strategy = make_strategy(DEVICES[:2])

    @tf.function
    def rows_of_replicas(batch):
        def own(batch):
            local, rows = replica_slice(batch.slice)
            return batch.examples.images[rows][: local.rows]

        return gather_rows(strategy, strategy.run(own, args=(batch,)))

    of_hosts = [train_batches(data, hosts=Hosts(hosts, index)) for index in range(hosts)]
    for parts, images in zip(zip(*of_hosts, strict=True), epoch, strict=True):
        divided = np.concatenate([rows_of_replicas(part).numpy() for part in parts])
        assert [row.tobytes() for row in divided] == images


def test_an_epoch_goes_on_after_any_step_on_any_number_of_hosts(data, monkeypatch):
    monkeypatch.setattr(input_pipeline, "SHUFFLED_RECORDS", 48)  # several blocks of a reader
    monkeypatch.setattr(input_pipeline, "GROUPED_RECORDS", 16)
    whole = global_batches(data)
    assert sorted(flat(whole)) == sorted(images_in_files(data, "train"))
    skips = np.random.default_rng(0).integers(1, STEPS, 10)
    for skip, hosts in zip(skips, [1, 2, 3, 4, 2] * 2, strict=True):
        assert global_batches(data, hosts, skip=int(skip)) == whole[skip:]
    assert global_batches(data, 2, skip=STEPS) == []


def test_an_epoch_that_goes_on_opens_no_shard_that_it_has_finished(data, tmp_path, monkeypatch):
    monkeypatch.setattr(input_pipeline, "SHUFFLED_RECORDS", 16)
    rest = global_batches(data, skip=STEPS - 1)
    opened = []
    original = input_pipeline._stack
    monkeypatch.setattr(
        input_pipeline, "_stack", lambda readings: opened.extend(readings) or original(readings)
    )
    train_batches(data, skip=STEPS - 1)
    needed = {os.path.basename(path) for reading in opened for path in reading.paths}
    assert len(needed) < len(SHARDS)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in needed:
        shutil.copy(os.path.join(data.directory, name), copy)
    assert global_batches(manifests.DataSet(str(copy), data.manifest), skip=STEPS - 1) == rest


def test_batches_follow_from_seed_and_epoch_alone(data, epoch):
    tf.random.set_seed(7)
    assert global_batches(data) == epoch
    keys = [(1, 2), (2, 1), (2, 2)]
    others = [global_batches(data, seed=seed, epoch=number) for seed, number in keys]
    assert len({tuple(flat(steps)) for steps in [epoch, *others]}) == 4
    for other in others:  # not the same batches with their rows in another order
        shared = [len(set(one) & set(two)) for one, two in zip(epoch, other, strict=True)]
        assert np.mean(shared) < BATCH_SIZE / 2


def test_records_of_far_apart_shards_and_of_a_whole_shard_mix(tmp_path):
    mixed = manifests.DataSet(str(tmp_path), write_dataset(tmp_path, train=640, shards=16))
    places = {image: n for n, image in enumerate(images_in_files(mixed, "train"))}
    steps = global_batches(mixed, batch_size=32)
    for step in steps:  # two rows of each shard
        assert len({places[image] // 40 for image in step}) >= 14
    order = np.array([places[image] for image in flat(steps)])
    within = order % 40  # where in its shard a drawing stands
    for half in np.split(within, 2):
        assert abs(half.mean() - 19.5) < 3  # 19.5 ± 0.65 for a random half
    for shard in range(16):
        of_shard = within[order // 40 == shard]
        assert abs(np.corrcoef(of_shard, np.arange(40))[0, 1]) < 0.6  # 3.8 standard deviations


def test_labels_stay_with_their_images(data):
    labels = {example.image: example.label for example in data.examples("train")}
    for batch in train_batches(data):
        images, labels_of_batch = (column.numpy() for column in batch.examples)
        for image, label in zip(images, labels_of_batch, strict=True):
            assert labels[image.tobytes()] == label


@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 6])  # more than the split has readers
@pytest.mark.parametrize("batch_size", [1, 5, 8, 23, 100])
def test_evaluation_has_every_example_once_where_its_order_says(data, hosts, batch_size):
    def make(data, hosts):
        return evaluation_batches(data, "validation", batch_size, hosts=hosts)

    steps = global_batches(data, hosts, make)
    places = evaluation_order(data.split("validation"), batch_size)
    in_files = images_in_files(data, "validation")
    assert flat(steps) == [in_files[place] for place in places]
    assert sorted(places) == list(range(23))
    assert max(map(len, steps)) - min(map(len, steps)) <= 1


def test_png_images_give_the_batches_of_packed_ones(data, tmp_path):
    manifest = write_dataset(tmp_path, train=SHARDS, validation=23, shards=4, encoding="png")
    pngs = manifests.DataSet(str(tmp_path), manifest)
    pairs = zip(train_batches(pngs), train_batches(data), strict=True)
    for png, packed in pairs:
        np.testing.assert_array_equal(png.examples.images, packed.examples.images)
        np.testing.assert_array_equal(png.examples.labels, packed.examples.labels)


@pytest.mark.parametrize(
    "png", [b"no PNG", records.encode_pngs(np.zeros((1, 85, 84), np.uint8))[0]]
)
def test_a_png_that_is_damaged_or_of_another_size_is_an_error(tmp_path, monkeypatch, png):
    monkeypatch.setitem(records.ENCODERS, "png", lambda bitmaps: [png] * len(bitmaps))
    manifest = write_dataset(tmp_path, encoding="png")
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(train_batches(manifests.DataSet(str(tmp_path), manifest)))


def test_a_shard_with_fewer_records_than_the_manifest_says_is_an_error(tmp_path):
    manifest = write_dataset(tmp_path, train=50)
    path = tmp_path / manifest.splits["train"].shards[2].file
    record = 12 + len(records.encode_example(bytes(records.PACKED_BYTES), 0, b"train-40")) + 4
    path.write_bytes(path.read_bytes()[:-record])
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(train_batches(manifests.DataSet(str(tmp_path), manifest)))


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_unpacking_restores_the_bitmaps(data, dtype):
    packed = images_in_files(data, "train")
    unpacked = unpack_bitmaps(
        tf.constant(np.stack([np.frombuffer(image, np.uint8) for image in packed])), dtype
    )
    assert unpacked.dtype == dtype
    expected = np.stack([records.unpack_bitmap(image) for image in packed])[..., np.newaxis]
    np.testing.assert_array_equal(tf.cast(unpacked, tf.uint8), expected)
