"""Summarise a table of past requests, to draft a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.predictions.recorded.table_requests import (
    NON_FEATURE_COLUMNS,
    load_arrow_table,
    read_json_value,
    read_unix_time,
)
from surefoot.core.drafting.sample_summary import ColumnKind, ColumnSummary, SampleSummary, find_task
from surefoot.core.errors import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_VALUES = 20
"""Most different texts of a column that are listed [count]."""
_ROWS_A_VALUE = 10
"""So many rows must there be for each different text that is listed [count]."""
_KNOWN = 0.95
"""Share of the labels that must be known in time."""


@dataclass(frozen=True, slots=True)
class SampleTable:
    """A table of past requests.

    Attributes:
        rows: Features of each row, as JSON has them.
        labels: What came true, in the same order; None where it is not known.
        times: When each request came [Unix seconds]; empty where the table does not say.
        columns: What is known of each feature.
        label_delay: Time after a request within which 95 of 100 labels are known [s]; None where nothing tells it.
    """

    rows: Sequence[dict[str, object]]
    labels: Sequence[object]
    times: Sequence[float]
    columns: tuple[ColumnSummary, ...]
    label_delay: float | None

    def summarize(self, answers: Sequence[object] = ()) -> SampleSummary:
        """What is known of the sample, with what a version answers to some rows."""
        task, classes = find_task(self.labels, answers)
        known = sum(label is not None for label in self.labels)
        seconds = max(self.times) - min(self.times) if self.times else 0.0
        return SampleSummary(
            len(self.rows), self.columns, task, classes, known / len(self.rows), self.label_delay, seconds or None
        )


def read_sample(path: Path, label: str) -> SampleTable:
    """Read a sample; the file is held in memory as a whole.

    Args:
        path: A Parquet file, or a CSV file with a header.
        label: Column of what came true; empty where there is none.

    Raises:
        Rejected: The file cannot be read, has no rows or no feature, or misses the column.
    """
    table = load_arrow_table(path)
    if label and label not in table.column_names:
        raise Rejected(f"{path} has no column {label!r} (it has: {', '.join(table.column_names)}): correct --label")
    label = label or ("label" if "label" in table.column_names else "")
    features = [name for name in table.column_names if name not in {*NON_FEATURE_COLUMNS, label}]
    if not table.num_rows or not features:
        raise Rejected(f"{path} has no {'rows' if features else 'column that is a feature'}: nothing can be drafted")
    raw = table.to_pylist()
    rows = [{name: read_json_value(f"{path}: row {n}", row[name]) for name in features} for n, row in enumerate(raw, 1)]
    labels = [read_json_value(f"{path}: row {n}", row[label]) if label else None for n, row in enumerate(raw, 1)]
    times = (
        [read_unix_time(f"{path}: row {n}", "at", row["at"]) for n, row in enumerate(raw, 1)]
        if "at" in table.column_names
        else []
    )
    delays = sorted(
        read_unix_time(f"{path}: row {n}", "label_at", row["label_at"]) - times[n - 1]
        for n, row in enumerate(raw, 1)
        if times and row.get("label_at") is not None
    )
    delay = max(delays[min(len(delays) - 1, int(_KNOWN * len(delays)))], 0.0) if delays else None
    columns = tuple(_summary(table, name) for name in features)
    return SampleTable(rows, labels, times, columns, delay)


def _summary(table: "pa.Table", name: str) -> ColumnSummary:
    import pyarrow as pa  # noqa: PLC0415 - costs a command a tenth of a second
    import pyarrow.compute as pc  # noqa: PLC0415 - see above

    column, kind = table.column(name), table.schema.field(name).type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, None)  # what JSON has no number for is missing
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = pc.if_else(pc.equal(column, ""), None, column)  # CSV knows no other missing text
    known = column.drop_null()
    missing = 1.0 - len(known) / table.num_rows
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found = pc.min_max(known).as_py()
        low, high = (None if found[end] is None else float(found[end]) for end in ("min", "max"))
        whole = ColumnKind.WHOLE_NUMBER if pa.types.is_integer(kind) else ColumnKind.NUMBER
        return ColumnSummary(name, whole, missing, pc.count_distinct(known).as_py(), low, high)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        lengths = pc.min_max(pc.utf8_length(known)).as_py()
        counts = {one["values"]: one["counts"] for one in pc.value_counts(known).to_pylist()}
        few = len(counts) <= min(_MAX_VALUES, table.num_rows // _ROWS_A_VALUE)
        values = tuple(sorted((text, count / table.num_rows) for text, count in counts.items())) if few else ()
        return ColumnSummary(name, ColumnKind.TEXT, missing, len(counts), lengths["min"], lengths["max"], values)
    if pa.types.is_boolean(kind):
        return ColumnSummary(name, ColumnKind.BOOLEAN, missing, pc.count_distinct(known).as_py())
    return ColumnSummary(name, ColumnKind.OTHER, missing, len(known))
