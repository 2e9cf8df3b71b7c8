"""Define a violation (one mistake in a policy file), the errors that carry it, and texts for its message."""

from collections.abc import Iterable, Mapping
from enum import Enum, auto

from pydantic_core import PydanticCustomError

KeyPath = tuple[str | int, ...]
RULE_ERROR_TYPE = "policy_rules"
"""Type of the pydantic errors that carry violations of ours."""


class ViolationKind(Enum):
    """What kind of mistake it is, where another one may follow from it."""

    MISSING_KEY = auto()
    UNKNOWN_KEY = auto()
    STRANGE_NAME = auto()
    NO_SUCH_GATE = auto()
    OTHER = auto()


class Violation(Exception):
    """A rule of the policy is broken.

    Attributes:
        path: Keys that lead to the place.
        rule: What is demanded, in one sentence.
        mistake: What kind of mistake it is.
        key: The key that is missing or unknown; empty for other mistakes.
    """

    def __init__(self, path: KeyPath, rule: str, mistake: ViolationKind = ViolationKind.OTHER, key: str = "") -> None:
        """Remember where and why."""
        self.mistake, self.key = mistake, key
        self.path = path
        self.rule = _escape_unprintable(rule)
        super().__init__(f"{_escape_unprintable('.'.join(map(str, path))) or 'policy'}: {self.rule}")


def missing_key_violation(path: KeyPath, key: str, advice: str = "") -> Violation:
    """A key that must be there is not."""
    return Violation(path, f"'{key}' is missing{advice}", ViolationKind.MISSING_KEY, key)


def rule_error(rule: str) -> PydanticCustomError:
    """A pydantic error for the value that is being validated."""
    return combined_rule_error([Violation((), rule)])


def combined_rule_error(broken: Iterable[Violation]) -> PydanticCustomError:
    """One pydantic error that carries several violations; their paths begin at the value that is being validated."""
    # The template must not hold the sentences: what a person wrote may look like a field of it.
    return PydanticCustomError(RULE_ERROR_TYPE, "a rule of the policy is broken", {"broken": tuple(broken)})


def describe_type(value: object) -> str:
    """Name a value's type the way a YAML author thinks of it."""
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", type(None): "nothing"}
    if isinstance(value, Mapping):
        return "a mapping"
    return f"{names.get(type(value), 'a mapping')} ({one_line_text(value)})"


def _escape_unprintable(text: str) -> str:
    """A text of one line: line breaks, control characters and halves of characters as they are escaped in code."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def one_line_text(value: object) -> str:
    """A value as text of one line."""
    try:
        return f"{value!r:.80}"
    except (ValueError, RecursionError):  # Python does not print numbers of more than 4,300 digits
        return "too large to show"
