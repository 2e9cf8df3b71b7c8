"""Encode and decode JSON, also in environments that lack orjson."""

import json
import math
from typing import Any

try:
    import orjson
except ImportError:  # the environment of a version holds what the version needs, and not what Surefoot needs
    orjson = None  # type: ignore[assignment]

JSONDecodeError = json.JSONDecodeError
"""What `loads` raises for a text that is not JSON; orjson's error is one."""


def dumps(value: object) -> bytes:
    """Encode a value as compact UTF-8, with null for what is no finite number.

    Raises:
        TypeError: It holds something that is not JSON.
    """
    return dumps_without_orjson(value) if orjson is None else orjson.dumps(value)


def loads(body: bytes) -> Any:
    """Decode JSON.

    Raises:
        JSONDecodeError: It is none.
    """
    try:
        return json.loads(body) if orjson is None else orjson.loads(body)
    except UnicodeDecodeError as error:
        raise JSONDecodeError(str(error), "", 0) from error


def dumps_without_orjson(value: object) -> bytes:
    """Encode a value with the standard library alone, as orjson does.

    Raises:
        TypeError: It holds something that is not JSON.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"a text is not valid Unicode: {error.reason}") from error


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
