"""List managed models and their versions as choices in the forms of Prefect deployments."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FORM_DEPLOYMENTS = ("promote", "approve", "rollback", "drill")
"""Deployments that people start from a form."""
_MOST_VERSIONS = 200
"""Versions of one model that a form offers, the newest first [count]."""
_VERSION_FIELDS = ("version", "to")
"""Parameters that name a version."""

_Choices = Mapping[str, Sequence[str]]
"""Managed model -> its versions in the registry, as far as these are known."""


def add_choices_to_schema(schema: Mapping[str, object], choices: _Choices) -> dict[str, object]:
    """A deployment's schema of parameters whose models and versions are chosen from a list.

    Args:
        schema: As Prefect has it, with the choices of an earlier call or without any.
        choices: What there is to choose from; a list that would be empty is left out, so that anything can be typed.
    """
    made = copy.deepcopy(dict(schema))
    numbers = {number for known in choices.values() for number in known[:_MOST_VERSIONS]}
    versions = sorted(numbers, key=lambda number: (len(number), number), reverse=True)
    for name, found in _properties(made).items():
        for place in _text_places(found):
            offered = sorted(choices) if name == "model" else versions if name in _VERSION_FIELDS else []
            if offered:
                place["enum"] = offered
            elif name == "model" or name in _VERSION_FIELDS:
                place.pop("enum", None)
    return made


def _properties(schema: dict[str, object]) -> dict[str, dict[str, object]]:
    found = schema.get("properties")
    return {name: one for name, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def _text_places(found: dict[str, object]) -> list[dict[str, object]]:
    """Where a text is described: the parameter itself, or the part of a parameter that may also be left empty."""
    parts = found.get("anyOf")
    places = parts if isinstance(parts, list) else [found]
    return [one for one in places if isinstance(one, dict) and one.get("type") == "string"]


@dataclass
class OfferedChoicesCache:
    """Remembers what the forms offer, so that Prefect is asked only about news.

    Attributes:
        interval: After this time the forms are read again whatever is known: `surefoot up` may have made them anew [s].
    """

    interval: float = 600.0
    _last: dict[str, tuple[str, ...]] | None = None
    _at: float = field(default=0.0)

    def is_new(self, choices: _Choices, now: float) -> bool:
        """Whether these choices have to be offered.

        Args:
            choices: What there is to choose from.
            now: Time [monotonic seconds].
        """
        return self._last != _frozen(choices) or now - self._at > self.interval

    def remember(self, choices: _Choices, now: float) -> None:
        """Note that these choices are offered since a time [monotonic seconds]."""
        self._last, self._at = _frozen(choices), now


def _frozen(choices: _Choices) -> dict[str, tuple[str, ...]]:
    return {model: tuple(versions) for model, versions in choices.items()}
