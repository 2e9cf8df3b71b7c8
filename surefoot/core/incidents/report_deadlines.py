"""Compute the legal deadlines for reporting a serious incident to an authority."""

from dataclasses import dataclass

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class ReportDeadline:
    """A period within which a report about a serious incident is due, if the law applies.

    Attributes:
        days: Days from when the provider became aware of it.
        case: What kind of incident the period is for.
        due: When it is over [Unix seconds].
    """

    days: int
    case: str
    due: float


_PERIODS = (
    (2, "a widespread infringement, or a disruption of critical infrastructure"),
    (10, "the death of a person"),
    (15, "any other serious incident"),
)


def report_deadlines(aware: float) -> tuple[ReportDeadline, ...]:
    """The periods of the law, from when the provider became aware of an incident.

    Args:
        aware: When the provider became aware [Unix seconds].

    Source: Regulation (EU) 2024/1689 (AI Act), article 73, paragraphs 2 to 4.
    """
    return tuple(ReportDeadline(days, case, aware + days * DAY_S) for days, case in _PERIODS)
