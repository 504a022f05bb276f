"""Data sets that cannot be trained on, and the line that says why."""

import os

import pytest

from pipeline.errors import RunError, UserError
from tests.trainer_data import write_dataset
from trainer.dataset_checks import ShardCheck, check_dataset


def test_a_whole_data_set_passes(tmp_path):
    manifest = write_dataset(tmp_path)
    check_dataset(str(tmp_path), manifest, batch_size=50)
    ShardCheck(str(tmp_path), manifest).raise_if_damaged(wait=True)


def test_a_missing_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path)
    path = tmp_path / manifest.splits["train"].shards[1].file
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: No such file"):
        check_dataset(str(tmp_path), manifest, 10)


def test_a_truncated_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path)
    shard = manifest.splits["validation"].shards[0]
    path = tmp_path / shard.file
    os.truncate(path, shard.bytes - 1)
    with pytest.raises(UserError, match=f"{path}: {shard.bytes - 1} bytes long, but {shard.bytes}"):
        check_dataset(str(tmp_path), manifest, 10)
    with pytest.raises(RunError, match=f"{path}: damaged"):
        ShardCheck(str(tmp_path), manifest).raise_if_damaged(wait=True)


def test_images_of_an_unknown_encoding_are_refused(tmp_path):
    manifest = write_dataset(tmp_path)
    manifest.image["encoding"] = "webp"
    with pytest.raises(UserError, match="images are webp; the trainer reads packed and png ones"):
        check_dataset(str(tmp_path), manifest, 10)


def test_a_batch_larger_than_the_training_split_is_refused(tmp_path):
    manifest = write_dataset(tmp_path, train=50)
    with pytest.raises(UserError, match=r"--batch_size=51 is larger .* 50 drawings"):
        check_dataset(str(tmp_path), manifest, 51)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_refused(tmp_path, split):
    manifest = write_dataset(tmp_path, **{split: 0})
    with pytest.raises(UserError, match=f"no drawings in its {split} split"):
        check_dataset(str(tmp_path), manifest, 1)
