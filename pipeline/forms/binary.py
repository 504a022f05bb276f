"""Files of upstream's binary format: records without words, one after the other."""

from collections.abc import Iterator
from typing import BinaryIO

from pipeline.cli import RunError
from pipeline.drawings.binary_record import RecordReject, holds_binary_records, parse_binary
from pipeline.drawings.drawing import MAX_LINE_BYTES, Reading
from pipeline.drawings.reject import Reject
from pipeline.forms.texts import CHUNK_BYTES, Parsed, RawBatch


def read_records(file: BinaryIO, name: str, reading: Reading) -> Iterator[Parsed]:
    """Yield the records of an upstream `.bin` file.

    A record that holds no usable drawing is a Reject, and passed over by its own lengths. What is
    no record at all leaves nothing to go by: nothing marks where the next one starts.

    Args:
      file: at its beginning.
      name: of the file.
      reading: how.

    Raises:
      RunError: at some byte there is no record, or one so long that it takes in others.
    """

    def damage(at: int) -> RunError:
        text = f"at byte {data_offset + at:,} there is no record of upstream's binary format"
        return RunError(f"{name}: {text}; what follows cannot be read")

    batch = RawBatch()
    data = b""
    data_offset = 0  # in the file
    start = 0  # of the record at hand, in data
    while True:
        try:
            drawing, end = parse_binary(data, start, reading)
            yield from batch.add(data_offset + start, drawing, data[start:end])
            start = end
        except RecordReject as reject:
            yield from batch.add(data_offset + start, reject, data[start : reject.end])
            start = reject.end
        except Reject:
            raise damage(start) from None
        except IndexError:  # more data needed
            chunk = file.read(CHUNK_BYTES)
            data, data_offset, start = data[start:] + chunk, data_offset + start, 0
            if len(data) > MAX_LINE_BYTES or (not chunk and holds_binary_records(data)):
                raise damage(0) from None
            if not chunk:
                if data:
                    yield from batch.add(data_offset, Reject("the binary record ends early"), data)
                yield from batch.flush()
                return
