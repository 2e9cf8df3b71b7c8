"""Convert request tables to the input that a model's signature requires."""

import csv as tables
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from surefoot.adapters.mlflow.pyfunc.column_casting import (
    INTEGER_TYPES,
    NUMPY_NUMBER_TYPES,
    cast_column,
    column_type_name,
)
from surefoot.models.rows.answer_checks import UnfitInput

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model

ColumnNames = tuple[str | int | float, ...]
_BLANK: dict[str, object] = {**dict.fromkeys(NUMPY_NUMBER_TYPES, 0), "string": "", "boolean": False}


class ModelInputs:
    """Converts request rows to the input that a model's signature describes.

    Attributes:
        columns: Names of the inputs, or None when the model names none.
        required: Those of them that a row must have.
        signed: Whether there is a signature at all.
        specs: The inputs in the signature, columns or tensors.
        tensors: Whether they are tensors.
        hinted: Whether the signature comes from type hints.
        batchable: Whether rows of different requests can be fed together, since every value is cast by itself. Without
            a signature numpy and pandas guess a type from all values of a column.
    """

    def __init__(self, metadata: "Model") -> None:
        """Read the signature once."""
        schema = metadata.get_input_schema()  # type: ignore[no-untyped-call]
        self.signed = schema is not None
        self.specs: list[Any] = list(schema.inputs) if schema is not None else []
        self.tensors = schema is not None and schema.is_tensor_spec()
        # Such a model gets its rows as they are, and sees to their types itself.
        self.hinted = bool(getattr(metadata.signature, "_is_signature_from_type_hint", False))
        named = schema is not None and schema.has_input_names()
        self.columns: tuple[str, ...] | None = tuple(schema.input_names()) if named else None
        self.required = frozenset(schema.required_input_names()) if named else frozenset[str]()
        ragged = self.tensors and any(spec.type.kind == "O" for spec in self.specs)
        self.batchable = self.signed and not ragged

    def takes_only_doubles(self) -> bool:
        """Whether all inputs are named doubles that a row must have."""
        plain = not self.tensors and {column_type_name(spec) for spec in self.specs} == {"double"}
        return plain and self.columns is not None and self.required == set(self.columns)

    def empty_row(self) -> dict[str, object]:
        """A row of nothing."""
        return {
            name: _BLANK.get(column_type_name(spec)) for name, spec in zip(self.columns or (), self.specs, strict=False)
        }

    def model_input(self, names: ColumnNames | None, values: list[Any], *, csv: bool = False) -> Any:
        """Input of the pyfunc for some request rows.

        Args:
            names: Columns; None for rows that are bare arrays.
            values: One list of values a row, or the bare rows.
            csv: Whether they were CSV.

        Raises:
            ValueError: They are not what the signature says.
        """
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        if self.tensors:
            return self._arrays(names, values)
        if names is None and not self.signed:
            return np.array(values)
        if self.hinted and names is None:
            return values
        if self.hinted and names is not None and not column_type_name(self.specs[0]):
            return self._objects(names, values)
        return self.data_frame(*(self._named(values) if names is None else (names, values)), csv=csv)

    def data_frame(self, names: ColumnNames, values: list[Any], *, csv: bool = False) -> "pd.DataFrame":
        """Build one typed frame in which no value depends on the neighbours of its row; without a signature, as pandas.

        Raises:
            ValueError: A required column is missing, or a value does not fit its type.
        """
        import pandas as pd  # noqa: PLC0415 - it comes with MLflow, as late

        if not self.signed and csv:
            return _as_csv(names, values)
        given = dict(zip(names, (list(cells) for cells in zip(*values, strict=True)), strict=True))
        if not self.signed or self.tensors:
            return pd.DataFrame(given)
        if self.columns is None:
            if len(names) < len(self.specs):
                raise UnfitInput(f"the model takes {len(self.specs)} inputs, not {len(names)}")
            known: list[tuple[Any, Any]] = list(zip(names, self.specs, strict=False))
        elif missing := self.required - given.keys():
            raise UnfitInput(f"the required inputs {sorted(missing)} are missing")
        else:
            # A whole number cannot be missing, so a column of them that is left out, or null, is left out of the frame.
            asked = zip(self.columns, self.specs, strict=True)
            known = [
                (name, spec)
                for name, spec in asked
                if column_type_name(spec) not in INTEGER_TYPES or self._there(name, given)
            ]
        absent = [None] * len(values)
        return pd.DataFrame({name: cast_column(name, spec, given.get(name, absent), csv=csv) for name, spec in known})

    def _there(self, name: str, given: Mapping[str | int | float, Sequence[object]]) -> bool:
        """Whether a column is given, as far as it may be missing: null is what is left out."""
        return name in given and (name in self.required or any(value is not None for value in given[name]))

    def _objects(self, names: ColumnNames, values: list[Any]) -> list[dict[str | int | float, Any]]:
        """Rows as objects, of keys that only some rows have the more; what may be null has null for its default."""
        rows = [dict(zip(names, row, strict=True)) for row in values]
        if not hasattr(self.specs[0].type, "properties"):
            return rows
        return [{name: value for name, value in row.items() if value is not None} for row in rows]

    def _named(self, values: list[Any]) -> tuple[ColumnNames, list[list[Any]]]:
        """Bare rows as a table: the one column that there is, or columns by their number."""
        if self.columns is None:
            rows = [row if isinstance(row, list) else [row] for row in values]
            width = min(*map(len, rows), len(self.specs))
            return tuple(range(width)), [row[:width] for row in rows]
        if len(self.columns) > 1:
            raise UnfitInput(f"the inputs of the model have the names {list(self.columns)}; send them with the values")
        return self.columns, [[value] for value in values]

    def _arrays(self, names: ColumnNames | None, values: list[Any]) -> Any:
        """One array, or one for each name."""
        import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

        if names is None:
            return np.array(values, dtype=self.specs[0].type)
        if self.columns is None:
            if len(names) == 1:
                return _shaped([row[0] for row in values], self.specs[0])
            return np.array(values, dtype=self.specs[0].type)
        if missing := [name for name in self.columns if name not in names]:
            raise UnfitInput(f"the required inputs {missing} are missing")
        given = dict(zip(names, zip(*values, strict=True), strict=True))
        return {name: _shaped(given[name], spec) for name, spec in zip(self.columns, self.specs, strict=True)}


def _shaped(cells: Sequence[Any], spec: Any) -> Any:
    """One array of a column; flat lists, which is what a table can hold, get the shape of the signature."""
    import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late

    made = np.array(cells, dtype=spec.type)
    inner = tuple(spec.shape[1:])
    flat = made.ndim <= 2 and -1 not in inner  # noqa: PLR2004 - a row each, and its list
    return made.reshape(len(cells), *inner) if flat else made


def _as_csv(names: ColumnNames, values: list[Any]) -> "pd.DataFrame":
    """What pandas makes of CSV; every cell is written as the caller wrote it."""
    import pandas as pd  # noqa: PLC0415 - it comes with MLflow, as late

    text = io.StringIO()
    tables.writer(text).writerows([names, *values])
    return pd.read_csv(io.StringIO(text.getvalue()))
