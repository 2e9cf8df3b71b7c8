"""How much of the slow sweeps is run: a part of them in every run of the tests, all of them by `make fault`."""

import os
import time

EVERYTHING = os.environ.get("SUREFOOT_SWEEPS") == "all"
"""Whether sweeps are run whole."""
_SHARE = 6
_DAY = int(time.time() // 86400)


def swept(last: int, turn: int) -> range:
    """Numbers from 1 to `last`: all of them in a whole sweep, else each sixth one, beginning at another one each turn.

    Args:
        last: The last number.
        turn: Number of the kind of fault: three kinds together meet every second number, and another half each day.
    """
    return range(1, last + 1) if EVERYTHING else range(1 + (2 * turn + _DAY) % _SHARE, last + 1, _SHARE)
