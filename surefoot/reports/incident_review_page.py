"""Render the review of an incident as a Markdown page, with the proposed policy change, its gain and its costs."""

from surefoot.core.durations import format_duration
from surefoot.core.incidents.review.policy_change_ranking import (
    BacktestedPolicy,
    IncidentReview,
    compute_allowed_false_alarms,
    describe_backtest_outcome,
    format_utc,
)
from surefoot.core.incidents.timeline import Moment
from surefoot.reports.incident_page import (
    describe_suspected_cause,
    escape_markdown_cell,
    escape_markdown_line,
    format_optional_duration,
    format_time,
)
from surefoot.reports.page_templates import load_page_template


def render_incident_review(review: IncidentReview) -> str:
    """The whole review, with the command that repeats each figure."""
    report, case = review.report, review.case
    rows = {row.moment: row for row in report.timeline.rows}
    found, sign = rows.get(Moment.DETECTED), rows.get(Moment.FIRST_SIGN)
    text = load_page_template("incident_review.md").render(
        review=review,
        case=case,
        in_force=review.in_force,
        proposed=review.proposed,
        draws=int(review.proposed.trials) if review.proposed else 0,
        detected=f"{format_utc(found.at)}: {found.text}" if found else "The journal does not say what detected it.",
        first_sign={"time": format_utc(sign.at), "text": sign.text} if sign else None,
        cause=describe_suspected_cause(report) if report.incident.triaged else "",
        detect=format_optional_duration(report.timeline.time_to_detect),
        restore=format_optional_duration(report.timeline.time_to_restore),
        outcome=lambda one: describe_backtest_outcome(case, one),
        gain=describe_gain(review),
        later=_later(review, found.at if found else None),
        costs=describe_costs(review),
        rows=[_row(one) for one in (review.in_force, *review.tried)],
        stop_by=format_utc(case.stop_by),
        line=escape_markdown_line,
        cell=escape_markdown_cell,
    )
    return text.strip() + "\n"


def describe_gain(review: IncidentReview) -> str:
    """How much sooner the proposal stops the version, in words; empty without a proposal."""
    if review.proposed is None:
        return ""
    fewer = review.in_force.requests - review.proposed.requests
    requests = f"{fewer:,} fewer requests are answered by it"
    if review.sooner_s is None:
        return f"where the policy in force does not: {requests}"
    return f"{format_duration(review.sooner_s)} sooner: {requests}"


def _later(review: IncidentReview, detected: float | None) -> str:
    """How much later the gate had failed in the incident than in the back-test, in words; empty where it had not."""
    stopped = review.in_force.stopped_at
    return format_duration(detected - stopped) if detected and stopped and detected > stopped else ""


def describe_costs(review: IncidentReview) -> list[str]:
    """The costs of the proposed policy, such as false alarms, each as one sentence; nothing without a proposal."""
    one = review.proposed
    if one is None or one.change is None:
        return []
    before, after = review.bake_alarms
    allowed = compute_allowed_false_alarms(review.budget, one.trials)
    if review.is_watch:
        bound = (
            f"Bound: at most {review.budget:g} false alarms a year of the watch, as before: what a look may spend"
            " does not depend on margins, or on how often it looks."
        )
        measured = (
            f"Measured: {one.false_alarms} false alarms in the {one.trials * 365.25:.0f} days of looks before the"
            f" onset; {allowed} are allowed."
        )
    else:
        bound = (
            f"Bound: a good version is rolled back in at most {review.budget:.2%} of rollouts, as before: all gates"
            f" share false_rollback_budget. A bake without an end: at most {after:.2g} false alarms a year,"
            f" {before:.2g} before."
        )
        measured = (
            f"Measured: version {review.case.good} against itself, its units assigned anew {one.trials:.0f} times over"
            f" the same requests, is stopped {one.false_alarms} times; {allowed} are allowed."
        )
    made = [bound, measured]
    if one.change.asks_more:
        made.append(
            f"Besides: a candidate is asked {one.change.asks_more:g} % of the callers' requests for that time before it"
            " answers a caller, and each promotion takes so much longer."
        )
    return made


def _row(one: BacktestedPolicy) -> dict[str, str]:
    """A line of the table of what was tried."""
    return {
        "words": one.change.words if one.change else "the policy that is in force",
        "at": "not stopped" if one.stopped_at is None else format_time(one.stopped_at),
        "by": "" if one.stopped_at is None else f"{one.gate}, {one.where}",
        "requests": f"{one.requests:,}",
        "alarms": f"{one.false_alarms}" if one.trials else "not measured",
    }
