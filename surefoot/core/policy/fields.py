"""Readers of single fields: each takes where it stands and what it found, and says what it wants instead."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from surefoot.core.errors import InvariantBroken

T = TypeVar("T")
Path = tuple[str | int, ...]

LARGEST = 2**53 - 1
"""Largest number that a policy may hold: JSON and the journal carry no larger whole number."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class Violation(Exception):
    """A rule of the policy is broken.

    Attributes:
        path: Keys that lead to the place.
        rule: What is demanded, in one sentence.
    """

    def __init__(self, path: Path, rule: str) -> None:
        """Remember where and why."""
        super().__init__(f"{'.'.join(map(str, path)) or 'policy'}: {rule}")
        self.path = path
        self.rule = rule


Problem = list[Violation]
"""Broken rules that were collected instead of raised."""


def guarded(told: Problem | None, make: Callable[[], T], instead: T) -> T:
    """Make something; a broken rule is raised, or collected where there is a list for it.

    Args:
        told: Rules that are broken so far, or None to raise the first.
        make: Makes it.
        instead: What stands in for it, so that reading can go on.

    Law: a rule between several keys is told only when each of the keys is fine.
    """
    before = len(told or ())
    try:
        return make()
    except Violation as violation:
        if told is None:
            raise
        if len(told) == before:
            told.append(violation)
        return instead


def tell(told: Problem | None, path: Path, rule: str) -> None:
    """Raise a broken rule, or collect it where there is a list for it.

    Raises:
        Violation: There is no list.
    """
    violation = Violation(path, rule)
    if told is None:
        raise violation
    told.append(violation)


@dataclass
class Section:
    """A mapping that knows where it stands and which of its keys were read.

    Attributes:
        value: The mapping.
        path: Keys that lead to it.
        told: Where broken rules go; None raises the first one.
        read: Keys that were read.
    """

    value: object
    path: Path = ()
    told: Problem | None = None
    read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Refuse anything that is not a mapping."""
        if not isinstance(self.value, Mapping):
            raise Violation(self.path, f"expected a mapping, found {describe(self.value)}")

    def get(self, key: str, parse: Callable[[Path, object], T], default: T | None = None) -> T:
        """Read one key through a parser; without a default the key must be there."""
        self.read.add(key)
        mapping: Mapping[str, object] = self.value  # type: ignore[assignment]
        if key not in mapping and default is not None:
            return default
        instead = default if default is not None or self.told is None else stand_in(parse)
        return guarded(self.told, lambda: self._found(key, parse), instead)  # type: ignore[return-value]

    def _found(self, key: str, parse: Callable[[Path, object], T]) -> T:
        mapping: Mapping[str, object] = self.value  # type: ignore[assignment]
        if key not in mapping:
            raise Violation(self.path, f"'{key}' is missing")
        return parse((*self.path, key), mapping[key])

    def section(self, key: str) -> "Section":
        """A mapping inside; an absent or broken one is told once, and what it should hold is not asked for again."""
        self.read.add(key)
        absent = Section({}, (*self.path, key), None if self.told is None else [])
        return guarded(
            self.told, lambda: self._found(key, lambda where, found: Section(found, where, self.told)), absent
        )

    def has(self, key: str) -> bool:
        """Whether the key is written in the file."""
        return key in self.value  # type: ignore[operator]

    def done(self) -> None:
        """Refuse keys that nothing has read."""
        for key in self.value:  # type: ignore[attr-defined]
            if key not in self.read:
                known = ", ".join(sorted(self.read))
                tell(self.told, (*self.path, key), f"unknown key {key!r}; known here: {known}")


def describe(value: object) -> str:
    """Name a value's type the way a YAML author thinks of it."""
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", type(None): "nothing"}
    if isinstance(value, Mapping):
        return "a mapping"
    try:
        shown = f"{value!r:.80}"
    except (ValueError, RecursionError):  # Python does not print numbers of more than 4,300 digits
        shown = "too large to show"
    return f"{names.get(type(value), 'a mapping')} ({shown})"


def text(path: Path, value: object) -> str:
    """A non-empty text."""
    if not isinstance(value, str) or not value:
        raise Violation(path, f"expected text, found {describe(value)}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Violation(path, f"{value!a} holds half a character, which cannot be written down")
    return value


def name(path: Path, value: object) -> str:
    """A name that is safe in paths, URLs and logs."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Violation(path, f"expected a name of letters, digits, '-' and '_', found {describe(value)}")
    return value


def texts(path: Path, value: object) -> tuple[str, ...]:
    """One text or a list of texts."""
    if isinstance(value, str):
        return (text(path, value),)
    if not isinstance(value, list):
        raise Violation(path, f"expected a list, found {describe(value)}")
    return tuple(text((*path, index), item) for index, item in enumerate(value))


def number(path: Path, value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Violation(path, f"expected a number, found {describe(value)}")
    if not -LARGEST <= value <= LARGEST:  # false for NaN as well
        raise Violation(path, f"{describe(value)} is not a number that can be compared")
    return float(value)


def standing(parse: Callable[[Path, object], T], value: object) -> Callable[[Path, object], T]:
    """The same parser, with a value that stands in where what is written cannot be read."""
    parse.stand_in = value  # type: ignore[attr-defined]
    return parse


def stand_in(parse: Callable[[Path, object], T]) -> T:
    """A value that a parser could have given.

    Raises:
        InvariantBroken: The parser has none.
    """
    found = getattr(parse, "stand_in", None)
    if found is None:
        raise InvariantBroken(f"{parse} has no value that could stand in for a broken one")
    return cast("T", found)


def positive(most: float) -> Callable[[Path, object], float]:
    """A number above 0, however small, up to a bound."""

    def parse(path: Path, value: object) -> float:
        found = number(path, value)
        if not 0.0 < found <= most:
            raise Violation(path, f"must be above 0 and at most {most:g}, found {found:g}")
        return found

    return standing(parse, 1.0)


def bounded(low: float, high: float) -> Callable[[Path, object], float]:
    """A number between two bounds, both included."""

    def parse(path: Path, value: object) -> float:
        found = number(path, value)
        if not low <= found <= high:
            raise Violation(path, f"must be between {low:g} and {high:g}, found {found:g}")
        return found

    return standing(parse, low if math.isinf(high) else 0.5 * (low + high))


def count(path: Path, value: object) -> int:
    """A whole number from 0."""
    found = number(path, value)
    if found < 0 or found != int(found):
        raise Violation(path, f"expected a whole number from 0, found {describe(value)}")
    return int(found)


def duration(path: Path, value: object) -> float:
    """A duration such as 30s, 10m, 2h or 7d [seconds]."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value) if isinstance(value, str) else None
    if not match:
        raise Violation(path, f"expected a duration such as 30s, 10m, 2h or 7d, found {describe(value)}")
    return number(path, float(match[1])) * UNITS[match[2]]


def margin(path: Path, value: object) -> tuple[float, bool]:
    """A margin: "0.5pp" (points), "20%" (of the champion) or a number in the metric's unit."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(pp|%)", value)
        if not match:
            raise Violation(path, f"expected a margin such as 0.5pp, 20% or 0.01, found {describe(value)}")
        return number(path, float(match[1])) / 100.0, match[2] == "%"
    return bounded(0.0, math.inf)(path, value), False


def choice(kind: Callable[[str], T], allowed: tuple[str, ...]) -> Callable[[Path, object], T]:
    """One of a few words."""

    def parse(path: Path, value: object) -> T:
        if value not in allowed:
            raise Violation(path, f"expected one of {', '.join(allowed)}, found {describe(value)}")
        return kind(str(value))

    return standing(parse, kind(allowed[0]))


standing(text, "x")
standing(name, "x")
standing(texts, ("x",))
standing(number, 1.0)
standing(count, 1)
standing(duration, UNITS["h"])
standing(margin, (0.1, True))
