"""Read and write counts of excluded records and of replay failures as metadata of stored tables."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from surefoot.adapters.evidence.replay_failures import ReplayFailures
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


def decode_replay_failures(facts: Mapping[str, Any]) -> ReplayFailures:
    """Read counts of failures from the facts of a piece."""
    return ReplayFailures(*(int(facts[one.name]) for one in fields(ReplayFailures)))


def encode_replay_failures(counts: ReplayFailures) -> dict[str, object]:
    """Counts of failures as facts of a piece."""
    return asdict(counts)
