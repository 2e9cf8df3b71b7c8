"""Convert JSON values of the same meaning, such as 7 and "7", to one text, and name data slices."""

import json
import math
from functools import lru_cache

_TOO_DEEP_TEXT = "(nested too deeply)"
"""What stands for a list or an object that is nested too deeply to be written."""
MISSING_SLICE_NAME = "(missing)"
"""Name of the slice of the rows that have no value in its column."""
_LONGEST_NUMBER = 40
"""Longest text that is looked at as a number [characters]; Python writes no float with more than 24."""
_WORDS = {"True": "true", "False": "false"}


def canonical_text(value: object) -> str | None:
    """The canonical text of a JSON value.

    Args:
        value: A JSON value; numbers of numpy are taken as well.

    Returns:
        The text; None for null, NaN and a text without a visible character, which all say nothing.

    Law: values that are equal in JSON have one text: 7, 7.0 and 7e0 are "7", -0.0 is "0", true is "true". A text is
        itself, but for the texts that a program writes for a number or a truth value: "7", "7.0" and "True" stand for
        7, 7 and true, while "007", "1.10" and "1e3" stay what they are. A canonical text is its own canonical text.
    """
    if isinstance(value, str):
        return _of_text(value)
    if value is None:
        return None
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of numpy
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _of_float(value)
    if isinstance(value, str):
        return _of_text(value)
    try:
        return json.dumps(_nested(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    except RecursionError:
        return _TOO_DEEP_TEXT


def _of_float(value: float) -> str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return str(int(value)) if value.is_integer() else repr(value)


def _of_text(text: str) -> str | None:
    if not text.strip():
        return None
    if text in _WORDS:
        return _WORDS[text]
    # Only what Python itself writes for a whole float: a code such as 007 or a release such as 1.10 is no number.
    if len(text) <= _LONGEST_NUMBER and text[-1].isdigit() and ("." in text or "e+" in text):
        try:
            number = float(text)
        except ValueError:
            return text
        if number.is_integer() and repr(number) == text:
            return str(int(number))
    return text


def _nested(value: object) -> object:
    """A list or an object whose numbers are written alike."""
    if isinstance(value, dict):
        return {str(key): _nested(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nested(item) for item in value]
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else value if math.isfinite(value) else None
    return value


@lru_cache(maxsize=1 << 16)
def canonical_text_of_json(token: str | None) -> str | None:
    """The canonical text of a value that is written as JSON; what is no JSON is a text."""
    if token is None:
        return None
    try:
        return canonical_text(json.loads(token))
    except (ValueError, RecursionError):
        return canonical_text(token)


def format_slice_name(column: str, value: object) -> str:
    """A slice as people and policies name it, such as "night=true"; empty where no column is told apart."""
    text = canonical_text(value)
    return f"{column}={MISSING_SLICE_NAME if text is None else text}" if column else ""


def canonical_slice_name(written: str) -> str:
    """A slice as a person wrote it, in the spelling that evidence has: "night=True" is "night=true"."""
    column, _, value = written.partition("=")
    return format_slice_name(column, value)
