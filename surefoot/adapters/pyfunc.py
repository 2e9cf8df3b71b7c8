"""A loaded model as the gateway and the evaluation see it: JSON rows in, JSON values out."""

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel

_NUMBERS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
PROBES = 64
"""Rows that are drawn to compare a shortcut with MLflow's own way [count]."""
GOLDEN = "surefoot_golden"
"""Key of a model's metadata under which its author keeps rows and their answers."""
_BLANK: dict[str, object] = {**dict.fromkeys(_NUMBERS, 0), "string": "", "boolean": False}
_PLAIN = frozenset({*_NUMBERS, "string", "boolean"})


class Scorer:
    """A loaded pyfunc that answers JSON rows with JSON values, whoever shares its batch.

    Attributes:
        columns: Names of the input columns, or None when the model names none.
    """

    def __init__(self, model: "PyFuncModel") -> None:
        """Read the signature once."""
        self._model = model
        self._schema = schema = model.metadata.get_input_schema()  # type: ignore[no-untyped-call]
        named = schema is not None and schema.has_input_names()
        self.columns: tuple[str, ...] | None = tuple(schema.input_names()) if named else None
        self._required = frozenset(schema.required_input_names()) if named else frozenset()
        types = [str(getattr(kind, "name", "")) for kind in schema.input_types()] if named else []
        self._plain = dict(zip(self.columns or (), types, strict=False))
        self._direct: Callable[[Any], Any] | None = None

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Answer every row.

        Returns:
            One JSON value a row: a number or text, a list (class probabilities), or an object (several outputs).

        Raises:
            ValueError: A row lacks a required column or does not fit its type, or the model gave NaN, an infinity,
                something that is not JSON, or a wrong number of answers.
        """
        names: dict[str, None] = {}
        for number, row in enumerate(rows):
            if missing := self._required - row.keys():
                raise ValueError(f"row {number} lacks the required inputs {sorted(missing)}")
            names.update(dict.fromkeys(row))
        return self.answer(tuple(names), [[row.get(name) for name in names] for row in rows])

    def answer(self, names: tuple[str, ...] | None, values: list[Any]) -> list[object]:
        """Answer every row of a table, as `predict` does.

        Args:
            names: Columns; None for rows that are bare arrays.
            values: One list of values a row.
        """
        if self._direct is not None and names is not None:
            answers = _rows_of(self._direct(self._array(names, values)))
        else:
            answers = _rows_of(self._model.predict(self._fed(names, values)))
        if len(answers) != len(values):
            raise ValueError(f"the model gave {len(answers)} answers for {len(values)} rows")
        return [_json(answer) for answer in answers]

    def golden(self) -> tuple[list[dict[str, object]], list[object]]:
        """Rows that the model carries in its metadata, and the answers that its author saw.

        Raises:
            ValueError: They are not two lists of the same length.
        """
        carried = (self._model.metadata.metadata or {}).get(GOLDEN)
        if carried is None:
            return [], []
        rows, answers = (carried.get(key) for key in ("rows", "answers")) if isinstance(carried, Mapping) else (0, 0)
        if not isinstance(rows, list) or not isinstance(answers, list) or len(rows) != len(answers):
            raise ValueError(f"{GOLDEN} in the model's metadata needs 'rows' and as many 'answers'")
        return rows, answers

    def warm(self) -> None:
        """Ask once, so that nothing is loaded late: its golden rows, or else a row of nothing; failing is fine."""
        with contextlib.suppress(Exception):
            rows, _ = self.golden()
            blank: dict[str, object] = {name: _BLANK.get(self._plain.get(name, "")) for name in self.columns or ()}
            self.predict(rows or [blank])
            self._direct = self._shortcut(rows)

    def _array(self, names: tuple[str, ...], values: list[Any]) -> Any:
        """Build the numbers of all rows at once; the same rows are refused as by `_frame`."""
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        rows = values
        if names != self.columns:
            try:
                places = [names.index(name) for name in self.columns or ()]
            except ValueError:
                self._frame(names, values)  # says which column is missing
                raise
            rows = [[row[place] for place in places] for row in values]
        try:
            return np.array(rows, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            self._frame(names, values)  # says which column does not fit
            raise

    def _shortcut(self, rows: list[dict[str, object]]) -> Callable[[Any], Any] | None:
        """The model's own function, where it may be asked with bare numbers; None where that is not proved.

        Law: all inputs are required doubles, and over the golden rows and PROBES drawn ones the answers are the same to
        the last bit as with MLflow's checks in between.
        """
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        flavor = self._model.metadata.flavors
        if "sklearn" not in flavor or not self.columns or set(self._plain.values()) != {"double"}:
            return None
        if self._required != set(self.columns):
            return None
        raw = self._model.get_raw_model()  # type: ignore[no-untyped-call]
        function = getattr(raw, flavor["python_function"].get("predict_fn", "predict"), None)
        if function is None:
            return None
        drawn = np.random.default_rng(0).normal(0.0, 3.0, (PROBES, len(self.columns)))
        probes = [*([row[name] for name in self.columns] for row in rows), *drawn.tolist()]

        def direct(numbers: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn misses the names that it was trained with
                return function(numbers)

        try:
            for some in (probes, probes[:1]):
                slow, fast = (
                    _rows_of(made)
                    for made in (
                        self._model.predict(self._frame(self.columns, some)),
                        direct(self._array(self.columns, some)),
                    )
                )
                if [_json(answer) for answer in slow] != [_json(answer) for answer in fast]:
                    return None
        except Exception:  # noqa: BLE001 - the model's own code; what it cannot do with bare numbers is not done
            return None
        return direct

    def seen(self, rows: list[dict[str, object]]) -> "pd.DataFrame":
        """What the model is fed: the rows after every first step of a pipeline that keeps their columns."""
        names = tuple(dict.fromkeys(name for row in rows for name in row))
        frame = self._frame(names, [[row.get(name) for name in names] for row in rows])
        inner = getattr(self._model, "get_raw_model", lambda: None)()
        for _, step in getattr(inner, "steps", [])[:-1]:
            fed = step.transform(frame)
            if list(getattr(fed, "columns", [])) != list(frame.columns):
                break
            frame = fed
        return frame

    def _fed(self, names: tuple[str, ...] | None, values: list[Any]) -> Any:
        """What the pyfunc is fed: a typed frame, or arrays where the signature has tensors."""
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        schema = self._schema
        if schema is None or not schema.is_tensor_spec():
            return np.array(values) if names is None else self._frame(names, values)
        kinds = schema.input_types()
        if names is None:
            return np.array(values, dtype=kinds[0])
        if self.columns is None:
            raise ValueError("the model takes arrays without names")
        if missing := [name for name in self.columns if name not in names]:
            raise ValueError(f"the required inputs {missing} are missing")
        known = dict(zip(self.columns, kinds, strict=True))
        columns = dict(zip(names, zip(*values, strict=True), strict=True))
        return {name: np.array(columns[name], dtype=kind) for name, kind in known.items()}

    def _frame(self, names: tuple[str, ...], values: list[Any]) -> "pd.DataFrame":
        """Build one typed frame in which no value depends on the neighbours of its row."""
        import pandas as pd  # noqa: PLC0415 - it comes with MLflow, as late

        columns = dict(zip(names, (list(column) for column in zip(*values, strict=True)), strict=True))
        if self.columns is None:
            frame = pd.DataFrame(columns)
            return frame if self._schema is None else _cast(frame, self._schema)
        if missing := self._required - columns.keys():
            raise ValueError(f"the required inputs {sorted(missing)} are missing")
        absent: list[object] = [None] * len(values)
        cells = {name: columns.get(name, absent) for name in self.columns}
        if not set(self._plain.values()) <= _PLAIN:
            return _cast(pd.DataFrame(cells), self._schema)
        return pd.DataFrame({name: _column(name, self._plain[name], column) for name, column in cells.items()})


def _column(name: str, kind: str, values: list[object]) -> object:
    """Cast one column as `mlflow models serve` does, for all rows at once; an absent value is NaN."""
    import numpy as np  # noqa: PLC0415 - it comes with pandas
    import pandas as pd  # noqa: PLC0415 - as late as MLflow

    if kind in _NUMBERS:
        try:
            return np.array(values, dtype=_NUMBERS[kind])
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"input {name!r} does not fit its type {kind}: {error}") from error
    if kind == "boolean":
        if not all(value is None or value in (True, False) for value in values):
            raise ValueError(f"input {name!r} does not fit its type boolean")
        return np.array(values, dtype=object if None in values else bool)
    # Always pandas' text type: inferred, a column would be another type when its neighbours are all absent.
    return pd.array([None if value is None or value != value else str(value) for value in values], dtype="str")  # noqa: PLR0124 - only NaN differs from itself


def _cast(frame: "pd.DataFrame", schema: Any) -> "pd.DataFrame":
    """Cast dates, bytes, arrays and tensors with MLflow's own function."""
    from mlflow.utils import proto_json_utils  # noqa: PLC0415 - MLflow is late

    return proto_json_utils.cast_df_types_according_to_schema(frame, schema)  # type: ignore[no-any-return,no-untyped-call]


def _rows_of(answer: Any) -> Sequence[Any]:
    """Split what a pyfunc returned into one value a row."""
    if hasattr(answer, "to_dict") and hasattr(answer, "columns"):
        return answer.to_dict(orient="records")  # type: ignore[no-any-return]
    if hasattr(answer, "tolist"):  # arrays and series
        answer = answer.tolist()
    if not isinstance(answer, list | tuple):
        raise ValueError(f"the model gave one {type(answer).__name__}, not one answer a row")  # noqa: TRY004 - documented
    return answer


def _json(value: Any) -> object:
    """Give a plain JSON value for one of numpy's or pandas'."""
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        value = value.tolist()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"the model gave {value} as an answer")
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise ValueError(f"the model gave a {type(value).__name__}, which is not a JSON value")


def preload() -> None:
    """Import everything that a model may need; a serving process does this before it takes its first request."""
    import mlflow.pyfunc.scoring_server  # noqa: F401, PLC0415 - only a process that serves pays for it
    import sklearn.pipeline  # noqa: F401, PLC0415 - same
