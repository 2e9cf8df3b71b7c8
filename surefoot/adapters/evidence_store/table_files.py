"""Write Arrow tables atomically to Parquet or memory-mapped files, and read them."""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet

from surefoot.core.errors import EvidenceUnavailable

_META = b"surefoot"
_CHUNK_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path: Path, table: pa.Table, facts: Mapping[str, object], repeating: bool | list[str] = True) -> str:
    """Write a table with some facts about it in the place of what is there; give the SHA-256 of the file in hex.

    Args:
        path: Where it goes.
        table: Rows.
        facts: All else, as JSON values.
        repeating: Columns whose values repeat, so that each value is written once; True for all.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    made = table.replace_schema_metadata({_META: orjson.dumps(facts)})
    with _fresh_file(path) as fresh:
        pyarrow.parquet.write_table(made, fresh, compression="zstd", use_dictionary=repeating)
        return file_digest(fresh)


@contextlib.contextmanager
def _fresh_file(path: Path) -> Iterator[Path]:
    """Give a file to write to, which takes the place of what is there in the end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            yield fresh
            fresh.chmod(0o640)  # as the log: what a version answered is as private as what it was asked
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceUnavailable(f"evidence cannot be kept in {path.parent}: {error}") from error


def read_table(path: Path) -> tuple[pa.Table, dict[str, object]]:
    """Read a table and its facts.

    Raises:
        FileNotFoundError: There is none.
        EvidenceUnavailable: It cannot be read.
    """
    with _reading(path):
        table = pyarrow.parquet.read_table(path, use_threads=False, memory_map=True)
        return table, dict(orjson.loads((table.schema.metadata or {})[_META]))


def read_table_metadata(path: Path) -> dict[str, object]:
    """Read the facts about a table, and none of its rows.

    Raises:
        FileNotFoundError: There is none.
        EvidenceUnavailable: It cannot be read.
    """
    with _reading(path):
        return dict(orjson.loads((pyarrow.parquet.read_schema(path).metadata or {})[_META]))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Map what can be wrong with a file to our errors."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise EvidenceUnavailable(f"kept evidence {path.name} cannot be read: {error}") from error


def write_mapped_table(path: Path, table: pa.Table, facts: Mapping[str, object]) -> None:
    """Write a table with some facts so that it can be read without being loaded.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    made = table.combine_chunks().replace_schema_metadata({_META: orjson.dumps(facts)})
    with (
        _fresh_file(path) as fresh,
        pa.OSFile(str(fresh), "wb") as stream,
        pa.ipc.new_file(stream, made.schema) as file,
    ):
        file.write_table(made)


@contextlib.contextmanager
def map_table(path: Path) -> Iterator[pa.Table]:
    """Open what `write_mapped_table` has written; its pages are read when they are looked at.

    Raises:
        FileNotFoundError: There is none.
        EvidenceUnavailable: It cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with _reading(path):
            source = stack.enter_context(pa.memory_map(str(path)))
            table = pa.ipc.open_file(source).read_all()
        yield table


def read_mapped_metadata(path: Path) -> dict[str, object]:
    """Read the facts about what `write_mapped_table` has written.

    Raises:
        FileNotFoundError: There is none.
        EvidenceUnavailable: It cannot be read.
    """
    with map_table(path) as table, _reading(path):
        return dict(orjson.loads((table.schema.metadata or {})[_META]))


def file_size_and_time(path: Path) -> list[int]:
    """Size and time of the last change of a file, to see that it is the one that was read before.

    Raises:
        OSError: There is no such file.
    """
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
