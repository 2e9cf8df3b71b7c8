"""Convert dataclasses to JSON for the journal and back, under the names that the journal has for them."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override


@runtime_checkable
class _ReadsOlderFormat(Protocol):
    """A dataclass that reads what an earlier release wrote in other fields."""

    def from_older_format(self, data: Mapping[str, object], /) -> Mapping[str, object]:
        """Fields as this release writes them."""


JOURNAL_NAME_KEY = "written"
"""Key in the metadata of a dataclass field: its name in the journal, where an earlier release named it otherwise."""

_UNCAST_TYPES = (object, str, int, bool)
_TaggedUnions = Mapping[Any, tuple[str, Mapping[str, type]]]
"""Unions whose members carry their name: union -> (key of the name, member by name)."""


def get_journal_name(kind: type) -> str:
    """Name of a dataclass in the journal: its JOURNAL_NAME where an earlier release named it otherwise."""
    return str(getattr(kind, "JOURNAL_NAME", kind.__name__))


class JsonCodec:
    """Writes dataclasses as JSON values and reads them; fields that a newer release added are left out."""

    def __init__(self, unions: _TaggedUnions | None = None) -> None:
        """Know the unions whose members carry their name."""
        self._unions = unions or {}
        self._tags = {kind: (tag, name) for tag, members in self._unions.values() for name, kind in members.items()}
        self._converter = Converter(detailed_validation=False, unstruct_collection_overrides={tuple: list})
        self._converter.register_unstructure_hook_factory(_is_dataclass, self._writer)
        self._converter.register_structure_hook_factory(_is_dataclass, self._reader)
        # A value is taken as it was written: nothing is cast that the hash of its entry was made of.
        self._converter.register_structure_hook_func(
            lambda kind: kind in {object, str, int, bool}, lambda value, _: value
        )
        for union, (tag, members) in self._unions.items():
            self._converter.register_structure_hook(union, self._union_reader(tag, members))

    def encode(self, value: object) -> object:
        """Give the JSON value of a dataclass, or of what its fields hold."""
        return self._converter.unstructure(value, unstructure_as=type(value))

    def decode(self, kind: Any, value: object) -> object:
        """Rebuild a value of a type from JSON.

        Raises:
            Exception: The value is not of the type.
        """
        return self._converter.structure(value, kind)

    def _writer(self, kind: type) -> Callable[[Any], object]:
        write: Callable[[Any], dict[str, object]] = make_dict_unstructure_fn(
            kind, self._converter, **_renamed_fields(kind)
        )
        if kind not in self._tags:
            return write
        tag, name = self._tags[kind]
        return lambda value: {tag: name, **write(value)}

    def _reader(self, kind: type) -> Callable[[Any, Any], object]:
        read: Callable[[Any, Any], object] = make_dict_structure_fn(kind, self._converter, **_renamed_fields(kind))
        if not isinstance(kind, _ReadsOlderFormat):
            return read
        return lambda value, _: read(kind.from_older_format(value), kind)

    def _union_reader(self, tag: str, members: Mapping[str, type]) -> Callable[[Any, Any], object]:
        def read(value: Mapping[str, object], _: object) -> object:
            body = dict(value)
            return self._converter.structure(body, members[str(body.pop(tag))])

        return read


def _is_dataclass(kind: object) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


def _renamed_fields(kind: Any) -> dict[str, Any]:
    """Fields that have another name in the journal."""
    return {
        field.name: override(rename=str(field.metadata[JOURNAL_NAME_KEY]))
        for field in fields(kind)
        if JOURNAL_NAME_KEY in field.metadata
    }
