"""Data sets that are not what their manifest says, and the line that says why."""

import os
import pathlib
import shutil

import pytest

from pipeline.cli import RunError, UserError
from pipeline.dataset import manifests, records
from tests.support.trainer_data import write_dataset
from trainer.data.input_pipeline import evaluation_batches
from trainer.data.verified_data import TRAINING_SPLITS, VerifiedData
from trainer.hardware import storage


def open_data(directory, splits=TRAINING_SPLITS):
    return VerifiedData(str(directory), splits)


def test_a_whole_data_set_passes(tmp_path):
    write_dataset(tmp_path)
    data = open_data(tmp_path)
    data.check_trainable(batch_size=50)
    data.start().raise_if_damaged(wait=True)
    assert data.is_verified


def test_a_missing_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path)
    path = tmp_path / manifest.splits["train"].shards[1].file
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: No such file"):
        open_data(tmp_path)


def test_a_truncated_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path)
    shard = manifest.splits["validation"].shards[0]
    path = tmp_path / shard.file
    data = open_data(tmp_path)
    os.truncate(path, shard.bytes - 1)
    with pytest.raises(UserError, match=f"{path}: {shard.bytes - 1} bytes long, but {shard.bytes}"):
        open_data(tmp_path)
    with pytest.raises(RunError, match=f"{path}: damaged"):
        data.start().raise_if_damaged(wait=True)
    assert not data.is_verified


def test_images_of_an_unknown_encoding_are_refused(tmp_path):
    manifest = write_dataset(tmp_path)
    text = manifest.to_json().replace('"packed"', '"webp"')
    (tmp_path / manifests.MANIFEST).write_text(text)
    with pytest.raises(UserError, match="images of an unknown encoding, webp"):
        open_data(tmp_path)


def test_a_batch_larger_than_the_training_split_is_refused(tmp_path):
    write_dataset(tmp_path, train=50)
    with pytest.raises(
        UserError, match=r"--batch_size=51 is larger .* 50 drawings; give --batch_size=50 or"
    ):
        open_data(tmp_path).check_trainable(51)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_refused(tmp_path, split):
    write_dataset(tmp_path, **{split: 0})
    with pytest.raises(UserError, match=f"no drawings in its {split} split"):
        open_data(tmp_path)


def replace_shard(directory: pathlib.Path, split: str, content: bytes | None = None) -> str:
    """Puts content, or another data set's shard of the same length, in a shard's place."""
    manifest = manifests.read_manifest(str(directory))
    shard = manifest.splits[split].shards[1]
    if content is None:
        write_dataset(f"{directory}-other", seed=1)
        shutil.copy(f"{directory}-other/{shard.file}", directory / shard.file)
    else:
        (directory / shard.file).write_bytes(content)
    return str(directory / shard.file)


def test_reading_examples_refuses_a_shard_of_another_data_set(tmp_path):
    manifest = write_dataset(tmp_path / "data")
    path = replace_shard(tmp_path / "data", "validation")
    with pytest.raises(UserError, match=f"^{path}: damaged, or of another data set$"):
        list(manifests.DataSet(str(tmp_path / "data"), manifest).examples("validation"))


def test_a_shard_that_was_compared_before_is_not_read_again(tmp_path, monkeypatch):
    manifest = write_dataset(tmp_path)
    data = open_data(tmp_path).start()
    data.raise_if_damaged(wait=True)
    read = []
    sha256 = storage.sha256
    monkeypatch.setattr(storage, "sha256", lambda path: read.append(path) or sha256(path))
    again = open_data(tmp_path).start(data.seen)
    again.raise_if_damaged(wait=True)
    assert (read, again.is_verified) == ([], True)
    # A copy in its place, with its length and its time, is another file.
    touched = tmp_path / manifest.splits["train"].shards[0].file
    shutil.copy2(touched, tmp_path / "copy")
    os.replace(tmp_path / "copy", touched)
    open_data(tmp_path).start(data.seen).raise_if_damaged(wait=True)
    assert read == [str(touched)]


def test_a_record_that_is_no_example_is_one_line(tmp_path):
    manifest = write_dataset(tmp_path)
    shard = manifest.splits["validation"].shards[1]
    path = tmp_path / shard.file
    content = records.frame_record(b"no example")
    path.write_bytes(content)
    text = manifest.to_json().replace(shard.sha256, storage.sha256(str(path)))  # as it is to be
    (tmp_path / manifests.MANIFEST).write_text(text)
    data = open_data(tmp_path, ["train"]).start()
    expected = f"^{tmp_path}: has a record that is not a valid example .*Could not parse"
    with pytest.raises(RunError, match=expected), data.reading():
        list(evaluation_batches(data, "validation", 8))
