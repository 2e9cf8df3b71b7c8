"""Define the digest, the checkpoint and the restore result of a model's output table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableDigest:
    """What a table holds, whatever the order of its rows.

    Attributes:
        rows: Rows [count].
        digest: SHA-256 over schema, number of rows, and the sum of the digests of all rows.
        schema: SHA-256 of the names and types of the columns.
    """

    rows: int
    digest: str
    schema: str


@dataclass(frozen=True, slots=True)
class TableCheckpoint:
    """A state of a table that can be restored.

    Attributes:
        position: Where the state is found: version of a Delta table, last validity of a SQL table, or digest of a
            manifest of Parquet files.
        content: What the table held.
        manifest: SHA-256 of the manifest of the table's files; empty where a table has none.
    """

    position: str
    content: TableDigest
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did.

    Attributes:
        before: Digest of the table before.
        after: Digest of what the checkpoint covers, afterwards.
        already: Whether there was nothing to undo: an earlier attempt had done it, or the version had written nothing.
    """

    before: str
    after: str
    already: bool
