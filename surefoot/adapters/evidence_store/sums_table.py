"""Write sums of paired losses as a table, and read them again: exact, whatever their size."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa

from surefoot.adapters.evidence.paired_sums import PairedSumsBuilder
from surefoot.core.answers.class_reading import NumberKinds, NumberReading
from surefoot.core.policy.policy_types import PairedGate

_SCHEMA = pa.schema(
    [
        ("champion_reading", pa.string()),
        ("candidate_reading", pa.string()),
        ("slice", pa.string()),
        ("block", pa.int64()),
        ("requests", pa.int64()),
        # Decimal digits: losses may be larger than any integer of a machine.
        ("champion", pa.list_(pa.string())),
        ("candidate", pa.list_(pa.string())),
    ]
)
_COUNTS = ("requests", "labelled", "unscored", "late", "corrected", "scored")
_SUM_COUNTS = ("compared", "same", "odd")


def encode_sums(made: PairedSumsBuilder) -> tuple[pa.Table, dict[str, object]]:
    """Give the sums as rows, and everything else as facts."""
    rows = [
        {
            "champion_reading": one.name,
            "candidate_reading": other.name,
            "slice": slice_,
            "block": block,
            "requests": count[0],
            "champion": [str(int(value)) for value in old],
            "candidate": [str(int(value)) for value in new],
        }
        for (one, other), sums in made.sums.items()
        for (slice_, block), (count, old, new) in sorted(sums.cells.items())
    ]
    facts = {
        **{name: getattr(made, name) for name in _COUNTS},
        "named": made.named,
        "kinds": [[k.names, k.probabilities, k.either] for k in made.kinds],
        "sums": {
            f"{one.name} {other.name}": {**{name: getattr(sums, name) for name in _SUM_COUNTS}, "named": sums.named}
            for (one, other), sums in made.sums.items()
        },
    }
    return pa.Table.from_pylist(rows, schema=_SCHEMA), facts


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
    for row in table.to_pylist():
        key = (NumberReading[row["champion_reading"]], NumberReading[row["candidate_reading"]])
        old, new = (np.array([int(value) for value in row[side]], dtype=object) for side in ("champion", "candidate"))
        made.sums[key].cells[row["slice"], row["block"]] = ([row["requests"]], old, new)
    return made
