"""Validate a reported label: its value, its request id and its time."""

import math
import re

from surefoot.core.answers.class_names import is_missing_value
from surefoot.core.canonical_text import canonical_text

REQUEST_ID_PATTERN = re.compile(r"[\x21-\x7e]{1,128}")
"""Ids that a request can have: what the gateway takes as an X-Request-Id."""
MAX_LABEL_AHEAD_S = 300.0
"""How far the clock of a reporter may be ahead of ours [s]."""
MAX_LABEL_AGE_S = 10 * 365.25 * 86400.0
"""How far a label may lie in the past [s]; in minutes, hours or days a time of today is decades ago."""
_MISTAKEN_UNITS = {
    "nanoseconds": 1e-9,
    "microseconds": 1e-6,
    "milliseconds": 1e-3,
    "minutes": 60.0,
    "hours": 3600.0,
    "days": 86400.0,
}
"""Units that a time is often given in by mistake [s]."""


def check_request_id(index: int, request: object) -> str:
    """The request that a label is of; a number is the text that a header says.

    Raises:
        ValueError: No request can have this id.
    """
    if isinstance(request, int | float) and not isinstance(request, bool):
        request = canonical_text(request)
    if not isinstance(request, str) or not request:
        raise ValueError(f"label {index} does not name its request")
    if not REQUEST_ID_PATTERN.fullmatch(request):
        raise ValueError(
            f"label {index} names a request that cannot exist: an id is 1 to 128 visible ASCII characters without a"
            " space"
        )
    return request


def check_label(index: int, label: object) -> None:
    """Refuse a label that says nothing: it would count as what came true.

    Raises:
        ValueError: It says nothing.
    """
    if label is None:
        raise ValueError(f"label {index} has no label")
    if is_missing_value(label):
        raise ValueError(
            f"label {index} says nothing: it is blank, empty, or stands for a missing value; leave it out until it is"
            " known"
        )


def check_label_time(index: int, at: object, now: float) -> float:
    """Refuse a time that cannot be meant: in another unit, long ago, or in the future, where it would never count.

    Returns:
        The time [Unix seconds].

    Raises:
        ValueError: It is none, or one of these.
    """
    if not isinstance(at, int | float) or isinstance(at, bool) or not math.isfinite(at):
        raise ValueError(f"label {index} has an `at` that is not a time in Unix seconds")
    if now - MAX_LABEL_AGE_S <= at <= now + MAX_LABEL_AHEAD_S:
        return at
    for unit, seconds in _MISTAKEN_UNITS.items():
        if abs(at * seconds - now) <= MAX_LABEL_AGE_S < now:
            raise ValueError(f"label {index} has an `at` of {at:.0f}, which looks like {unit}: give Unix seconds")
    when = f"{at - now:,.0f} s in the future" if at > now else f"{now - at:,.0f} s in the past"
    raise ValueError(f"label {index} has an `at` that is {when}: give when the label became known, in Unix seconds")
