"""How much of the slow sweeps is run: a part of them in every run of the tests, all of them by `make fault`."""

import os
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

EVERYTHING = os.environ.get("SUREFOOT_SWEEPS") == "all"
"""Whether sweeps are run whole."""
_SHARE = 6
_SWEEP = pytest.mark.sweep
_WHOLE_ONLY = frozenset({"engine ray"})
"""Sweeps that `make fault` alone runs: to install Ray, and to start its node, takes minutes of a run of the tests."""
_DAY = int(os.environ.setdefault("SUREFOOT_SWEEP_DAY", str(int(time.time() // 86400))))
"""Day of this run; processes that it starts after midnight take it from here, so that they choose the same tests."""


def swept(last: int, turn: int, share: int = _SHARE) -> range:
    """Numbers from 1 to `last`: all of them in a whole sweep, else one in `share`, beginning at another one each turn.

    Args:
        last: The last number.
        turn: Number of the kind of fault: with a share of six, three kinds together meet every second number.
        share: Of how many numbers one has its turn; another one each day.
    """
    return range(1, last + 1) if EVERYTHING else range(1 + (2 * turn + _DAY) % share, last + 1, share)


def has_turn(name: str) -> bool:
    """Whether today is the turn of a sweep: each has its turn every sixth day; in a whole sweep every day is.

    Args:
        name: What the tests of a sweep that share expensive fixtures have in common; else the id of one test.
    """
    return EVERYTHING or (name not in _WHOLE_ONLY and (zlib.crc32(name.encode()) + _DAY) % _SHARE == 0)


def in_turns(values: Iterable[Any], always: Callable[[Any], bool]) -> list[Any]:
    """Values of a parameter: some in every run, the others as tests of a sweep, each of which has its own turn.

    Args:
        values: The values; a tuple is those of several parameters.
        always: Whether a value is tested in every run.
    """
    return [
        value if always(value) else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=_SWEEP)
        for value in values
    ]
