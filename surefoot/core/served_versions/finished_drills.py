"""Read the results and times of a model's finished rollback drills from its journal."""

from collections.abc import Iterable
from dataclasses import dataclass

from surefoot.core.drills.drill_events import DrillFinished
from surefoot.core.drills.drill_state import TABLETOP_MODE
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import decode_event


@dataclass(frozen=True, slots=True)
class TimedDrill:
    """A drill, and when it ended.

    Attributes:
        at: When it ended [Unix seconds].
        event: What it has shown.
    """

    at: float
    event: DrillFinished


def finished_drills(entries: Iterable[Entry]) -> list[TimedDrill]:
    """Every rehearsed rollback in order; tabletop exercises train people and are left out.

    Args:
        entries: The journal of a model.
    """
    found = []
    for entry in entries:
        if entry.kind == DrillFinished.__name__:
            event = decode_event(entry.kind, entry.data)
            if isinstance(event, DrillFinished) and event.mode != TABLETOP_MODE:
                found.append(TimedDrill(entry.at, event))
    return found
