"""Compute statistics of past incidents, such as the time to detect."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from surefoot.core.drills.drill_events import DrillFinished
from surefoot.core.incidents.incident_state import Incident


@dataclass(frozen=True, slots=True)
class IncidentStatistics:
    """Statistics of the incidents and drills of one model.

    Attributes:
        model: Registered model.
        incidents: Incidents [count].
        still_open: Incidents that no person has closed [count].
        rollbacks: Incidents in which a version was taken back [count].
        false_rollbacks: Rollbacks of which a person says that nothing was wrong with the version [count].
        judged_rollbacks: Rollbacks whose incident a person has closed, so that it is known [count].
        time_to_detect: Median from the onset to the detection [seconds]; None where none is known.
        longest_to_detect: The longest of them [seconds].
        time_to_restore: Median from the detection until traffic was back [seconds]; None where none is known.
        longest_to_restore: The longest of them [seconds].
        drills: Rehearsed rollbacks, each under one fault [count].
        failed_drills: Those in which the way back did not work [count].
        drill_to_restore: Median of their times from the decision until traffic was back [seconds]; None without one.
    """

    model: str
    incidents: int
    still_open: int
    rollbacks: int
    false_rollbacks: int
    judged_rollbacks: int
    time_to_detect: float | None
    longest_to_detect: float | None
    time_to_restore: float | None
    longest_to_restore: float | None
    drills: int = 0
    failed_drills: int = 0
    drill_to_restore: float | None = None


def compute_incident_statistics(
    model: str, incidents: Iterable[Incident], drills: Iterable[DrillFinished] = ()
) -> IncidentStatistics:
    """Summarize the incidents of one model; false alarms count in no time to detect, for nothing was to be detected."""
    rehearsed = [
        (result.restore_ms, result.problem)
        for drill in drills
        for result in (*drill.results, *(() if drill.live is None else (drill.live,)))
    ]
    rehearsed_ms = [restore_ms for restore_ms, _ in rehearsed if restore_ms is not None]
    found = list(incidents)
    back = [one for one in found if one.rollback]
    real = [one.reported for one in found if one.reported and not (one.closed and one.closed.false_alarm)]
    detect = [told.time_to_detect for told in real if told.time_to_detect is not None]
    restore = [told.time_to_restore for told in real if told.time_to_restore is not None]
    return IncidentStatistics(
        model=model,
        incidents=len(found),
        still_open=sum(one.closed is None for one in found),
        rollbacks=len(back),
        false_rollbacks=sum(one.closed is not None and one.closed.false_alarm for one in back),
        judged_rollbacks=sum(one.closed is not None for one in back),
        time_to_detect=statistics.median(detect) if detect else None,
        longest_to_detect=max(detect, default=None),
        time_to_restore=statistics.median(restore) if restore else None,
        longest_to_restore=max(restore, default=None),
        drills=len(rehearsed),
        failed_drills=sum(bool(problem) for _, problem in rehearsed),
        drill_to_restore=statistics.median(rehearsed_ms) / 1000.0 if rehearsed_ms else None,
    )
