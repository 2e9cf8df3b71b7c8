"""Find a smaller change of a real row on which the candidate still breaks and the champion does not."""

from collections.abc import Callable, Iterator

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.replay.corners.corner_rows import SyntheticRow
from surefoot.adapters.replay.corners.drawn_changes import Change

_MAX_TRIES = 40
"""Rows that are asked for one broken row at most [count]."""
_DIGITS = (1, 2, 3, 4, 6)
"""Digits that a shrunk number is written with, the fewest first."""
_Breaks = Callable[[SyntheticRow], bool]
"""Whether the candidate breaks on a row and the champion does not."""


def shrink_row(row: SyntheticRow, breaks: _Breaks, *, values: bool = True) -> SyntheticRow:
    """Undo changes, then move values towards the real row, as long as the row still breaks.

    Law: the row given back breaks, and differs from the real row in no column that `row` does not change.

    Args:
        row: A row that breaks.
        breaks: Tells whether another row breaks.
        values: Whether values are moved, too; each try may cost the restart of a process.
    """
    tries = [_MAX_TRIES]

    def still(change: Change) -> bool:
        tries[0] -= 1
        return tries[0] >= 0 and breaks(SyntheticRow(row.real, change))

    change = dict(row.change)
    for name in list(change) if values or len(change) > 1 else ():
        without = {key: value for key, value in change.items() if key != name}
        if still(without):
            change = without
    for name in list(change) if values else ():
        change[name] = _nearest(row.real, name, change, still)
    return SyntheticRow(row.real, change)


def _nearest(real: LoggedRequest, name: str, change: Change, still: Callable[[Change], bool]) -> object:
    """A value of one column that still breaks: a number near the recorded one, or a short text."""
    value, recorded = change[name], real.features.get(name)
    for wanted in _candidates(value, recorded, lambda tried: still({**change, name: tried})):
        value = wanted
    return value


def _candidates(value: object, recorded: object, breaks: Callable[[object], bool]) -> Iterator[object]:
    """Values that break, each simpler than the one before."""
    if isinstance(value, str):
        yield from _shorter(value, breaks)
    elif _is_number(value) and _is_number(recorded):
        yield from _nearer(value, recorded, breaks)  # type: ignore[arg-type] # both are numbers


def _shorter(value: str, breaks: Callable[[object], bool]) -> Iterator[str]:
    """Halve a text as long as it breaks."""
    while value:
        half = len(value) // 2
        shorter = next(
            (part for part in dict.fromkeys((value[:half], value[half:])) if part != value and breaks(part)), None
        )
        if shorter is None:
            return
        value = shorter
        yield value


def _nearer(value: float, recorded: float, breaks: Callable[[object], bool]) -> Iterator[float]:
    """Bisect between a number that breaks and the recorded one, then write it with as few digits as still break."""
    whole = isinstance(value, int)
    far, near = value, recorded
    while abs(far - near) > (1 if whole else 0.01 * max(abs(far), abs(near))):
        middle = (int(far) + int(near)) // 2 if whole else far / 2.0 + near / 2.0
        if breaks(middle):
            far = middle
            yield far
        else:
            near = middle
    for digits in _DIGITS if not whole else ():
        rounded = float(f"{far:.{digits}g}")
        if min(far, value) <= rounded <= max(far, value) and (rounded == far or breaks(rounded)):
            yield rounded
            return


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
