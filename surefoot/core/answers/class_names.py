"""Convert an answer or a label to the name of its class, and detect missing values."""

from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import InvariantBroken

_TRUTH = {"true": "1", "false": "0"}
_NOTHING = frozenset({"nan", "nat", "<na>", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})


def is_missing_value(value: object) -> bool:
    """Whether a value says nothing: null, NaN, a blank text, a text that stands for a missing value, or only such.

    A list is one value, so it needs all its items; of an object some fields may be missing.
    """
    if isinstance(value, list):
        return not value or any(map(is_missing_value, value))
    if isinstance(value, dict):
        return all(map(is_missing_value, value.values()))
    text = canonical_text(value)
    return text is None or text.strip().lower() in _NOTHING


def convert_to_class_name(value: object) -> str:
    """The name of a class that one value gives: 1, 1.0, true and "1" are one class.

    Raises:
        InvariantBroken: It is a list or an object, or says nothing.
    """
    text = None if isinstance(value, list | dict) else canonical_text(value)
    if text is None or text.strip().lower() in _NOTHING:
        raise InvariantBroken(f"no class in {value!r:.80}")
    return _TRUTH.get(text, text)


def is_numeric_class_name(text: str | None) -> bool:
    """Whether the name of a class is a number."""
    return text is not None and text.lstrip("-").replace(".", "", 1).isdecimal()
