"""Build the synthetic rows of corner cases from real requests."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.replay.corners.drawn_changes import Change, draw_changes
from surefoot.core.policy.corners import NUMERIC_COLUMN_KINDS, ColumnKind, Corners, determine_column_kind

_MAX_WHOLE = 2**53 - 1
"""Largest whole number that JSON carries exactly."""
_FAR = (1.0, 10.0, 1000.0)
"""How far beyond the recorded extremes values lie, in recorded ranges: mistaken units are among them."""
_WHOLE_LIMITS = {"integer": 2**31 - 1, "long": _MAX_WHOLE}
"""Largest whole number of a type of a signature that a journal can carry."""
_DRAWN_KINDS = {
    ColumnKind.NUMBER: "number",
    ColumnKind.WHOLE: "whole",
    ColumnKind.TEXT: "text",
    ColumnKind.TRUTH: "truth",
}
_SIGNATURE_KINDS = {
    "double": ColumnKind.NUMBER,
    "float": ColumnKind.NUMBER,
    "integer": ColumnKind.WHOLE,
    "long": ColumnKind.WHOLE,
    "string": ColumnKind.TEXT,
    "boolean": ColumnKind.TRUTH,
}
_STRANGE_TEXTS = ("unseen", "Ünseen ", "0", "?", "unseen,'\"\\")


@dataclass(frozen=True, slots=True)
class SyntheticRow:
    """One synthetic row: a real request with some changed values.

    Attributes:
        real: The request that it was made from.
        change: Values that differ from it.
    """

    real: LoggedRequest
    change: Change

    @property
    def features(self) -> dict[str, object]:
        """The whole row."""
        return {**self.real.features, **self.change}


@dataclass(frozen=True, slots=True)
class Corner:
    """One corner case with its synthetic rows.

    Attributes:
        name: What it is, for people.
        rows: Its rows.
    """

    name: str
    rows: tuple[SyntheticRow, ...]


class ReferenceColumns:
    """Columns of real requests: their values, kinds and ranges."""

    def __init__(self, requests: Sequence[LoggedRequest], types: Mapping[str, object]) -> None:
        """Look at every value once.

        Args:
            requests: Real requests with named columns.
            types: Types that the candidate's signature names, by column.
        """
        names = dict.fromkeys(name for request in requests for name in request.features)
        self.values = {
            name: [v for r in requests if (v := r.features.get(name)) is not None] for name in (*names, *types)
        }
        self.types = types
        self.kinds = {name: self._kind(name, values) for name, values in self.values.items()}

    def _kind(self, name: str, values: Sequence[object]) -> ColumnKind:
        found, declared = (
            determine_column_kind(values),
            _SIGNATURE_KINDS.get(str(self.types.get(name)), ColumnKind.UNKNOWN),
        )
        # Numbers that happen to be whole may have a fraction where the signature says so.
        wider = found is ColumnKind.WHOLE and declared is ColumnKind.NUMBER
        return declared if found is ColumnKind.UNKNOWN or wider else found

    def range_of(self, name: str) -> tuple[float, float]:
        """Smallest and largest recorded number."""
        numbers = [value for value in self.values[name] if isinstance(value, int | float)]
        return (min(numbers), max(numbers)) if numbers else (0, 1)

    def as_kind(self, name: str, value: float) -> float:
        """A number as the column holds it."""
        if self.kinds[name] is not ColumnKind.WHOLE:
            return float(value)
        return int(max(min(value, _MAX_WHOLE), -_MAX_WHOLE))

    def beyond(self, name: str) -> tuple[list[float], list[float]]:
        """Numbers below the smallest and above the largest recorded one, the nearest first."""
        low, high = self.range_of(name)
        width = (high - low) or max(abs(high), 1)
        far = [self.as_kind(name, width * times) for times in _FAR]
        below, above = [self.as_kind(name, low - one) for one in far], [self.as_kind(name, high + one) for one in far]
        limit = _WHOLE_LIMITS.get(str(self.types.get(name)))
        if limit is not None and self.kinds[name] is ColumnKind.WHOLE:
            return [max(one, -limit) for one in below] + [-limit], [min(one, limit) for one in above] + [limit]
        return below, above

    def unseen(self, name: str) -> list[object]:
        """Categories that no request has."""
        known = set(map(repr, self.values[name]))
        if self.kinds[name] in NUMERIC_COLUMN_KINDS:
            low, high = self.range_of(name)
            made: list[object] = [self.as_kind(name, one) for one in (high + 1, low - 1, high + 100, low - 1000)]
        else:
            first = sorted(str(value) for value in self.values[name])[:1]
            made = [*_STRANGE_TEXTS, *(f(one) for one in first for f in (str.swapcase, "{} ".format, " {}".format))]
        return [value for value in made if repr(value) not in known] or [f"unseen {len(known)}"]


def build_corners(
    declared: Corners, requests: Sequence[LoggedRequest], columns: ReferenceColumns, seed: int
) -> list[Corner]:
    """Make the synthetic rows of every corner case that the policy declares.

    Law: each corner has at least `declared.rows` rows, and every other column of a row is from one real request.

    Args:
        declared: What the policy declares.
        requests: Real requests with named columns, at least one.
        columns: Their columns.
        seed: Everything is drawn from it.
    """
    return [
        Corner(name, _rows(name, changes, requests, declared.rows, seed))
        for name, changes in _changes(declared, columns, seed)
    ]


def build_rare_corner(
    name: str, changes: Sequence[Change], requests: Sequence[LoggedRequest], least: int, seed: int
) -> Corner:
    """Make the corner of a rare group: every other row is a real request as it was, the others have a change.

    Args:
        name: The corner.
        changes: Changes of other corners, which leave the group as it is.
        requests: Real requests of the group, at least one.
        least: Fewest rows [count].
        seed: What is drawn from.
    """
    chance = random.Random(_number(seed, name))  # noqa: S311 - a sample, no secret
    some = [change for _ in range(least // 2) for change in ({}, chance.choice(changes))] if changes else [{}]
    return Corner(name, _rows(name, some or [{}], requests, least, seed))


def _changes(declared: Corners, columns: ReferenceColumns, seed: int) -> Iterator[tuple[str, Sequence[Change]]]:
    """Every corner and its different changes."""
    for name in declared.empty:
        yield f"{name} empty", [{name: ""}]
    for name in declared.missing:
        yield f"{name} missing", [{name: None}]
    for name in declared.extremes:
        low, high = columns.range_of(name)
        below, above = columns.beyond(name)
        yield f"{name} smallest", [{name: columns.as_kind(name, low)}]
        yield f"{name} largest", [{name: columns.as_kind(name, high)}]
        yield f"{name} below the smallest", [{name: value} for value in below]
        yield f"{name} above the largest", [{name: value} for value in above]
    for name in declared.unseen:
        yield f"{name} unseen", [{name: value} for value in columns.unseen(name)]
    for name, values in declared.explicit.items():
        for value in values:
            yield f"{name} = {orjson.dumps(value).decode()}", [{name: value}]
    yield from _drawn(declared, columns, seed)


def _drawn(declared: Corners, columns: ReferenceColumns, seed: int) -> Iterator[tuple[str, Sequence[Change]]]:
    """Corners whose values Hypothesis draws: each column alone, then several at once."""
    specs = []
    for name in declared.drawn:
        below, above = columns.beyond(name) if columns.kinds[name] in NUMERIC_COLUMN_KINDS else ([0.0], [0.0])
        specs.append(
            {"name": name, "kind": _DRAWN_KINDS.get(columns.kinds[name], "text"), "low": min(below), "high": max(above)}
        )
    parts = [(f"{name} drawn", [spec]) for name, spec in zip(declared.drawn, specs, strict=True)]
    parts += [("several drawn", specs)] if len(specs) > 1 else []
    wanted = [
        {"columns": some, "count": declared.rows, "seed": _number(seed, name), "several": len(some) > 1}
        for name, some in parts
    ]
    yield from zip((name for name, _ in parts), draw_changes(wanted), strict=True)


def _rows(
    name: str, changes: Sequence[Change], requests: Sequence[LoggedRequest], least: int, seed: int
) -> tuple[SyntheticRow, ...]:
    """Give each change real rows, until there are enough; a real row serves twice only where there are too few."""
    chance = random.Random(_number(seed, name))  # noqa: S311 - a sample, no secret
    count = max(least, len(changes))
    reals: list[LoggedRequest] = []
    while len(reals) < count:
        reals += chance.sample(requests, min(len(requests), count - len(reals)))
    return tuple(SyntheticRow(real, changes[place % len(changes)]) for place, real in enumerate(reals))


def _number(seed: int, name: str) -> int:
    """A seed of a corner's own, so that another corner beside it changes nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:6], "big")


def rollout_seed(rollout: str) -> int:
    """Random seed of a rollout whose policy sets none."""
    return _number(0, rollout)


def rows_digest(corners: Sequence[Corner]) -> str:
    """SHA-256 of all rows, in their order."""
    found = hashlib.sha256()
    for corner in corners:
        for row in corner.rows:
            found.update(orjson.dumps([corner.name, list(row.real.key), row.features], option=orjson.OPT_SORT_KEYS))
    return f"sha256:{found.hexdigest()}"
