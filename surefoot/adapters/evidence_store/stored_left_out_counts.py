"""Read counts of left-out records from the metadata of stored tables, and add them together."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from surefoot.core.judging.left_out_records import LeftOutRecords


def read_left_out_counts(facts: Mapping[str, object]) -> LeftOutRecords:
    """What was left out of some records, as its facts were kept."""
    found: dict[str, Any] = {one.name: facts[one.name] for one in fields(LeftOutRecords)}
    return LeftOutRecords(**{**found, "requests": tuple(found["requests"])})


def add_left_out_counts(one: LeftOutRecords, other: LeftOutRecords) -> LeftOutRecords:
    """Count what was left out of different records."""
    counts = {
        name.name: getattr(one, name.name) + getattr(other, name.name)
        for name in fields(LeftOutRecords)
        if name.name not in {"requests", "what"}
    }
    return LeftOutRecords(**counts)
