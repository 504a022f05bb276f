import io

import numpy as np
import pytest
import tensorflow as tf

from pipeline.cli import UserError
from pipeline.dataset import records


def test_packing_keeps_every_pixel_most_significant_bit_first() -> None:
    bitmap = (np.random.default_rng(0).random((85, 85)) < 0.3).astype(np.uint8)
    image = records.pack_bitmaps(bitmap[np.newaxis])[0]
    assert len(image) == 904
    assert image[0] >> 7 == bitmap[0, 0]
    np.testing.assert_array_equal(records.unpack_bitmap(image), bitmap)


@pytest.mark.parametrize("label", [0, 1, 127, 128, 344, 70_000])
def test_tensorflow_reads_the_same_example(label: int) -> None:
    image, key_id = bytes(range(256)) * 3, b"5924852814839808"
    record = records.encode_example(image, label, key_id)
    example = tf.train.Example.FromString(record)
    assert example.features.feature["image"].bytes_list.value[0] == image
    assert example.features.feature["label"].int64_list.value[0] == label
    assert example.features.feature["key_id"].bytes_list.value[0] == key_id
    assert sorted(example.features.feature) == ["image", "key_id", "label"]
    assert records.decode_example(record) == (image, label, key_id, {})
    assert records.decode_example(example.SerializeToString()) == (image, label, key_id, {})


def test_tensorflow_reads_the_same_fields_besides() -> None:
    fields: dict[str, str | int] = {
        "timestamp": "2017-03-08 21:12:07 UTC", "recognized": -1, "countrycode": "", "strokes": 300,
    }  # fmt: skip
    record = records.encode_example(b"image", 7, b"key", records.encode_fields(fields))
    features = tf.train.Example.FromString(record).features.feature
    assert sorted(features) == [
        "countrycode", "image", "key_id", "label", "recognized", "strokes", "timestamp",
    ]  # fmt: skip
    assert features["recognized"].int64_list.value == [-1]
    assert features["strokes"].int64_list.value == [300]
    assert features["countrycode"].bytes_list.value == [b""]
    assert features["timestamp"].bytes_list.value == [b"2017-03-08 21:12:07 UTC"]
    assert features["image"].bytes_list.value == [b"image"]
    assert records.decode_example(record) == (b"image", 7, b"key", fields)


def test_tensorflow_reads_the_same_records(tmp_path: object) -> None:
    contents = [b"", b"a", b"b" * 1000]
    path = f"{tmp_path}/file"
    with open(path, "wb") as file:
        for content in contents:
            file.write(records.frame_record(content))
    assert [r.numpy() for r in tf.data.TFRecordDataset(path)] == contents
    with open(path, "rb") as file:
        assert list(records.read_records(file, path)) == contents


@pytest.mark.parametrize("position", [0, 8, 12, 20, -1])
def test_a_damaged_byte_is_found(position: int) -> None:
    data = bytearray(records.frame_record(b"some record"))
    data[position] ^= 1
    with pytest.raises(UserError, match=r"shard: (damaged|truncated) at byte 0"):
        list(records.read_records(io.BytesIO(data), "shard"))


@pytest.mark.parametrize("missing", [1, 5, 20])
def test_a_truncated_file_is_found(missing: int) -> None:
    data = records.frame_record(b"first") + records.frame_record(b"the second")
    file = io.BytesIO(data[:-missing])
    reader = records.read_records(file, "shard")
    assert next(reader) == b"first"
    with pytest.raises(UserError, match="shard: truncated at byte 21"):
        next(reader)


def test_another_message_is_no_example() -> None:
    with pytest.raises(ValueError, match="not an Example"):
        records.decode_example(b"\x0a\x03abc")
    with pytest.raises(ValueError, match="not an Example"):
        records.decode_example(b"")
