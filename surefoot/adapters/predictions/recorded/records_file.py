"""Write the Parquet file of both versions' answers that a back-test reads."""

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from surefoot.adapters.predictions.recorded.table_requests import TableRow
from surefoot.core.domain import Arm
from surefoot.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class VersionAnswers:
    """What one version answered to the rows of a table.

    Attributes:
        number: Version.
        answers: By request id and row; what it could not answer is absent.
        errors: Why, for each of those.
    """

    number: str
    answers: Mapping[tuple[str, int], object]
    errors: Mapping[tuple[str, int], str]


def write_records(path: Path, rows: Sequence[TableRow], champion: VersionAnswers, candidate: VersionAnswers) -> None:
    """Write one record for each version and row; the file is there as a whole or not at all.

    Args:
        path: The file.
        rows: The requests.
        champion: Answers of the version that serves.
        candidate: Answers of the other one.

    Raises:
        Rejected: The answers are of several types, or the file cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415 - costs a command a tenth of a second
    from pyarrow import parquet  # noqa: PLC0415 - see above

    columns: dict[str, list[object]] = {name: [] for name in ("request", "row", "at", "arm", "version", "prediction")}
    columns |= {name: [] for name in ("error", "unit", "label", "label_at")}
    features = {name: list[object]() for name in rows[0].request.features}
    for arm, side in ((Arm.CHAMPION, champion), (Arm.CANDIDATE, candidate)):
        for row in rows:
            key = row.request.key
            due, label = row.label or (None, None)
            made = (*key, row.request.at, arm.value, side.number, side.answers.get(key))
            values = (*made, side.errors.get(key), row.unit, label, due)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
            for name, column in features.items():
                column.append(row.request.features.get(name))
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    kept = {
        name: column
        for name, column in columns.items()
        if name not in {"label", "label_at", "unit"} or _has_any_value(column)
    }
    try:
        table = pa.table({**kept, **{name: column for name, column in features.items() if name not in kept}})
        parquet.write_table(table, draft)
        os.replace(draft, path)  # noqa: PTH105 - atomic
    except (pa.ArrowException, OSError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise Rejected(f"{path} cannot be written: {str(error).splitlines()[0]}") from error


def _has_any_value(column: Sequence[object]) -> bool:
    """Whether a column has a value at all."""
    return any(value is not None for value in column)
