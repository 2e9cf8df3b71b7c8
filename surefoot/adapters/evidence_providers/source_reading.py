"""Read predictions and labels from the sources that a policy names."""

import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from surefoot.adapters.evidence_providers.provided_rows import (
    LabelRows,
    PredictionRows,
    ProvidedLabel,
    ProvidedPrediction,
    SourceRow,
)
from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure, ProviderProblem, redact_secrets
from surefoot.core.policy.evidence.evidence_section import (
    DeltaLabels,
    DeltaPredictions,
    LabelSource,
    PredictionSource,
    SqlLabels,
    SqlPredictions,
)

_T = TypeVar("_T")
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSW|KEY|CREDENTIAL|SAS")
_GRACE_S = 5.0
"""How much longer than its own time limit a database is waited for, which then says itself what took long [seconds]."""
_QUEUED = 2
"""Batches that are read ahead [count]."""
_Batch = list[tuple[ProvidedPrediction, ProvidedLabel | None]]


class SourceReader:
    """Reads the sources of one policy.

    Attributes:
        timeout: How long the next batch is waited for [seconds].
    """

    def __init__(self, project: Path, timeout: float, environment: Mapping[str, str] | None = None) -> None:
        """Connect to nothing yet.

        Args:
            project: Folder in which relative paths begin.
            timeout: How long the next batch is waited for [seconds].
            environment: Where the URLs of databases are; that of this process without it.
        """
        self._project = project
        self._environment: Mapping[str, str] = os.environ if environment is None else environment
        self.timeout = timeout

    def read_predictions(
        self, source: PredictionSource, rows: PredictionRows, since: float, until: float
    ) -> Iterator[tuple[int, _Batch]]:
        """Read the predictions of a window, and the labels that stand beside them.

        Args:
            source: The source.
            rows: Converts its rows, and counts those that cannot be used.
            since: Beginning of the window, not included [Unix seconds]; a row counts by its own time or its label's.
            until: End of the window [Unix seconds].

        Yields:
            How many rows were read, and what could be used of them.

        Raises:
            ProviderFailure: The source is down, too slow, incomplete, or not as the policy says.
        """
        columns = source.columns
        times = [columns.at, *([columns.label_at] if columns.label_at else [])]
        for batch in self._batches(source, columns.named, times, since, until):
            yield len(batch), [found for row in batch if (found := rows.convert(row)) is not None]

    def read_labels(
        self, source: LabelSource, rows: LabelRows, since: float, until: float
    ) -> Iterator[tuple[int, list[ProvidedLabel]]]:
        """Read the labels that became known in a window.

        Args:
            source: The source.
            rows: Converts its rows, and counts those that cannot be used.
            since: Beginning of the window, not included [Unix seconds].
            until: End of the window [Unix seconds].

        Yields:
            How many rows were read, and what could be used of them.

        Raises:
            ProviderFailure: The source is down, too slow, incomplete, or not as the policy says.
        """
        for batch in self._batches(source, source.columns.named, [source.columns.at], since, until):
            yield len(batch), [found for row in batch if (found := rows.convert(row)) is not None]

    def _batches(
        self,
        source: PredictionSource | LabelSource,
        columns: Mapping[str, str],
        times: Sequence[str],
        since: float,
        until: float,
    ) -> Iterator[Sequence[SourceRow]]:
        where = f"source '{source.source}' at {source.place}"
        secrets = [value for name, value in self._environment.items() if _SECRET_NAME.search(name)]
        if isinstance(source, SqlPredictions | SqlLabels):
            secrets.append(self._environment.get(source.url_variable, ""))
        try:
            checked = False
            patience = self.timeout + (_GRACE_S if isinstance(source, SqlPredictions | SqlLabels) else 0.0)
            for batch in _within(lambda: self._open(source, times, since, until), patience):
                if not checked:
                    _check_columns(batch[0], columns)
                    checked = True
                yield batch
        except ProviderFailure as error:
            raise ProviderFailure(error.problem, f"{where}: {redact_secrets(str(error), secrets)}") from None
        except (FileNotFoundError, PermissionError, ImportError) as error:
            said = redact_secrets(f"{type(error).__name__}: {error}", secrets)
            raise ProviderFailure(ProviderProblem.UNUSABLE, f"{where} cannot be read: {said}") from None
        except Exception as error:  # noqa: BLE001 - libraries of file systems raise errors of any class
            said = redact_secrets(f"{type(error).__name__}: {error}", secrets)
            raise ProviderFailure(ProviderProblem.DOWN, f"{where} does not answer: {said}") from None

    def _open(
        self, source: PredictionSource | LabelSource, times: Sequence[str], since: float, until: float
    ) -> Iterator[list[dict[str, Any]]]:
        if isinstance(source, SqlPredictions | SqlLabels):
            from surefoot.adapters.evidence_providers.sql_query import read_sql_rows  # noqa: PLC0415 - SQLAlchemy costs

            url = self._environment.get(source.url_variable, "")
            if not url:
                said = f"environment variable {source.url_variable}, which holds its URL, is not set here"
                raise ProviderFailure(ProviderProblem.UNUSABLE, said)
            return read_sql_rows(url, source.query, since, until, self.timeout)
        from surefoot.adapters.evidence_providers import table_files  # noqa: PLC0415 - PyArrow costs a tenth of a second

        delta = isinstance(source, DeltaPredictions | DeltaLabels)
        read = table_files.read_delta_rows if delta else table_files.read_parquet_rows
        return read(source.path, self._project, times, since, until)


def _check_columns(row: SourceRow, wanted: Mapping[str, str]) -> None:
    """Refuse a source that does not have the columns that the policy names.

    Raises:
        ProviderFailure: It lacks one.
    """
    if absent := [column for column in wanted.values() if column not in row]:
        has = ", ".join(map(str, row))
        said = f"there is no column {', '.join(map(repr, absent))}; it has {has}"
        raise ProviderFailure(ProviderProblem.UNUSABLE, said)


def _within(read: Callable[[], Iterator[_T]], timeout: float) -> Iterator[_T]:
    """What is read in a thread, each item within a time limit; a thread that hangs ends with its process.

    Raises:
        ProviderFailure: The next item does not come in time.
        Exception: Whatever reading raises.
    """
    found: queue.Queue[tuple[str, Any]] = queue.Queue(_QUEUED)
    stopped = threading.Event()

    def put(kind: str, item: object) -> bool:
        while not stopped.is_set():
            try:
                found.put((kind, item), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in read():
                if not put("item", item):
                    return
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            put("error", error)
            return
        put("end", None)

    threading.Thread(target=produce, name="evidence source", daemon=True).start()
    try:
        while True:
            try:
                kind, item = found.get(timeout=timeout)
            except queue.Empty:
                said = f"it has given nothing for {timeout:g} s (evidence.timeout)"
                raise ProviderFailure(ProviderProblem.SLOW, said) from None
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        stopped.set()
