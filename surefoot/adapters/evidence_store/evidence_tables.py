"""Write evidence tables to Parquet atomically, with facts beside the rows, and read them back."""

import hashlib
import secrets
from collections.abc import Mapping
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


def write_table(path: Path, table: pa.Table, facts: Mapping[str, object], compression: str = "zstd") -> str:
    """Write a table with some facts about it in the place of what is there; give the SHA-256 of the file in hex.

    Args:
        path: Where it goes.
        table: Rows.
        facts: All else, as JSON values.
        compression: Of the Parquet file: "none" where hashes would not become smaller.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            made = table.replace_schema_metadata({_META: orjson.dumps(facts)})
            pyarrow.parquet.write_table(made, fresh, compression=compression, use_dictionary=compression != "none")
            fresh.chmod(0o640)  # as the log: what a version answered is as private as what it was asked
            digest = file_digest(fresh)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceUnavailable(f"evidence cannot be kept in {path.parent}: {error}") from error
    return digest


def read_table(path: Path) -> tuple[pa.Table, dict[str, object]]:
    """Read a table and its facts.

    Raises:
        FileNotFoundError: There is none.
        EvidenceUnavailable: It cannot be read.
    """
    try:
        table = pyarrow.parquet.read_table(path, use_threads=False, memory_map=True)
        return table, dict(orjson.loads((table.schema.metadata or {})[_META]))
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise EvidenceUnavailable(f"kept evidence {path.name} cannot be read: {error}") from error


def file_stamp(path: Path) -> list[int]:
    """Size and time of the last change of a file, to see that it is the one that was read before.

    Raises:
        OSError: There is no such file.
    """
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
