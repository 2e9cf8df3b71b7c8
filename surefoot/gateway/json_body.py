"""Parse the JSON body of a request, and reject duplicate keys."""

import codecs
import json
import re
from collections import Counter
from collections.abc import Sequence

import orjson

_TEXT_OR_NAN = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|NaN', re.DOTALL)
_KEY = re.compile(rb'"\s*:')


class DuplicateKey(ValueError):
    """An object has a key twice; the message names it."""


class InvalidJson(ValueError):
    """The body is not JSON; the message says where."""


def parse_json_body(body: bytes, *, nan: bool = False) -> object:
    """Parse a body.

    Args:
        body: What came.
        nan: Whether NaN, as Python writes a missing number, is null, and a byte order mark is nothing.

    Raises:
        InvalidJson: It is no JSON.
        DuplicateKey: An object has a key twice.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        plain = body.removeprefix(codecs.BOM_UTF8) if nan else body
        if nan and b"NaN" in plain:
            plain = _TEXT_OR_NAN.sub(lambda text: b"null" if text[0] == b"NaN" else text[0], plain)
        if plain == body:
            raise InvalidJson(f"the body is not JSON: {error}") from None
        try:
            found = orjson.loads(plain)
        except orjson.JSONDecodeError as again:
            raise InvalidJson(f"the body is not JSON: {again}") from None
        body = plain
    _refuse_duplicates(body, found)
    return found


def _refuse_duplicates(body: bytes, found: object) -> None:
    """Refuse a key that is written twice: no parser says which of the two counts, and a filter may have seen the other.

    Law: every key is followed by a colon. So there are at least as many colons after quotation marks as keys were
        written, and where there are no more of them than keys were read, none was written twice. A body whose texts
        hold such colons is looked at key by key.
    """
    written = len(_KEY.findall(body))
    if written == _count_keys(found, body.count(b"{")):
        return
    try:
        json.loads(
            body, object_pairs_hook=_check_pairs, parse_int=float, parse_float=float
        )  # Python reads no long integers
    except RecursionError:
        raise DuplicateKey("the body is nested too deeply to tell whether a key is written twice") from None


def _count_keys(found: object, objects: int) -> int:
    """Count the keys of all objects of a value; stop when as many objects are found as the body has braces."""
    total, left = 0, [found]
    while left and objects > 0:
        item = left.pop()
        if isinstance(item, dict):
            total += len(item)
            objects -= 1
            left += [value for value in item.values() if isinstance(value, dict | list)]
        elif isinstance(item, list):
            left += [value for value in item if isinstance(value, dict | list)]
    return total


def _check_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise DuplicateKey(f"the key {twice[:80]!r} is written twice in one object: say it once")
