"""Decide from the gateway's counts whether a live drill breaches a limit and must stop."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_MAX_LATE_SHARE = 0.01
"""Share of the candidate arm's requests that may be late: a busy host makes some late in any arm [fraction]."""
_MIN_LATE = 3
"""Late requests below which none is told from chance [count]."""


@dataclass(frozen=True, slots=True)
class LiveDrillCounts:
    """What the gateway has counted of one model.

    Attributes:
        requests: Requests, in both arms [count].
        candidate_requests: Requests in the candidate's arm [count].
        candidate_errors: Requests that the candidate's arm failed and the champion's answered [count].
        late: Requests that the candidate's arm did not answer in time [count].
        caller_errors: Requests of callers that no version answered [count].
        process_ends: Processes of a version that ended by themselves [count].
        stand_in_answers: Requests that the last proven-good version or the fallback answered [count].
        lost_records: Records that could not be written to the prediction log [count].
    """

    requests: int = 0
    candidate_requests: int = 0
    candidate_errors: int = 0
    late: int = 0
    caller_errors: int = 0
    process_ends: int = 0
    stand_in_answers: int = 0
    lost_records: int = 0

    @staticmethod
    def from_stats(stats: Mapping[str, Any]) -> "LiveDrillCounts":
        """Read the gateway's counts of one model, of all versions together.

        Raises:
            KeyError: A count is missing, as from a gateway of an earlier release.
        """
        versions = list(stats["versions"].values())

        def total(name: str) -> int:
            return sum(int(one[name]) for one in versions)

        return LiveDrillCounts(
            requests=total("requests"),
            candidate_requests=total("candidate_requests"),
            candidate_errors=total("candidate_errors"),
            late=total("late"),
            caller_errors=total("caller_errors"),
            process_ends=total("deaths"),
            stand_in_answers=int(stats["proven_good_answers"]) + int(stats["fallback_answers"]),
            lost_records=int(stats["log_dropped"]),
        )

    @property
    def is_whole(self) -> bool:
        """Whether the counts are those of every worker since the earlier reading: none of them has fallen."""
        return all(getattr(self, one.name) >= 0 for one in fields(self))

    def since(self, before: "LiveDrillCounts") -> "LiveDrillCounts":
        """What was counted after an earlier reading; negative where a worker is not in it, or has started again."""
        return LiveDrillCounts(*(getattr(self, one.name) - getattr(before, one.name) for one in fields(self)))


def find_live_drill_breach(counts: LiveDrillCounts) -> str:
    """Why a live drill must be stopped, in one clause; empty where nothing is wrong.

    The arms have the same bytes, so the candidate's arm has no excuse to fail what the champion's answers.

    Args:
        counts: What was counted since the drill began.
    """
    if counts.caller_errors:
        return f"no version answered {_count(counts.caller_errors, 'request')} of callers"
    if counts.stand_in_answers:
        return f"the proven-good version or the fallback answered {_count(counts.stand_in_answers, 'request')}"
    if counts.process_ends:
        return f"the version's process has ended {_count(counts.process_ends, 'time')}"
    failed = counts.candidate_errors - counts.late
    if failed > 0:
        return f"the candidate's arm has failed {_count(failed, 'request')} that the champion's arm answered"
    if counts.late >= _MIN_LATE and counts.late > _MAX_LATE_SHARE * counts.candidate_requests:
        return f"{counts.late:,} of {_count(counts.candidate_requests, 'request')} of the candidate's arm were late"
    if counts.lost_records:
        return f"the prediction log lacks {_count(counts.lost_records, 'record')} that could not be written"
    return ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
