"""Read the rows of a time window from Parquet files or a Delta Lake table."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset as datasets

from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure, ProviderProblem

_BATCH_ROWS = 5_000
_ALLOW_HTTP = "AWS_ALLOW_HTTP"


def read_parquet_rows(
    path: str, project: Path, times: Sequence[str], since: float, until: float
) -> Iterator[list[dict[str, Any]]]:
    """Read the rows of Parquet files in which one of some times lies in a window.

    Args:
        path: Folder, file, glob or URL that fsspec knows.
        project: Folder in which a relative path begins.
        times: Columns that hold times.
        since: Beginning of the window, not included [Unix seconds].
        until: End of the window [Unix seconds].

    Yields:
        Rows, some thousand at a time.

    Raises:
        ProviderFailure: There are no such files, or a file or a column is missing.
        Exception: Whatever the library of the file system raises.
    """
    import fsspec  # noqa: PLC0415 - costs a command a tenth of a second

    # A listing that was kept would not show the files that have come since.
    system, plain = fsspec.core.url_to_fs(_absolute(path, project), use_listings_cache=False, skip_instance_cache=True)
    files = _parquet_files(system, plain)
    if not files:
        raise ProviderFailure(ProviderProblem.UNUSABLE, "there is no Parquet file")
    schemas = []
    for file in files:
        try:
            schemas.append(datasets.dataset(file, filesystem=system, format="parquet").schema)
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            said = f"{len(files) - 1} of {len(files)} files can be read; {file.rpartition('/')[2]} cannot: {error}"
            raise ProviderFailure(ProviderProblem.PARTIAL, said) from error
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise ProviderFailure(ProviderProblem.UNUSABLE, f"the files have different columns: {error}") from error
    table = datasets.dataset(files, filesystem=system, format="parquet", schema=schema)
    yield from _rows(table, times, since, until)


def read_delta_rows(
    path: str, project: Path, times: Sequence[str], since: float, until: float
) -> Iterator[list[dict[str, Any]]]:
    """Read the rows of a Delta Lake table in which one of some times lies in a window.

    Args:
        path: Folder or URL of the table.
        project: Folder in which a relative path begins.
        times: Columns that hold times.
        since: Beginning of the window, not included [Unix seconds].
        until: End of the window [Unix seconds].

    Yields:
        Rows, some thousand at a time.

    Raises:
        ProviderFailure: There is no such table or column, or its library is not installed.
        Exception: Whatever the library raises.
    """
    if find_spec("deltalake") is None:
        raise ProviderFailure(ProviderProblem.UNUSABLE, "it needs deltalake: pip install 'surefoot[delta]'")
    from deltalake import DeltaTable  # noqa: PLC0415 - an extra that need not be installed
    from deltalake.exceptions import DeltaProtocolError, TableNotFoundError  # noqa: PLC0415 - same

    options = {_ALLOW_HTTP: "true"} if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://") else None
    try:
        table = DeltaTable(_absolute(path, project), storage_options=options)
    except TableNotFoundError as error:
        raise ProviderFailure(ProviderProblem.UNUSABLE, "there is no Delta table") from error
    try:
        rows = table.to_pyarrow_dataset()
    except DeltaProtocolError as error:
        raise ProviderFailure(ProviderProblem.UNUSABLE, f"this reader cannot read its format: {error}") from error
    yield from _rows(rows, times, since, until)


def _absolute(path: str, project: Path) -> str:
    return path if "://" in path else str(project / path)


def _parquet_files(system: Any, plain: str) -> list[str]:
    """Every file of a path, oldest name first; hidden ones, and those that are not finished, are left out."""
    if any(sign in plain for sign in "*?["):
        found = system.glob(plain)
    elif system.isfile(plain):
        found = [plain]
    else:
        found = system.find(plain)
    return sorted(
        file
        for file in found
        if file.endswith((".parquet", ".pq"))
        and not any(part.startswith(("_", ".")) for part in file.removeprefix(plain).split("/"))
    )


def _rows(table: Any, times: Sequence[str], since: float, until: float) -> Iterator[list[dict[str, Any]]]:
    condition = None
    for column in times:
        one = _in_window(table.schema, column, since, until)
        condition = one if condition is None else condition | one
    # A scan reads ahead as much as fits a fast disk by default, which is far more than these rows need.
    scan = table.to_batches(filter=condition, batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1)
    for batch in scan:
        if batch.num_rows:
            yield batch.to_pylist()


def _in_window(schema: pa.Schema, column: str, since: float, until: float) -> Any:
    """Whether a column of times lies in a window, as a filter that files are left out by."""
    if column not in schema.names:
        raise ProviderFailure(ProviderProblem.UNUSABLE, f"there is no column '{column}'")
    kind, field = schema.field(column).type, pc.field(column)
    if pa.types.is_timestamp(kind):
        zone = kind.tz or "UTC"
        edges = [pa.scalar(datetime.fromtimestamp(at, UTC), pa.timestamp("us", zone)) for at in (since, until)]
        if kind.tz is None:
            edges = [edge.cast(pa.timestamp("us")) for edge in edges]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        edges = [pa.scalar(at, pa.float64()) for at in (since, until)]
        field = field.cast(pa.float64())
    else:
        said = f"column '{column}' holds {kind}, and no times: timestamps or Unix seconds are needed"
        raise ProviderFailure(ProviderProblem.UNUSABLE, said)
    return (field > edges[0]) & (field <= edges[1])
