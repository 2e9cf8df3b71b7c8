"""Readers of single fields: each takes where it stands and what it found, and says what it wants instead."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

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


@dataclass
class Section:
    """A mapping that knows where it stands and which of its keys were read."""

    value: object
    path: Path = ()
    read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Refuse anything that is not a mapping."""
        if not isinstance(self.value, Mapping):
            raise Violation(self.path, f"expected a mapping, found {describe(self.value)}")

    def get(self, key: str, parse: Callable[[Path, object], T], default: T | None = None) -> T:
        """Read one key through a parser; without a default the key must be there."""
        self.read.add(key)
        mapping: Mapping[str, object] = self.value  # type: ignore[assignment]
        if key not in mapping:
            if default is None:
                raise Violation(self.path, f"'{key}' is missing")
            return default
        return parse((*self.path, key), mapping[key])

    def has(self, key: str) -> bool:
        """Whether the key is written in the file."""
        return key in self.value  # type: ignore[operator]

    def done(self) -> None:
        """Refuse keys that nothing has read."""
        for key in self.value:  # type: ignore[attr-defined]
            if key not in self.read:
                known = ", ".join(sorted(self.read))
                raise Violation((*self.path, key), f"unknown key {key!r}; known here: {known}")


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


def bounded(low: float, high: float) -> Callable[[Path, object], float]:
    """A number between two bounds, both included."""

    def parse(path: Path, value: object) -> float:
        found = number(path, value)
        if not low <= found <= high:
            raise Violation(path, f"must be between {low:g} and {high:g}, found {found:g}")
        return found

    return parse


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

    return parse
