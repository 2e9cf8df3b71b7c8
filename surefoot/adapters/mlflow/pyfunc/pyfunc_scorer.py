"""Score single rows or whole tables with a loaded MLflow model."""

import contextlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.adapters.mlflow.pyfunc.column_casting import column_type_name
from surefoot.adapters.mlflow.pyfunc.model_inputs import ColumnNames, ModelInputs
from surefoot.adapters.mlflow.pyfunc.model_outputs import (
    AnswerCountMismatch,
    is_multi_output,
    may_be_multi_output,
    plain_json_value,
    split_rows,
)
from surefoot.adapters.mlflow.pyfunc.probe_rows import probe_rows
from surefoot.adapters.mlflow.pyfunc.stage_trace import StageTrace
from surefoot.adapters.mlflow.pyfunc.table_conversion import answer_table, table_columns, table_frame
from surefoot.models.arrow_stream import decode_table, encode_table
from surefoot.models.rows.answer_checks import UnfitInput
from surefoot.models.rows.independence import IndependenceResult, RowIndependence, probe_independence
from surefoot.models.rows.row_prediction import predict_rows

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel

_SHORTCUT_CHECK_ROWS = 64
"""Rows that are drawn to compare a shortcut with MLflow's own way [count]."""
_UNTYPED_REASON = "it has no signature that types each value by itself: types are guessed from all rows of a request"
_GOLDEN_ROWS_KEY = "surefoot_golden"
"""Key of a model's metadata under which its author keeps rows and their answers."""


class PyfuncScorer:
    """A loaded pyfunc that answers JSON rows with JSON values; no answer depends on the other rows of its batch.

    Attributes:
        columns: Names of the input columns, or None when the model names none.
        batchable: Whether that is so, and rows of different requests can be answered together.
    """

    def __init__(self, model: "PyFuncModel", path: Path | None = None) -> None:
        """Read the signature once.

        Args:
            model: The loaded model.
            path: Its directory, which may hold an input example.
        """
        self._model = model
        self._path = path
        self._inputs = ModelInputs(model.metadata)
        self.columns = self._inputs.columns
        self.batchable = self._inputs.batchable
        self._tuned = model.metadata.get_params_schema() is not None  # type: ignore[no-untyped-call]
        self._outputs: bool | None = None
        self._single: bool | None = None
        self._direct: Callable[[Any], Any] | None = None

    def predict(self, rows: list[dict[str, object]], params: object = None) -> list[object]:
        """Answer every row.

        Args:
            rows: As the log has them, which does not say whether they were JSON or CSV.
            params: As for `answer`.

        Returns:
            One JSON value a row: a number or text, a list (class probabilities), or an object (several outputs).

        Raises:
            ValueError: A row lacks a required column or does not fit its type, or the model gave NaN, an infinity,
                something that is not JSON, or a wrong number of answers.
        """
        if not all(isinstance(row, dict) for row in rows):  # rows that came without names
            return self.answer(None, rows, params)
        names: dict[str, None] = {}
        for number, row in enumerate(rows):
            if missing := self._inputs.required - row.keys():
                raise UnfitInput(f"row {number} lacks the required inputs {sorted(missing)}")
            names.update(dict.fromkeys(row))
        table = [[row.get(name) for name in names] for row in rows]
        return self.answer(tuple(names), table, params, csv=self._inputs.signed)

    def answer(
        self, names: ColumnNames | None, values: list[Any], params: object = None, csv: bool = False
    ) -> list[object]:
        """Answer every row of a table, as `predict` does.

        Args:
            names: Columns; None for rows that are bare arrays.
            values: One list of values a row.
            params: What the caller wants besides; nothing, for a model that declares none. MLflow checks it.
            csv: Whether the rows were CSV.
        """
        if self._direct is not None and names is not None:
            answer = self._direct(self._array(names, values, csv=csv))
        else:
            fed = self._inputs.model_input(names, values, csv=csv)
            told: Any = params if self._tuned else None  # MLflow warns of those that nobody has asked for
            answer = self._model.predict(fed, told)
        if len(values) == 1:
            if self._outputs is None:
                self._outputs = is_multi_output(answer)
        elif self._single is not True and may_be_multi_output(answer, len(values)):
            self._see_one(names, values, params, csv=csv)
        try:
            rows = split_rows(answer, len(values), outputs=self._outputs)
        except AnswerCountMismatch as error:
            self._single = False if len(values) == 1 < error.given else self._single
            raise ValueError(str(error)) from error
        self._single = True if len(values) == 1 else self._single
        return [plain_json_value(one) for one in rows]

    def table_columns(self) -> list[tuple[str, str, bool]]:
        """Columns of the tables that `predict_table` answers, as the fields of `TableColumn`.

        None where the model must be asked for rows.
        """
        return [(column.name, column.kind, column.required) for column in table_columns(self._inputs)]

    def predict_table(self, table: bytes) -> bytes | None:
        """Answer every row of a table as `predict` answers the same rows, without one Python object a value.

        Args:
            table: At least two rows in Arrow's stream format, with the columns of `table_columns`.

        Returns:
            One column of answers in the same format; None where they are of a form that has no column.
        """
        given = decode_table(table)
        frame = table_frame(self._inputs, given)
        if self._direct is not None:
            answer = self._direct(frame.to_numpy(dtype="float64"))
        else:
            answer = self._model.predict(frame)
        answers = answer_table(answer, given.num_rows)
        return None if answers is None else encode_table(answers)

    def _see_one(self, names: ColumnNames | None, values: list[Any], params: object, *, csv: bool) -> None:
        """See whether one row has one answer, before two outputs for two rows are taken for the answers of the rows.

        Raises:
            ValueError: One row has several answers.
        """
        if self._single is None:
            with contextlib.suppress(Exception):
                self.answer(names, values[:1], params, csv=csv)
        if self._single is False:
            raise ValueError(
                "the model gives several answers for one row: which of its answers belongs to which row cannot be told;"
                " return one row of outputs for each row"
            )

    def golden_rows(self) -> tuple[list[dict[str, object]], list[object]]:
        """Rows that the model carries in its metadata, and the answers that its author saw.

        Raises:
            ValueError: They are not two lists of the same length.
        """
        carried = (self._model.metadata.metadata or {}).get(_GOLDEN_ROWS_KEY)
        if carried is None:
            return [], []
        rows, answers = (carried.get(key) for key in ("rows", "answers")) if isinstance(carried, Mapping) else (0, 0)
        if not isinstance(rows, list) or not isinstance(answers, list) or len(rows) != len(answers):
            raise ValueError(f"{_GOLDEN_ROWS_KEY} in the model's metadata needs 'rows' and as many 'answers'")
        return rows, answers

    def warm(self) -> None:
        """Ask once, so that nothing is loaded late: its golden rows, or else a row of nothing; failing is fine."""
        with contextlib.suppress(Exception):
            rows, _ = self.golden_rows()
            self.predict(rows or [self._inputs.empty_row()])
            self._direct = self._shortcut(rows)

    def probe(self) -> IndependenceResult:
        """Whether it answers each row by itself, as shown on rows that the model carries or that fit its signature."""
        try:
            rows, _ = self.golden_rows()
            names, probes = probe_rows(self._inputs, self._path, rows)
        except Exception:  # noqa: BLE001 - last resort: what a model carries may be anything; callers' rows are left
            names, probes = None, []
        independence = probe_independence(lambda some: predict_rows(self, names, some), probes, together=self.batchable)
        if self.batchable or independence.batching is RowIndependence.NOT_REPEATABLE:
            return independence
        return replace(independence, batching=RowIndependence.BATCH_DEPENDENT, why=_UNTYPED_REASON)

    def _array(self, names: ColumnNames, values: list[Any], *, csv: bool = False) -> Any:
        """Build the numbers of all rows at once; the same rows are refused as by `Inputs.frame`."""
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        rows = values
        if names != self.columns:
            try:
                places = [names.index(name) for name in self.columns or ()]
            except ValueError:
                self._inputs.data_frame(names, values)  # says which column is missing
                raise
            rows = [[row[place] for place in places] for row in values]
        try:
            made = np.array(rows, dtype=np.float64, order="F")  # as frames have them: sums keep their order
        except (TypeError, ValueError, OverflowError):
            made = None
        if made is None or made.ndim != 2:  # noqa: PLR2004 - rows and columns
            # It says which column does not fit, or knows better.
            made = self._inputs.data_frame(names, values, csv=csv).to_numpy(dtype=np.float64)
        return made

    def _shortcut(self, rows: list[dict[str, object]]) -> Callable[[Any], Any] | None:
        """The model's own function, where it may be asked with bare numbers; None where that is not shown.

        Law: all inputs are required doubles, and over the golden rows and drawn ones the answers are the same to
        the last bit as with MLflow's checks in between.
        """
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        flavor = self._model.metadata.flavors
        if "sklearn" not in flavor or self._tuned or self.columns is None or not self._inputs.takes_only_doubles():
            return None
        raw = self._model.get_raw_model()  # type: ignore[no-untyped-call]
        function = getattr(raw, flavor["python_function"].get("predict_fn", "predict"), None)
        if function is None:
            return None
        drawn = np.random.default_rng(0).normal(0.0, 3.0, (_SHORTCUT_CHECK_ROWS, len(self.columns)))
        probes = [*([row[name] for name in self.columns] for row in rows), *drawn.tolist()]

        def direct(numbers: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn misses the names that it was trained with
                return function(numbers)

        try:
            for some in (probes, probes[:1]):
                slow, fast = (
                    [plain_json_value(one) for one in split_rows(made, len(some))]
                    for made in (
                        self._model.predict(self._inputs.data_frame(self.columns, some)),
                        direct(self._array(self.columns, some)),
                    )
                )
                if slow != fast:
                    return None
        except Exception:  # noqa: BLE001 - the model's own code; what it cannot do with bare numbers is not done
            return None
        return direct

    def signature_fields(self) -> dict[str, object]:
        """What the signature says: "inputs" as types by name, as far as it names them, and "outputs" as one text."""
        outputs = self._model.metadata.get_output_schema()  # type: ignore[no-untyped-call]
        return {
            "inputs": {
                name: column_type_name(spec) for name, spec in zip(self.columns or (), self._inputs.specs, strict=False)
            },
            "outputs": "" if outputs is None else str(outputs),
        }

    @property
    def raw(self) -> bool:
        """Whether what the model is fed is the row as it came: what happens inside it cannot be looked at."""
        return not self._steps()

    def is_raw(self) -> bool:
        """The same as an answer to a question."""
        return self.raw

    def _steps(self) -> list[Any]:
        """The steps of a pipeline before its model; none for whatever else it is."""
        with contextlib.suppress(Exception):  # a plain pyfunc has no inner model, and says so by an error
            inner = self._model.get_raw_model()  # type: ignore[no-untyped-call]
            return list(getattr(inner, "steps", [])[:-1])
        return []

    def model_inputs(self, rows: list[dict[str, object]]) -> list[dict[str, object]]:
        """The same as JSON, column by column: numbers with the kind of their column, all else as text or null."""
        import pandas as pd  # noqa: PLC0415 - it comes with MLflow, as late

        made: list[dict[str, object]] = []
        for name, column in self.preprocessed(rows).items():
            if pd.api.types.is_numeric_dtype(column):
                kind = str(column.dtype) if str(column.dtype).startswith(("int", "uint", "bool")) else "float64"
                values = [None if value != value else value for value in column.to_numpy(float).tolist()]  # noqa: PLR0124 - only NaN differs from itself
            else:
                kind, gone = "", column.isna()
                values = [None if no else text for no, text in zip(gone, column.astype(str), strict=True)]
            made.append({"name": str(name), "kind": kind, "values": values})
        return made

    def preprocessed(self, rows: list[dict[str, object]]) -> "pd.DataFrame":
        """What the model is fed: the rows after every first step of a pipeline that keeps their columns."""
        names = tuple(dict.fromkeys(name for row in rows for name in row))
        frame = self._inputs.data_frame(
            names, [[row.get(name) for name in names] for row in rows], csv=self._inputs.signed
        )
        for _, step in self._steps():
            fed = step.transform(frame)
            if list(getattr(fed, "columns", [])) != list(frame.columns):
                break
            frame = fed
        return frame

    def trace(self, rows: list[dict[str, object]]) -> list[list[dict[str, object]]]:
        """Record each row after each stage: as received, typed by the signature, after pipeline steps, and the output.

        A stage that raises is the last one of its row, with its error.
        """
        return [self._traced(row) for row in rows]

    def _traced(self, row: dict[str, object]) -> list[dict[str, object]]:
        names, values = tuple(row), [list(row.values())]
        trace = StageTrace(row)
        typed = trace.run(
            "typed by the signature", lambda: self._inputs.model_input(names, values, csv=self._inputs.signed)
        )
        fed = typed
        for name, step in self._steps():
            fed = trace.run(f"after step {name}", partial(step.transform, fed))
        output = trace.run("output of the model", lambda: self._model.predict(typed))
        trace.run("answer", lambda: plain_json_value(split_rows(output, 1, outputs=self._outputs)[0]))
        return trace.stages


def import_libraries_early() -> None:
    """Import everything that a model may need; a serving process does this before it takes its first request."""
    import mlflow.pyfunc.scoring_server  # noqa: F401, PLC0415 - only a process that serves pays for it
    import sklearn.pipeline  # noqa: F401, PLC0415 - same
