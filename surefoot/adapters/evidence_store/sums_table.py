"""Write sums of paired losses as a table, and read them again: exact, whatever their size."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from surefoot.adapters.evidence.paired_sums import PairedSumsBuilder
from surefoot.core.answers.class_reading import NumberKinds, NumberReading
from surefoot.core.policy.policy_types import PairedGate

_KEYS = ("champion_reading", "candidate_reading", "slice", "block", "requests")
_SIDES = ("champion", "candidate")
_LARGEST = 2**63 - 1
"""Largest number of an integer column; larger sums are written as decimal digits."""
_COUNTS = ("requests", "labelled", "unscored", "late", "corrected", "scored")
_SUM_COUNTS = ("compared", "same", "odd")


def encode_sums(made: PairedSumsBuilder) -> tuple[pa.Table, dict[str, object]]:
    """Give the sums as rows, and everything else as facts."""
    cells = [
        ((*(one.name for one in readings), slice_, block, count), (old, new))
        for readings, sums in made.sums.items()
        for (slice_, block), (count, old, new) in sorted(sums.cells.items())
    ]
    columns: dict[str, pa.Array] = dict(
        zip(_KEYS, map(pa.array, zip(*(keys for keys, _ in cells), strict=True)), strict=False)
    )
    sides = zip(*(both for _, both in cells), strict=True)
    columns |= dict(zip(_SIDES, map(_numbers, sides), strict=False))
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


def decode_sums(
    gate: PairedGate, since: float, until: float, table: pa.Table, facts: Mapping[str, Any]
) -> PairedSumsBuilder:
    """Read what `encode_sums` gave.

    Raises:
        KeyError: It is not of this gate.
    """
    made = PairedSumsBuilder(gate, since, until)
    for name in _COUNTS:
        setattr(made, name, int(facts[name]))
    made.named = list(facts["named"])
    made.kinds = cast("tuple[NumberKinds, NumberKinds]", tuple(NumberKinds(*some) for some in facts["kinds"]))
    for readings, sums in made.sums.items():
        told = facts["sums"][" ".join(one.name for one in readings)]
        for name in _SUM_COUNTS:
            setattr(sums, name, int(told[name]))
        sums.named = list(told["named"])
    if not table.num_rows:
        return made
    keys = [table.column(name).to_pylist() for name in _KEYS]
    sides = [_lists(table.column(name).combine_chunks()) for name in _SIDES]
    for one, other, slice_, block, count, old, new in zip(*keys, *sides, strict=True):
        made.sums[NumberReading[one], NumberReading[other]].cells[slice_, block] = (count, old, new)
    return made


def _numbers(sums: Sequence[Sequence[int]]) -> pa.Array:
    """A column of as many sums a row."""
    width = len(sums[0])
    if all(min(row) >= -_LARGEST and max(row) <= _LARGEST for row in sums):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.array(sums, dtype=np.int64).ravel()), width)
    return pa.array([" ".join(map(str, row)) for row in sums])


def _lists(column: pa.Array) -> list[list[int]]:
    """What `_numbers` has written."""
    if pa.types.is_string(column.type):
        return [[*map(int, text.split())] for text in column.to_pylist()]
    flat = column.flatten().to_numpy()
    return cast("list[list[int]]", flat.reshape(len(column), column.type.list_size).tolist())


def no_rows() -> pa.Table:
    """A table for what is kept as facts alone."""
    return pa.table({"none": pa.nulls(0, pa.int64())})
