"""How much of the slow sweeps is run: a part of them in every run of the tests, all of them by `make fault`."""

import os

EVERYTHING = os.environ.get("SUREFOOT_SWEEPS") == "all"
"""Whether sweeps are run whole."""
_SHARE = 3


def swept(last: int, turn: int) -> range:
    """Numbers from 1 to `last`: all of them in a whole sweep, else each third one, beginning at another one each turn.

    Args:
        last: The last number.
        turn: Number of the kind of fault, so that three kinds together meet every number.
    """
    return range(1, last + 1) if EVERYTHING else range(1 + turn % _SHARE, last + 1, _SHARE)
