"""Compute how long to wait before a failed message is sent again, and define the time limit of a delivery."""

_FIRST_PAUSE_S = 15.0
_LONGEST_PAUSE_S = 900.0
_MAX_DOUBLINGS = 10
DELIVERY_TIME_LIMIT_S = 120.0
"""How long a sender may take for a batch before another one sends it again [seconds]; it is ended long before."""


def compute_retry_delay(attempts: int) -> float:
    """How long to wait after so many attempts that have failed: twice as long each time, at most 15 minutes [seconds].

    Args:
        attempts: Attempts that were made [count], at least 1.
    """
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS), _LONGEST_PAUSE_S)
