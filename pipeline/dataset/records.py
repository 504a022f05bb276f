"""Records of a data set: bitmap bits, `tf.train.Example`, TFRecord framing. No TensorFlow here.

The layouts are public formats:
`tf.train.Example` is the protocol buffer of tensorflow/core/example/{example,feature}.proto;
a TFRecord file is, for each record, `uint64 length, uint32 masked crc32c(length), data,
uint32 masked crc32c(data)`, little endian (tensorflow/core/lib/io/record_writer.h).
"""

import functools
import io
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

import cv2
import google_crc32c
import numpy as np

from pipeline.cli import UserError

IMAGE_SIZE = 85  # pixels, both ways
_MAX_UINT64 = 2**64 - 1
PACKED_BYTES = (IMAGE_SIZE * IMAGE_SIZE + 7) // 8  # 904

# What a record may hold of a drawing besides: a text, or an integer. `recognized` is 1 or 0, and -1
# where the input does not tell; `strokes` is how many there are.
FIELDS: dict[str, type[str] | type[int]] = {
    "countrycode": str,
    "recognized": int,
    "strokes": int,
    "timestamp": str,
}
NO_FIELDS: Mapping[str, str | int] = MappingProxyType({})
_NUMBERS = 3  # the number of an Int64List in a Feature; a BytesList's is 1


class Example(NamedTuple):
    """Content of one record."""

    image: bytes  # 904 bytes: numpy.packbits of the 85×85 pixels, row by row; or a PNG
    label: int  # class index
    key_id: bytes
    fields: Mapping[str, str | int] = NO_FIELDS  # of FIELDS, those that the data set keeps


def pack_bitmaps(bitmaps: np.ndarray) -> list[bytes]:
    """[N, 85, 85] uint8 of 0 and 1 → 904 bytes each, eight pixels to a byte, the first highest."""
    return [row.tobytes() for row in np.packbits(bitmaps.reshape(len(bitmaps), -1), axis=1)]


def unpack_bitmap(image: bytes) -> np.ndarray:
    """904 bytes → [85, 85] uint8 of 0 and 1, the inverse of `pack_bitmaps`.

    Raises:
      ValueError: there are more or fewer bytes.
    """
    if len(image) != PACKED_BYTES:
        raise ValueError(f"{len(image)} bytes, not {PACKED_BYTES}")
    bits = np.unpackbits(np.frombuffer(image, np.uint8), count=IMAGE_SIZE * IMAGE_SIZE)
    return bits.reshape(IMAGE_SIZE, IMAGE_SIZE)


def encode_pngs(bitmaps: np.ndarray) -> list[bytes]:
    """[N, 85, 85] uint8 of 0 and 1 → PNGs of one bit a pixel, ink white: readers see 0 and 255."""
    settings = (cv2.IMWRITE_PNG_BILEVEL, 1)
    return [cv2.imencode(".png", bitmap, settings)[1].tobytes() for bitmap in bitmaps]


def decode_png(image: bytes) -> np.ndarray:
    """Invert `encode_pngs`; raises ValueError if the image is no PNG."""
    bitmap = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE)
    if bitmap is None:
        raise ValueError("not a PNG")
    return np.asarray(bitmap, np.uint8) // 255


# By the name that the manifest has for them.
ENCODERS = {"packed": pack_bitmaps, "png": encode_pngs}
DECODERS = {"packed": unpack_bitmap, "png": decode_png}


def encode_example(image: bytes, label: int, key_id: bytes, fields: bytes = b"") -> bytes:
    """Serialise a `tf.train.Example` with the features image, key_id (bytes) and label (int64).

    Args:
      image, label, key_id: the features.
      fields: more features, as `encode_fields` gives them.
    """
    before_image, before_key, after_key = _example_parts(
        len(image), len(key_id), label, len(fields)
    )
    return b"".join((before_image, image, before_key, key_id, after_key, fields))


def encode_fields(fields: Mapping[str, str | int]) -> bytes:
    """Serialise values of FIELDS as features, by name."""
    return b"".join(map(_encode_field, *zip(*sorted(fields.items()), strict=True)))


@functools.lru_cache(maxsize=1 << 12)
def _encode_field(name: str, value: str | int) -> bytes:
    if isinstance(value, int):
        feature = _field(_NUMBERS, _field(1, _varint(value & _MAX_UINT64)))
    else:
        feature = _field(1, _field(1, value.encode()))
    return _field(1, _field(1, name.encode()) + _field(2, feature))


@functools.lru_cache(maxsize=1 << 16)
def _example_parts(
    image_bytes: int, key_bytes: int, label: int, fields_bytes: int
) -> tuple[bytes, bytes, bytes]:
    """Return the bytes around image and key_id; they depend on four numbers only.

    A map entry is {1: key, 2: Feature}; Feature is a oneof of {1: BytesList, 3: Int64List}, and
    either list is field 1 of its message. Keys in a fixed order: the same bytes every time.
    """
    image, key = bytes(image_bytes), bytes(key_bytes)  # stand in for them
    features = _field(1, _field(1, b"image") + _field(2, _field(1, _field(1, image))))
    before_image = len(features) - image_bytes
    features += _field(1, _field(1, b"key_id") + _field(2, _field(1, _field(1, key))))
    before_key = len(features) - key_bytes
    packed_ints = _field(1, _varint(label))
    features += _field(1, _field(1, b"label") + _field(2, _field(3, packed_ints)))
    header = _field(1, features + bytes(fields_bytes))[: -len(features) - fields_bytes]
    return (
        header + features[:before_image],
        features[before_image + image_bytes : before_key],
        features[before_key + key_bytes :],
    )


def decode_example(record: bytes) -> Example:
    """Invert `encode_example`, for any field order.

    Raises:
      ValueError: the record is no Example with these three features.
    """
    values: dict[bytes, bytes] = {}
    try:
        for _, features in _fields(record):
            for _, entry in _fields(features):
                name, feature = (value for _, value in _fields(entry))
                ((_, value_list),) = _fields(feature)
                ((_, values[name]),) = _fields(value_list)
        label, _ = _read_varint(values.pop(b"label"), 0)
        image, key_id = values.pop(b"image"), values.pop(b"key_id")
        return Example(image, label, key_id, _decode_fields(values) if values else NO_FIELDS)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError("not an Example with image, label and key_id") from error


def _decode_fields(values: Mapping[bytes, bytes]) -> dict[str, str | int]:
    """Invert `encode_fields`, of features as bytes; others than FIELDS are left out."""
    found: dict[str, str | int] = {}
    for name, kind in FIELDS.items():
        value = values.get(name.encode())
        if value is not None:
            found[name] = value.decode() if kind is str else _signed(_read_varint(value, 0)[0])
    return found


def _signed(value: int) -> int:
    """Return the number that 64 bits are as an int64."""
    return value - (value >> 63 << 64)


def frame_record(data: bytes) -> bytes:
    """Frame one record of a TFRecord file."""
    return b"".join((_length_header(len(data)), data, struct.pack("<I", _masked_crc(data))))


@functools.lru_cache(maxsize=1 << 12)
def _length_header(length_bytes: int) -> bytes:
    length = struct.pack("<Q", length_bytes)
    return length + struct.pack("<I", _masked_crc(length))


def read_records(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the records of an open TFRecord file; `name` is for the error.

    Raises:
      UserError: the file ends within a record, or a checksum does not match.
    """
    position = 0
    while header := file.read(12):
        if len(header) < 12:
            raise UserError(f"{name}: truncated at byte {position}")
        length, length_crc = struct.unpack("<QI", header)
        if length_crc != _masked_crc(header[:8]):
            raise UserError(f"{name}: damaged at byte {position}")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise UserError(f"{name}: truncated at byte {position}")
        data = body[:-4]
        if struct.unpack("<I", body[-4:])[0] != _masked_crc(data):
            raise UserError(f"{name}: damaged at byte {position}")
        yield data
        position += 12 + length + 4


def read_examples(content: bytes, name: str) -> Iterator[Example]:
    """Yield the examples of a TFRecord file; `name` is for the error.

    Raises:
      UserError: the content is truncated or corrupt, or a record is no Example of ours.
    """
    for record in read_records(io.BytesIO(content), name):
        try:
            yield decode_example(record)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, value: bytes) -> bytes:
    """Encode a length-delimited protocol buffer field."""
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields of a message: (number, value)."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        length, position = _read_varint(data, position)
        if tag & 7 != 2 or position + length > len(data):
            raise ValueError("not a length-delimited field")
        yield tag >> 3, data[position : position + length]
        position += length
