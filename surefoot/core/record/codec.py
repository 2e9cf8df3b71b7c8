"""Convert typed values to plain JSON and back, so that what was journalled can be computed with again."""

import types
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Protocol, Union, cast, get_args, get_origin, get_type_hints, runtime_checkable


@runtime_checkable
class Upgradable(Protocol):
    """A dataclass that reads what an earlier release wrote in other fields."""

    def upgraded(self, data: Mapping[str, object], /) -> Mapping[str, object]:
        """Fields as this release writes them."""


WRITTEN_NAME = "written"
"""Key in the metadata of a dataclass field: its name in the journal, where an earlier release named it otherwise."""


def _written_name(field: "Field[Any]") -> str:
    """Name of a field in the journal."""
    return str(field.metadata.get(WRITTEN_NAME, field.name))


def journal_name(kind: type) -> str:
    """Name of a dataclass in the journal: its JOURNAL_NAME where an earlier release named it otherwise."""
    return str(getattr(kind, "JOURNAL_NAME", kind.__name__))


def to_json(value: object, named: frozenset[str] = frozenset(), tag: str = "kind") -> object:
    """Dataclass fields as JSON values.

    Args:
        value: A dataclass, or what its fields hold.
        named: Names of the dataclasses that carry their own name.
        tag: Key under which they carry it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        made = {_written_name(field): to_json(getattr(value, field.name), named, tag) for field in fields(value)}
        name = journal_name(type(value))
        return {tag: name, **made} if name in named else made
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_json(item, named, tag) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item, named, tag) for key, item in value.items()}
    return value


@cache
def _fields(kind: type) -> dict[str, tuple[str, object]]:
    """Name and type of every field, by its name in the journal."""
    hints = get_type_hints(kind)
    return {_written_name(field): (field.name, hints[field.name]) for field in fields(kind)}


def from_json(hint: object, value: object, tagged: Mapping[object, tuple[str, Mapping[str, type]]] = {}) -> object:
    """Rebuild a typed value from JSON; fields that a newer release added are left out.

    Args:
        hint: The type wanted.
        value: JSON value.
        tagged: Unions whose members carry their name: union -> (key of the name, member by name).
    """
    for union, (tag, members) in tagged.items():
        if hint is union or hint == union:
            body = dict(cast("Mapping[str, object]", value))
            return from_json(members[str(body.pop(tag))], body, tagged)
    if isinstance(hint, type) and is_dataclass(hint):
        data = cast("Mapping[str, object]", value)
        if isinstance(hint, Upgradable):
            data = hint.upgraded(data)
        known = _fields(hint)
        made = {known[key][0]: from_json(known[key][1], item, tagged) for key, item in data.items() if key in known}
        return hint(**made)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        inner = [arm for arm in arguments if arm is not type(None)]
        return None if value is None else from_json(inner[0], value, tagged)
    if origin is tuple:
        items = cast("list[object]", value)
        if len(arguments) > 1 and arguments[1] is not Ellipsis:
            return tuple(from_json(kind, item, tagged) for kind, item in zip(arguments, items, strict=True))
        return tuple(from_json(arguments[0], item, tagged) for item in items)
    if origin is dict:
        return {key: from_json(arguments[1], item, tagged) for key, item in cast("Mapping[str, object]", value).items()}
    if hint is float:
        return float(cast("float", value))
    return value
