"""Convert paired sums of both versions' losses to an Arrow table, and back."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.evidence.paired.exact_sums import IntegerArray, SumArrays
from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.core.answers.class_mapping import NumberInterpretationCounts
from surefoot.core.policy.policy_types import PairedGate

_READINGS = ("champion_reading", "candidate_reading")
_SIDES = ("champion", "candidate")
_LARGEST = 2**63 - 1
"""Largest number of an integer column; larger sums are written as decimal digits."""
_COUNTS = ("requests", "labelled", "unscored", "late", "corrected", "scored")
_SUM_COUNTS = ("compared", "same", "odd")


def encode_paired_sums(made: PairedLossAccumulator) -> tuple[pa.Table, dict[str, object]]:
    """Convert sums of paired losses to the rows of a table, and everything else to its metadata."""
    parts = [(readings, name, rows) for readings, sums in made.sums.items() for name, rows in sums.cells.by_slice()]
    columns: dict[str, pa.Array] = {}
    if parts:
        lengths = [len(rows) for _, _, rows in parts]
        for place, column in enumerate(_READINGS):
            columns[column] = _repeat([readings[place].name for readings, _, _ in parts], lengths)
        columns["slice"] = _repeat([name for _, name, _ in parts], lengths)
        columns["block"] = pa.array(np.concatenate([rows.blocks for _, _, rows in parts]))
        columns["requests"] = pa.array(np.concatenate([rows.counts for _, _, rows in parts]))
        columns["champion"] = _numbers(np.concatenate([rows.champion for _, _, rows in parts]))
        columns["candidate"] = _numbers(np.concatenate([rows.candidate for _, _, rows in parts]))
    facts = {
        **{name: getattr(made, name) for name in _COUNTS},
        "named": made.named,
        "kinds": [[k.names, k.probabilities, k.either] for k in made.kinds],
        "sums": {
            f"{one.name} {other.name}": {**{name: getattr(sums, name) for name in _SUM_COUNTS}, "named": sums.named}
            for (one, other), sums in made.sums.items()
        },
    }
    return pa.table(columns), facts


def decode_paired_sums(
    gate: PairedGate, since: float, until: float, table: pa.Table, facts: Mapping[str, Any]
) -> PairedLossAccumulator:
    """Convert a table and its metadata, as `encode_paired_sums` made them, back to sums.

    Raises:
        KeyError: It is not of this gate.
    """
    made = PairedLossAccumulator(gate, since, until)
    for name in _COUNTS:
        setattr(made, name, int(facts[name]))
    made.named = list(facts["named"])
    made.kinds = cast(
        "tuple[NumberInterpretationCounts, NumberInterpretationCounts]",
        tuple(NumberInterpretationCounts(*some) for some in facts["kinds"]),
    )
    for readings, sums in made.sums.items():
        told = facts["sums"][" ".join(one.name for one in readings)]
        for name in _SUM_COUNTS:
            setattr(sums, name, int(told[name]))
        sums.named = list(told["named"])
    if not table.num_rows:
        return made
    names, places = _coded(table, "slice")
    blocks, counts = (table.column(name).to_numpy() for name in ("block", "requests"))
    rows = SumArrays(places, blocks, counts, *(_sums(table.column(name).combine_chunks()) for name in _SIDES))
    readings_of = [_coded(table, column) for column in _READINGS]
    for readings, sums in made.sums.items():
        mine = np.ones(len(rows), dtype=bool)
        for one, (told, codes) in zip(readings, readings_of, strict=True):
            mine &= codes == (told.index(one.name) if one.name in told else -1)
        sums.cells.add(names, rows.take(mine))
    return made


def _repeat(texts: Sequence[str], lengths: Sequence[int]) -> pa.Array:
    """A column of texts, each as often as told."""
    return pa.array(texts).take(pa.array(np.repeat(np.arange(len(texts)), lengths)))


def _coded(table: pa.Table, column: str) -> tuple[list[str], NDArray[np.int64]]:
    """Different texts of a column, and the place of each row's among them."""
    found = table.column(column).combine_chunks().dictionary_encode()
    return found.dictionary.to_pylist(), found.indices.to_numpy().astype(np.int64)


def _numbers(sums: IntegerArray) -> pa.Array:
    """A column of as many sums a row."""
    if sums.dtype != object or max(sums.max(), -sums.min()) <= _LARGEST:
        return pa.FixedSizeListArray.from_arrays(pa.array(sums.astype(np.int64).ravel()), sums.shape[1])
    return pa.array([" ".join(map(str, row)) for row in sums.tolist()])


def _sums(column: pa.Array) -> IntegerArray:
    """What `_numbers` has written, shape (n, width)."""
    if pa.types.is_string(column.type):
        return np.array([[*map(int, text.split())] for text in column.to_pylist()], dtype=object)
    flat: IntegerArray = column.flatten().to_numpy()
    return flat.reshape(len(column), column.type.list_size)


def empty_sums_table() -> pa.Table:
    """An empty table for counts that are stored as metadata only."""
    return pa.table({"none": pa.nulls(0, pa.int64())})
