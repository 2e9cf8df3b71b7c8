"""Score logged requests in a child process that is restarted after a crash."""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

from surefoot.models.model_process import ModelProcess, RemoteModelError, StartProcess
from surefoot.models.model_protocols import TableColumn
from surefoot.models.model_server import PREDICT_TABLE_REQUEST
from surefoot.models.rows.answer_checks import check_answers

_Value = TypeVar("_Value")

_log = logging.getLogger(__name__)
_MAX_RESTARTS = 40
"""How often a model's process is started again for one version [count]; three times for each row that ends it."""
ANSWER_TIMEOUT_S, ANSWER_TIMEOUT_PER_ROW_S = 60.0, 0.05
"""Longest wait for an answer: the least, and more for each row [s]."""
_TIMEOUT_FACTOR = 20.0
"""Once the model is known: a row may take so many times the longest time that a row has taken in a call."""
_MIN_TIMED_ROWS = 1000
"""Calls with fewer rows tell nothing of the time that a row takes [count]."""


class ScoringAbandoned(Exception):
    """The process of a version has ended too often."""


class ChildProcessScorer:
    """One version in its own process, which is started at the first question and ends with this object.

    It is asked from threads, one question at a time.
    """

    def __init__(self, start: StartProcess) -> None:
        """Start no process yet.

        Args:
            start: Starts the process, given the number of its socket.
        """
        self._start = start
        self._lock = threading.Lock()
        self._process: ModelProcess | None = None
        self._starts = 0
        self._row_s = 0.0
        self._end: weakref.finalize[..., ChildProcessScorer] | None = None

    @property
    def batchable(self) -> bool:
        """Whether it answers each row by itself."""
        with self._lock:
            return self._running().batchable

    def predict(self, rows: list[dict[str, object]], params: object = None) -> list[object]:
        """Score every row.

        Raises:
            ValueError: Something is no answer.
            RemoteModelError: The model raised.
            ProcessDied: It has ended its process, or hung.
        """
        return check_answers(self._ask("predict", [rows, params], len(rows)), len(rows))

    def table_columns(self) -> list[TableColumn]:
        """Give the columns of the tables that the model can be asked about; none where it must be asked for rows."""
        found = self._ask("table_columns", [], 1)
        return [TableColumn(str(n), str(kind), bool(required)) for n, kind, required in cast("list[Any]", found)]

    def predict_table(self, table: bytes, rows: int) -> bytes | None:
        """Score every row of a table.

        Args:
            table: A table in Arrow's stream format with the columns of `table_columns`.
            rows: Its rows [count].

        Returns:
            The answers in the same format, one column; None where the model cannot answer tables.

        Raises:
            RemoteModelError: The model raised.
            ProcessDied: It has ended its process, or hung.
        """
        return self._run(lambda process, patience: process.call_table(PREDICT_TABLE_REQUEST, table, patience), rows)

    def golden_rows(self) -> tuple[list[dict[str, object]], list[object]]:
        """Give the example rows that the model carries, and the answers that its author saw."""
        found = self._ask("golden_rows", [], 1)
        if not isinstance(found, list):
            raise RemoteModelError("the model's process gave no rows")
        return found[0], found[1]

    def model_inputs(self, rows: list[dict[str, object]]) -> list[dict[str, object]]:
        """Give the columns that the model is fed: {"name", "kind", "values"}."""
        found = self._ask("model_inputs", [rows], len(rows))
        if not isinstance(found, list):
            raise RemoteModelError("the model's process gave no columns")
        return found

    def trace(self, rows: list[dict[str, object]]) -> list[list[dict[str, object]]]:
        """Give the value of each row after each stage of the model: {"stage", "ms", "value" or "error"}.

        Raises:
            RemoteModelError: The model's process gave nothing of that form.
            ProcessDied: The model has ended its process, or hung.
        """
        found = self._ask("trace", [rows], len(rows))
        if not isinstance(found, list):
            raise RemoteModelError("the model's process gave no stages")
        return found

    @property
    def raw(self) -> bool:
        """Whether what the model is fed is the row as it came."""
        return bool(self._ask("is_raw", [], 1))

    def signature_fields(self) -> dict[str, object]:
        """Give what its signature says of inputs and outputs."""
        found = self._ask("signature_fields", [], 1)
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._close()

    def _ask(self, verb: str, arguments: list[object], rows: int) -> object:
        return self._run(lambda process, patience: process.call(verb, arguments, patience), rows)

    def _run(self, ask: Callable[[ModelProcess, float], _Value], rows: int) -> _Value:
        """Ask the process, given the longest wait for so many rows [s]; one that is gone is started again next time."""
        with self._lock:
            process = self._running()
            try:
                began = time.monotonic()
                found = ask(process, self._patience(rows))
                if rows >= _MIN_TIMED_ROWS:
                    self._row_s = max(self._row_s, (time.monotonic() - began) / rows)
            except RemoteModelError:
                raise
            except BaseException:
                self._close()
                raise
            return found

    def _patience(self, rows: int) -> float:
        """Longest wait for so many rows [s]: a table of a fast model does not wait an hour for one row that hangs."""
        known = _TIMEOUT_FACTOR * self._row_s or ANSWER_TIMEOUT_PER_ROW_S
        return ANSWER_TIMEOUT_S + min(ANSWER_TIMEOUT_PER_ROW_S, known) * rows

    def _running(self) -> ModelProcess:
        if self._process is None:
            if self._starts > _MAX_RESTARTS:
                raise ScoringAbandoned(f"its process has ended {self._starts} times")
            self._starts += 1
            self._process = ModelProcess(self._start)
            self._end = weakref.finalize(self, self._process.close)
        return self._process

    def _close(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None
