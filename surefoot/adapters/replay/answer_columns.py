"""Convert model answers to Arrow columns, and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from numpy.typing import NDArray

from surefoot.adapters.evidence.paired.exact_sums import MAX_EXACT_FLOAT
from surefoot.adapters.evidence.paired.scored_batch import AnswerColumn, probabilities_or_nan
from surefoot.adapters.evidence_store.answer_files import ANSWER_COLUMNS
from surefoot.adapters.predictions.validation_table import answers_to_frame
from surefoot.core.answers.answer_values import PROBABILITY_SUM_TOLERANCE, Floats
from surefoot.core.policy.policy_types import (
    GROUP_RATE_METRICS,
    SCORE_BIN_METRICS,
    Gate,
    Metric,
    get_gate_class_names,
    get_gate_loss,
    get_gate_threshold,
)

if TYPE_CHECKING:
    import pandas as pd

_JSON_TYPE = pa.binary()
"""Type of a column of answers as JSON, each with its own form."""
_TWO = 2
_PROBABILITY_LOSSES = frozenset({Metric.BRIER, Metric.LOG_LOSS, Metric.COST})


def make_answer_column(answers: Sequence[object]) -> pa.Array:
    """Make a column of JSON values; None is no answer."""
    given = [answer for answer in answers if answer is not None]
    kinds = {type(answer) for answer in given}
    if not kinds:
        return pa.nulls(len(answers), pa.float64())
    for kind, made in ((float, pa.float64()), (str, pa.string()), (bool, pa.bool_())):
        if kinds == {kind}:
            return pa.array(answers, type=made)
    if kinds == {int} and all(abs(answer) < MAX_EXACT_FLOAT for answer in given):  # type: ignore[arg-type] # all are
        return pa.array(answers, type=pa.int64())
    if kinds == {list} and all(type(cell) is float for answer in given for cell in answer):  # type: ignore[attr-defined] # all are lists
        widths = {len(answer) for answer in given}  # type: ignore[arg-type] # same
        if len(widths) == 1 and (width := widths.pop()):
            return pa.array(answers, type=pa.list_(pa.float64(), width))
    return pa.array([None if a is None else orjson.dumps(a) for a in answers], type=_JSON_TYPE)


def parse_answer_column(texts: pa.Array) -> pa.Array:
    """Make a column of answers that are written as JSON texts; null is no answer."""
    known = texts.drop_null()
    for wanted, first in ((pa.float64(), "-0123456789"), (pa.list_(pa.float64()), "[")):
        if len(known) and str(known[0].as_py())[:1] in first:
            body = "\n".join(f'{{"a":{text}}}' for text in known.to_pylist()).encode()
            options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(body) + 1)
            try:
                found = pyarrow.json.read_json(
                    pa.BufferReader(body),
                    options,
                    pyarrow.json.ParseOptions(explicit_schema=pa.schema([("a", wanted)])),
                )
            except pa.ArrowInvalid:
                continue
            column = _equal_lists(found.column("a").combine_chunks())
            if column is not None and column.null_count == 0 and len(column) == len(known) and _exact(column):
                return merge_answer_parts(len(texts), [(np.flatnonzero(_present(texts)), column)])
    return make_answer_column([None if text is None else _loads(text) for text in texts.to_pylist()])


def _loads(text: str) -> object:
    """A JSON value; what a caller nested beyond reading is nothing."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _exact(column: pa.Array) -> bool:
    """Whether each number is what was written, as far as it may have been a whole one."""
    numbers = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    return bool(pc.all(pc.less(pc.abs(numbers), float(MAX_EXACT_FLOAT))).as_py())


def _equal_lists(column: pa.Array) -> pa.Array | None:
    """Lists of any length as lists of one length; None where they differ, are empty, or lack a number."""
    if not pa.types.is_list(column.type):
        return column
    widths = pc.unique(pc.list_value_length(column))
    if len(widths) != 1 or not widths[0].as_py() or column.flatten().null_count:
        return None
    return pa.FixedSizeListArray.from_arrays(column.flatten(), widths[0].as_py())


def merge_answer_parts(rows: int, parts: Sequence[tuple[NDArray[np.intp], pa.Array]]) -> pa.Array:
    """Put parts of a column at their places among so many rows; a row without a part has no answer."""
    parts = [(place, column) for place, column in parts if len(place)]
    if not parts:
        return pa.nulls(rows, pa.float64())
    if len({column.type for _, column in parts}) > 1:
        parts = [(place, _as_json(column)) for place, column in parts]
    where = np.full(rows, -1)
    where[np.concatenate([place for place, _ in parts])] = np.arange(sum(len(place) for place, _ in parts))
    return pa.concat_arrays([column for _, column in parts]).take(pa.array(where, mask=where < 0))


def _as_json(column: pa.Array) -> pa.Array:
    if column.type == _JSON_TYPE:
        return column
    return pa.array([None if a is None else orjson.dumps(a) for a in column.to_pylist()], type=_JSON_TYPE)


def encode_stored_answers(column: pa.Array) -> dict[str, pa.Array]:
    """Give answers in the form of ANSWER_COLUMNS; `decode_stored_answers` gives back what each is worth."""
    made = {name: pa.nulls(len(column), kind) for name, kind in ANSWER_COLUMNS.items()}
    if pa.types.is_floating(column.type):
        made["number"] = column.cast(pa.float64())
    elif pa.types.is_fixed_size_list(column.type) and pa.types.is_floating(column.type.value_type):
        made["numbers"] = column.cast(pa.list_(pa.float64()))
    elif pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or column.type == _JSON_TYPE:
        made["answer"] = column.cast(pa.string())
    else:
        texts = [None if a is None else orjson.dumps(a).decode() for a in column.to_pylist()]
        made["answer"] = pa.array(texts, type=pa.string())
    return made


def decode_stored_answers(kept: pa.Table) -> pa.Array:
    """Make a column of answers of the form of ANSWER_COLUMNS."""
    columns = {name: kept.column(name).combine_chunks() for name in ANSWER_COLUMNS}
    places = {name: np.flatnonzero(_present(column)) for name, column in columns.items()}
    parts = []
    for name, where in places.items():
        if not len(where):
            continue
        some = columns[name] if len(where) == kept.num_rows else columns[name].take(pa.array(where))
        if name == "answer":
            some = parse_answer_column(some)
        elif name == "numbers":
            equal = _equal_lists(some)
            some = make_answer_column(some.to_pylist()) if equal is None else equal
        parts.append((where, some))
    if len(parts) == 1 and len(parts[0][0]) == kept.num_rows:
        return parts[0][1]
    return merge_answer_parts(kept.num_rows, parts)


def answer_values(column: pa.Array) -> list[object]:
    """JSON values of a column; None where there is no answer."""
    if column.type == _JSON_TYPE:
        return [None if text is None else orjson.loads(text) for text in column.to_pylist()]
    return list(column.to_pylist())


def _answer_numbers(column: pa.Array) -> Floats | None:
    """The one number in each answer, NaN where there is no answer, shape (n,); None where answers are no numbers."""
    if pa.types.is_fixed_size_list(column.type) and column.type.list_size == 1:
        column = _cells(column)[0]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    return None


def _answer_probabilities(column: pa.Array) -> Floats | None:
    """The probability of yes in each answer of two class probabilities, NaN where there is no answer, shape (n,).

    Returns:
        None where an answer is something else than the probabilities of no and yes.
    """
    if not pa.types.is_fixed_size_list(column.type) or column.type.list_size != _TWO:
        return None
    no, yes = (np.asarray(cells.to_numpy(zero_copy_only=False), dtype=np.float64) for cells in _cells(column))
    there = ~np.isnan(yes)
    fine = (
        (no >= 0.0) & (no <= 1.0) & (yes >= 0.0) & (yes <= 1.0) & (np.abs(no + yes - 1.0) <= PROBABILITY_SUM_TOLERANCE)
    )
    return yes if bool((fine | ~there).all()) else None


def paired_answer_arrays(gate: Gate, champion: pa.Array, candidate: pa.Array) -> tuple[AnswerColumn, AnswerColumn]:
    """Give the answers of both versions to the same requests as a metric reads them fastest.

    Law: what the metric makes of arrays is what it makes of the values.
    """
    both = [_answer_numbers(column) for column in (champion, candidate)]
    if both[0] is None and _reads_probabilities(gate):
        both = [_answer_probabilities(column) for column in (champion, candidate)]
    if both[0] is not None and both[1] is not None:
        return both[0], both[1]
    return answer_values(champion), answer_values(candidate)


def _reads_probabilities(gate: Gate) -> bool:
    """Whether a metric takes the probabilities of no and yes for the probability of yes."""
    if get_gate_class_names(gate) or not 0.0 < get_gate_threshold(gate) < 1.0:
        return False
    return (
        gate.metric in SCORE_BIN_METRICS | GROUP_RATE_METRICS | {Metric.DISAGREEMENT}
        or get_gate_loss(gate) in _PROBABILITY_LOSSES
    )


def answer_scores(column: pa.Array) -> Floats:
    """The probability of yes in each answer, shape (n,); NaN where there is none."""
    found = _answer_numbers(column)
    found = _answer_probabilities(column) if found is None else found
    return probabilities_or_nan(answer_values(column) if found is None else found)


def missing_answer_mask(column: pa.Array) -> NDArray[np.bool_]:
    """Which rows have no answer, shape (n,)."""
    return ~_present(column)


def answer_table(columns: Sequence[pa.Array], ids: Sequence[Sequence[str]]) -> "pd.DataFrame":
    """Answers as columns of a table, as `answers_to_frame` makes them; rows without an answer are left out.

    Args:
        columns: Answers, batch by batch.
        ids: Ids of the requests, likewise.
    """
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    if len({column.type for column in columns}) == 1:
        both = pa.concat_arrays(columns).drop_null()
        if (numbers := _answer_numbers(both)) is not None:
            return pd.DataFrame({"prediction": numbers})
        if pa.types.is_fixed_size_list(both.type):
            return pd.DataFrame({f"prediction.{i}": cells.to_numpy() for i, cells in enumerate(_cells(both))})
    values = [answer for column in columns for answer in answer_values(column)]
    named = [one for some in ids for one in some]
    known = [(value, one) for value, one in zip(values, named, strict=True) if value is not None]
    return answers_to_frame([value for value, _ in known], [one for _, one in known])


def _cells(column: pa.Array) -> list[pa.Array]:
    """Each place of lists of one length as a column."""
    return [pc.list_element(column, place) for place in range(column.type.list_size)]


def _present(column: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False))
