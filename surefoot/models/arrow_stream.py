"""Encode and decode tables in Arrow's stream format, to pass them between processes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def encode_table(table: "pa.Table") -> bytes:
    """Give a table as bytes."""
    import pyarrow as pa  # noqa: PLC0415 - a worker of the gateway never needs it

    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        return bytes(stream.getvalue().to_pybytes())


def decode_table(body: bytes) -> "pa.Table":
    """Give the table of some bytes."""
    import pyarrow as pa  # noqa: PLC0415 - same

    return pa.ipc.open_stream(body).read_all()
