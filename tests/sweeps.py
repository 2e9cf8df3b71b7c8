"""How much of the slow sweeps is run: a part of them in every run of the tests, all of them by `make fault`."""

import os
import time
import zlib

EVERYTHING = os.environ.get("SUREFOOT_SWEEPS") == "all"
"""Whether sweeps are run whole."""
_SHARE = 6
_DAY = int(os.environ.setdefault("SUREFOOT_SWEEP_DAY", str(int(time.time() // 86400))))
"""Day of this run; processes that it starts after midnight take it from here, so that they choose the same tests."""


def swept(last: int, turn: int) -> range:
    """Numbers from 1 to `last`: all of them in a whole sweep, else each sixth one, beginning at another one each turn.

    Args:
        last: The last number.
        turn: Number of the kind of fault: three kinds together meet every second number, and another half each day.
    """
    return range(1, last + 1) if EVERYTHING else range(1 + (2 * turn + _DAY) % _SHARE, last + 1, _SHARE)


def has_turn(name: str) -> bool:
    """Whether today is the turn of a sweep: each has its turn every sixth day; in a whole sweep every day is.

    Args:
        name: What the tests of a sweep that share expensive fixtures have in common; else the id of one test.
    """
    return EVERYTHING or (zlib.crc32(name.encode()) + _DAY) % _SHARE == 0
