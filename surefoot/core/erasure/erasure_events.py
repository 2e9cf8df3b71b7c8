"""Define the journal events of erasing the records of one unit, such as a person who is to be forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ErasureIntended:
    """The records of a unit, or of some requests, are about to be removed.

    Attributes:
        erasure: Id of the erasure.
        unit: Keyed digest of the unit, or of the request ids where no unit was named; never either of them itself.
        reason: Why.
        requests: Requests that were found [count].
        held_by: Incidents that hold some of them, which are pseudonymised.
    """

    erasure: str
    unit: str
    reason: str
    requests: int
    held_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitForgotten:
    """The records of a unit, or of some requests, were removed.

    Attributes:
        erasure: Id of the erasure.
        unit: Keyed digest, as in the intent.
        removed: Records, answers, rows or texts that were removed, by place [count].
        pseudonymised: Those that incidents hold, in which names were replaced, by place [count].
        replaced: New name of each file that had to be written again under another one; empty where nothing was left.
        digests: SHA-256 of each file that was written again, by its new name.
        quoted_by: Sequences of journal entries that quote the unit or one of its requests: an entry cannot be changed.
    """

    erasure: str
    unit: str
    removed: Mapping[str, int] = field(default_factory=dict)
    pseudonymised: Mapping[str, int] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    quoted_by: tuple[int, ...] = ()


ErasureEvent = ErasureIntended | UnitForgotten


def describe_erasure(event: ErasureEvent) -> str:
    """What was erased, as one line for a person."""
    if isinstance(event, ErasureIntended):
        held = f"; incident {', '.join(event.held_by)} holds some, which get pseudonyms" if event.held_by else ""
        return f"erasure {event.erasure} of {_some(event.requests, 'request')} begins: {event.reason}{held}"
    said = [f"{count:,} of {place}" for place, count in event.removed.items() if count]
    pseudonyms = [f"{count:,} of {place}" for place, count in event.pseudonymised.items() if count]
    told = f"erasure {event.erasure} is done: {', '.join(said) or 'nothing was left to remove'}"
    return told + (f"; with pseudonyms: {', '.join(pseudonyms)}" if pseudonyms else "")


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def find_current_file_name(replaced: Mapping[str, str], name: str) -> str:
    """The name under which a file is kept now, after every erasure that has written it again.

    Args:
        replaced: New name by old one, of all erasures.
        name: The name that the journal, or another file, knows.
    """
    seen = {name}
    while (following := replaced.get(name, "")) and following not in seen:
        seen.add(following)
        name = following
    return name
