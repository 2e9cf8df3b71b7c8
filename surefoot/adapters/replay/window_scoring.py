"""Score a replay's requests with one version, and reuse its stored answers."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from surefoot.adapters.evidence_store.answer_files import ANSWER_SCHEMA
from surefoot.adapters.predictions.prediction_log import LoggedRequest, parse_logged_json
from surefoot.adapters.replay.answer_columns import (
    answer_values,
    decode_stored_answers,
    encode_stored_answers,
    make_answer_column,
    merge_answer_parts,
    missing_answer_mask,
    parse_answer_column,
)
from surefoot.adapters.replay.batch_scoring import (
    RECHECKED_ROWS,
    RequestKey,
    ScorableModel,
    ScoringCounts,
    answers_equal_when_alone,
    declares_row_independence,
    score_rows,
)
from surefoot.adapters.replay.replay_window import ReplayWindow, RequestBatch
from surefoot.core.domain import Version
from surefoot.core.errors import SurefootError
from surefoot.models.arrow_stream import decode_table, encode_table
from surefoot.models.child_process_scorer import ChildProcessScorer, ScoringAbandoned
from surefoot.models.model_protocols import PredictorLost, TableColumn
from surefoot.models.rows.answer_checks import describe_error

_MIN_TABLE_ROWS = 16
"""Rows that are asked as one table at least; fewer are asked as rows [count]."""
_MAX_SAMPLE_ROWS = 2 * RECHECKED_ROWS
"""Rows of a window of many batches that are asked again alone [count]."""
_SPLIT_PARTS = 8
"""Parts of a table that are asked by themselves after the model has raised for the whole [count]."""
_SPLIT_PARTS_AFTER_DEATH = 64
"""The same after the model's process has ended: few restarts find the row [count]."""


class WindowScorer:
    """Answers of one version to the requests of a window; what it has answered before it is not asked again.

    Attributes:
        tally: What became of the requests so far.
        answered: Requests that have an answer [count].
        asked: Requests that the version was asked here: it had answered them neither live nor before [count].
    """

    def __init__(self, window: ReplayWindow, model: ScorableModel, version: Version, kept: Sequence[Path] = ()) -> None:
        """Score nothing yet.

        Args:
            window: The requests.
            model: The version.
            version: Which one it is.
            kept: Files of answers that it gave before, in the form of ANSWER_SCHEMA.

        Raises:
            SurefootError: The model could not be had.
        """
        self._window, self._model, self._number = window, model, version.number
        self._folder = Path(tempfile.mkdtemp(prefix="answers-", dir=window.folder))
        self._kept = window.join_answers(kept) if kept else ""
        self._start(together=None)

    def _start(self, *, together: bool | None) -> None:
        """Forget all answers.

        Args:
            together: Whether rows of several requests may be asked at once; None where the model is to be asked that.
        """
        self.tally, self.answered, self.asked, self._files = ScoringCounts(self._window.size), 0, 0, 0
        self._asked_together = together
        self._columns: list[TableColumn] | None = None if isinstance(self._model, ChildProcessScorer) else []
        self._sample: list[tuple[LoggedRequest, object]] = []
        self._served: list[NDArray[np.intp]] = []

    @property
    def _together(self) -> bool:
        """Whether rows of several requests may be asked at once; the first question starts the model's process."""
        if self._asked_together is None:
            self._asked_together = declares_row_independence(self._model) is not False
        return self._asked_together

    def prepare_batch(self, batch: RequestBatch) -> None:
        """Read the rows of a batch into columns before it is scored, where the version is asked for tables."""
        if self._columns and len(self._known(batch)[2]):
            batch.typed_rows(self._columns)

    def _known(self, batch: RequestBatch) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Places of the requests that the version has answered live, those with a kept answer, and the others."""
        live = pc.and_(
            pc.equal(batch.column_texts("answered_by"), self._number), pc.is_valid(batch.column_texts("prediction"))
        )
        rest = ~pc.fill_null(live, fill_value=False).to_numpy(zero_copy_only=False)
        served = np.flatnonzero(~rest)
        if not self._kept:
            return served, served[:0], np.flatnonzero(rest)
        before = self._window.joined_answers(self._kept, batch.number)[0]
        before = before[rest[before]]
        rest[before] = False
        return served, before, np.flatnonzero(rest)

    def _kept_column(self, batch: RequestBatch, places: NDArray[np.intp]) -> pa.Array:
        """Answers that were kept of some requests."""
        found, kept = self._window.joined_answers(self._kept, batch.number)
        return decode_stored_answers(kept.filter(pa.array(np.isin(found, places))))

    def score_batch(self, batch: RequestBatch) -> None:
        """Score one more batch; the batches of a window come in its order.

        Raises:
            SurefootError: The model could not be had.
        """
        rows = len(batch.number)
        served, before, fresh = self._known(batch)
        self.tally.tried += len(served) + len(before)
        self.asked += len(fresh)
        parts = [(served, parse_answer_column(batch.column_texts("prediction").take(pa.array(served))))]
        if len(before):
            kept = self._kept_column(batch, before)
            self.tally.failed += kept.null_count
            parts.append((before, kept))
        if len(fresh) and not self.tally.abandoned:
            parts += self._ask(batch, fresh)
        self._served.append(served)
        column = merge_answer_parts(rows, parts)
        self.answered += rows - column.null_count
        self._keep(column)
        if len(self._sample) < _MAX_SAMPLE_ROWS:
            asked = fresh[pc.is_valid(column.take(pa.array(fresh))).to_numpy(zero_copy_only=False)]
            asked = asked[:: max(len(asked) // RECHECKED_ROWS, 1)][: 1 if self._sample else RECHECKED_ROWS]
            self._sample += zip(_requests(batch, asked), answer_values(column.take(pa.array(asked))), strict=True)

    def check_answers(self) -> None:
        """Check that tables and chunks have changed no answer; else score everything again, one request at a time.

        Raises:
            SurefootError: The model could not be had.
        """
        if not self.asked:
            return
        if not declares_row_independence(self._model) or not self._together:
            if self._together and declares_row_independence(self._model) is False:
                self._again()
            return
        if not answers_equal_when_alone(self._model, self._sample):
            self._again()

    def _again(self) -> None:
        self._start(together=False)
        for batch in self._window.batches():
            self.score_batch(batch)

    def answer_columns(self) -> Iterator[pa.Array]:
        """Give the answers of each batch; null where there is none."""
        for index in range(self._files):
            with pa.memory_map(str(self._folder / f"{index}.arrow")) as source:
                yield pa.ipc.open_file(source).get_batch(0).column(0)

    def is_complete(self) -> bool:
        """Whether the version was asked about every request, and its process never ended or hung meanwhile."""
        return not self.tally.abandoned and not self.tally.lost

    def answer_tables(self) -> Iterator[pa.Table]:
        """Give the answers in the form of ANSWER_SCHEMA, but those that stand in the log."""
        for (_, keys), column, served in zip(
            self._window.request_keys(), self.answer_columns(), self._served, strict=True
        ):
            answers = encode_stored_answers(column)
            made = pa.table([*keys.columns, *answers.values()], names=[*keys.column_names, *answers])
            wanted = np.ones(len(column), dtype=bool)
            wanted[served] = False
            if not self.is_complete():  # what did not come may come another time
                wanted &= ~missing_answer_mask(column)
            yield (made if wanted.all() else made.filter(pa.array(wanted))).cast(ANSWER_SCHEMA)

    @property
    def answers(self) -> dict[RequestKey, object]:
        """All answers by request key; for small windows."""
        made: dict[RequestKey, object] = {}
        for batch, column in zip(self._window.batches(), self.answer_columns(), strict=True):
            keys = zip(batch.column_texts("request").to_pylist(), batch.table.column("row").to_pylist(), strict=True)
            made |= {key: answer for key, answer in zip(keys, answer_values(column), strict=True) if answer is not None}
        return made

    def _keep(self, column: pa.Array) -> None:
        made = pa.record_batch([column], names=["answer"])
        with (
            pa.OSFile(str(self._folder / f"{self._files}.arrow"), "wb") as stream,
            pa.ipc.new_file(stream, made.schema) as file,
        ):
            file.write_batch(made)
        self._files += 1

    def _ask(self, batch: RequestBatch, places: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], pa.Array]]:
        """Ask about some rows of a batch: as tables where they can be, else row by row."""
        parts: list[tuple[NDArray[np.intp], pa.Array]] = []
        rest = places
        if columns := self._table_columns():
            table, fit = batch.typed_rows(columns)
            asked = np.zeros(len(batch.number), dtype=bool)
            asked[places] = pc.is_null(batch.column_texts("params")).to_numpy(zero_copy_only=False)[places]
            wanted = asked[fit]
            parts = self._ask_tables(table if wanted.all() else table.filter(pa.array(wanted)), fit[wanted])
            done = np.concatenate([place for place, _ in parts]) if parts else places[:0]
            rest = np.setdiff1d(places, done, assume_unique=True)
        if len(rest) and not self.tally.abandoned:
            requests = _requests(batch, rest)
            found = score_rows(self._model, requests, self.tally, together=self._together)
            parts.append((rest, make_answer_column([found.get(request.key) for request in requests])))
        return parts

    def _table_columns(self) -> list[TableColumn]:
        """Columns of the tables that the model can be asked about; none where it must be asked for rows."""
        if self._columns is None and not self._together:
            self._columns = []
        if self._columns is None:
            try:
                self._columns = self._model.table_columns()  # type: ignore[attr-defined] # a ChildProcessScorer
            except SurefootError:
                raise
            except Exception:  # noqa: BLE001 - the model's own code may end its process; rows will show it
                self._columns = []
        return self._columns

    def _ask_tables(self, table: pa.Table, places: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], pa.Array]]:
        """Ask about a table; parts for which the model raises are asked in smaller ones, the smallest not at all."""
        parts: list[tuple[NDArray[np.intp], pa.Array]] = []
        waiting = [np.arange(table.num_rows)]
        while waiting and self._columns:
            here = waiting.pop()
            if len(here) < _MIN_TABLE_ROWS:
                continue
            part = table.slice(int(here[0]), len(here))
            try:
                column = _predict(self._model, part)  # type: ignore[arg-type] # a ChildProcessScorer
            except SurefootError:
                raise
            except ScoringAbandoned:
                self.tally.abandoned = True
                break
            except Exception as error:  # noqa: BLE001 - the candidate's code may raise anything; that is what is measured
                self.tally.problem = self.tally.problem or describe_error(error)
                self.tally.lost = self.tally.lost or isinstance(error, PredictorLost)
                waiting += np.array_split(
                    here, _SPLIT_PARTS_AFTER_DEATH if isinstance(error, PredictorLost) else _SPLIT_PARTS
                )[::-1]
                continue
            if column is None:
                self._columns = []
                break
            self.tally.tried += len(here)
            parts.append((places[here], column))
        return parts


def _predict(model: ChildProcessScorer, table: pa.Table) -> pa.Array | None:
    """Answers to a table; None where the model has no column of answers."""
    found = model.predict_table(encode_table(table), table.num_rows)
    if found is None:
        return None
    column = decode_table(found).column(0).combine_chunks()
    if len(column) != table.num_rows:
        raise ValueError(f"the model gave {len(column)} answers for {table.num_rows} rows")
    return column


def _requests(batch: RequestBatch, places: Sequence[int] | NDArray[np.intp]) -> list[LoggedRequest]:
    """Some rows of a batch as requests."""
    some = batch.table.select(["request", "row", "at", "params"]).take(pa.array(places))
    some = some.add_column(3, "features", batch.features.take(pa.array(places)))
    made = []
    for request, row, at, features, params in zip(*(column.to_pylist() for column in some.columns), strict=True):
        asked = parse_logged_json(features)
        named, bare = (asked, None) if isinstance(asked, dict) else ({}, [asked])
        made.append(LoggedRequest((request, row), at, "", "", None, named, (), parse_logged_json(params), bare))
    return made
