"""Define a case for back-tests of policies from a past incident, and convert it to and from JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from surefoot.core.errors import Rejected

_CASE_FORMAT = 1
"""Edition of the files of a case; raised when an older release could not read them."""


class CaseKind(StrEnum):
    """Which part of a policy has to stop the version: the stages of its rollout, or the standing watch."""

    TRIAL = "trial"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class IncidentCase:
    """A recorded incident that every later policy is back-tested against.

    The salt of the incident's own assignment is no part of it: it would tell outsiders which units meet a candidate. A
    back-test assigns the units anew, always alike.

    Attributes:
        model: Registered model.
        incident: Id of the incident.
        kind: Which part of the policy has to stop the version.
        bad: Number of the version that must be stopped.
        good: Number of the version that answered, or would have answered, in its place.
        opened: When a back-test opens the rollout: when its replay had passed; or when the watch began [Unix seconds].
        onset: When the trouble began [Unix seconds].
        until: End of the records [Unix seconds].
        stop_by: When the version must be stopped at the latest [Unix seconds].
        reason: Why it was stopped, in one sentence.
    """

    model: str
    incident: str
    kind: CaseKind
    bad: str
    good: str
    opened: float
    onset: float
    until: float
    stop_by: float
    reason: str = ""


def case_to_json(case: IncidentCase) -> dict[str, object]:
    """A case as JSON values."""
    return {"format": _CASE_FORMAT, **asdict(case), "kind": case.kind.value}


def case_from_json(value: object) -> IncidentCase:
    """The case that JSON values mean.

    Raises:
        Rejected: They mean none; the message says why.
    """
    if not isinstance(value, Mapping):
        raise Rejected("a case is an object")
    if value.get("format") != _CASE_FORMAT:
        raise Rejected(f"its format is {value.get('format')!r}, this release reads {_CASE_FORMAT}")
    texts = {name: value.get(name, "") for name in ("model", "incident", "bad", "good", "reason")}
    if wrong := [name for name, one in texts.items() if not isinstance(one, str)]:
        raise Rejected(f"'{wrong[0]}' must be a text")
    if empty := [name for name in ("model", "incident", "bad", "good") if not texts[name]]:
        raise Rejected(f"'{empty[0]}' is missing")
    times = {name: _time(name, value.get(name)) for name in ("opened", "onset", "until", "stop_by")}
    try:
        kind = CaseKind(str(value.get("kind")))
    except ValueError:
        raise Rejected(f"'kind' must be one of {', '.join(CaseKind)}") from None
    return IncidentCase(
        texts["model"],
        texts["incident"],
        kind,
        texts["bad"],
        texts["good"],
        times["opened"],
        times["onset"],
        times["until"],
        times["stop_by"],
        texts["reason"],
    )


def _time(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Rejected(f"'{name}' must be a time [Unix seconds]")
    return float(value)
