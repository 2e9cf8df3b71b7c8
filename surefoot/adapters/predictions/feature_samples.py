"""Read features from sample rows of log files, to choose which of them become typed columns."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

_PLACES = 64
"""Places of a part, evenly apart, at which rows are read [count]."""
_PLACE_ROWS = 32
"""Rows that are read at each place [count]."""
_PLACE_BYTES = 1 << 18
"""No more rows are read at a place after so much [bytes]."""
_LINE_BYTES = 1 << 20
"""Longer lines are not looked at [bytes]."""


def sample_segment_features(segments: Sequence[Path]) -> Iterator[object]:
    """Yield the parsed features of sample lines of JSON-lines segments.

    Raises:
        OSError: A segment cannot be read.
    """
    sizes = [segment.stat().st_size for segment in segments]
    step = max(1, sum(sizes) // _PLACES)
    ahead = 0
    for segment, size in zip(segments, sizes, strict=True):
        with segment.open("rb") as file:
            for place in range(ahead, size, step):
                file.seek(place)
                if place:
                    file.readline(_LINE_BYTES)  # the rest of a line
                for _ in range(_PLACE_ROWS):
                    record = _parsed(file.readline(_LINE_BYTES))
                    if isinstance(record, dict):
                        yield record.get("features")
                    if file.tell() - place > _PLACE_BYTES:
                        break
        ahead = (ahead - size) % step


def sample_table_features(tables: Sequence[Path]) -> Iterator[object]:
    """Yield the parsed features of sample rows in the middle of each Parquet file.

    Raises:
        OSError: A table cannot be read.
    """
    rows = max(1, _PLACES * _PLACE_ROWS // len(tables))
    for table in tables:
        with parquet_errors_as_os_errors(table), pq.ParquetFile(table) as file:
            middle = [file.num_row_groups // 2]
            for batch in file.iter_batches(batch_size=rows, row_groups=middle, columns=["features"]):
                yield from (_parsed(text) for text in batch.column(0).to_pylist() if text is not None)
                break


@contextlib.contextmanager
def parquet_errors_as_os_errors(table: Path) -> Iterator[None]:
    """Raise OSError for whatever Arrow cannot read in a table."""
    try:
        yield
    except pa.ArrowException as error:
        raise OSError(f"{table.name} cannot be read: {str(error).splitlines()[0]}") from error


def _parsed(text: str | bytes) -> object:
    with contextlib.suppress(orjson.JSONDecodeError):
        return orjson.loads(text)
    return None
