"""Report in a gate's verdict which rare groups were supplemented with older requests."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from surefoot.core.domain import Verdict
from surefoot.core.judging.corner_answers import SupplementedGroup

_MAX_NAMED = 2
"""Groups that a sentence names; all stand in the details [count]."""


def report_supplemented_groups(verdict: Verdict, groups: Sequence[SupplementedGroup]) -> Verdict:
    """Add the groups that got older requests to the sentence and the details of a verdict.

    Law: without a raised group the verdict is what it was.
    """
    if not groups:
        return verdict
    said = [_sentence(group) for group in groups[:_MAX_NAMED]]
    said += [f"{len(groups) - _MAX_NAMED} more groups likewise"] if len(groups) > _MAX_NAMED else []
    return replace(
        verdict,
        reason=f"{verdict.reason}; raised with older real requests: {', '.join(said)}",
        details=(*verdict.details, *map(_details, groups)),
    )


def _day(group: SupplementedGroup) -> str:
    return f"{dt.datetime.fromtimestamp(group.since, dt.UTC):%Y-%m-%d}"


def _sentence(group: SupplementedGroup) -> str:
    few = group.recorded + group.added < group.needed
    rest = f" (the log has no more; {group.needed:,} are needed)" if few else ""
    rest += f" ({group.unanswered:,} that the candidate cannot answer)" if group.unanswered else ""
    return f"{group.name} from {group.recorded:,} to {group.recorded + group.added:,}, back to {_day(group)}{rest}"


def _details(group: SupplementedGroup) -> dict[str, object]:
    return {
        "group": group.name,
        "n": group.recorded + group.added,
        "in the window": group.recorded,
        "older": group.added,
        "needed": group.needed,
        "since": _day(group),
        "unanswered": group.unanswered,
    }
