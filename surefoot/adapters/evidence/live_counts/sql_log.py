"""Define the interface for SQL queries over a model's prediction log."""

from typing import Protocol


class SqlLog(Protocol):
    """Interface that runs SQL over the views `log`, `labels` and `shadows` of a model's prediction log.

    Attributes:
        repeated: Records that were left out at once, because their request is in an earlier one [count].
        sampled: Rows that are not there, because only so many are wanted [count].
        live: Whether nothing in it can be later than the moment of a question.
    """

    repeated: int
    sampled: int
    live: bool

    def query_rows(self, model: str, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run one query."""
        ...

    def slice_sql(self, column: str) -> str:
        """SQL that reads one feature of a row of `log` as its canonical text; NULL where it is missing."""
        ...
