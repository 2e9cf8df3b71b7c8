"""Report in a gate's verdict how many log records were excluded, and for which reasons."""

from dataclasses import replace

from surefoot.core.domain import Outcome, Verdict
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.verdicts.quantities import as_percent

_MAX_REPEATED_SHARE = 0.05
"""Share of the records that may repeat an id before nothing is judged: retries are rare, recycled ids are not."""
_MAX_ODD_SHARE = 0.01
"""Share of the records that a metric may be unable to read before nothing is judged."""
MAX_MISSING_MIRRORED_SHARE = 0.2
"""Share of the mirrored requests that may be missing before no gate passes: what was dropped came when the host was
busy, so it may differ from what was answered."""
_MIN_DECIDING_RECORDS = 10
"""So many of either decide nothing, however few records there are [count]."""
EXCLUSION_REASON_TEXTS = {
    "refused": "requests that no version could answer, which are evidence about none",
    "repeated": "records with the id of a request that was counted already",
    "unkept": "requests whose features are not kept in the log",
    "sampled": "requests beyond those that are looked at one by one",
    "unknown": "labels of requests that are in no record",
    "early": "labels older than their request",
    "future": "labels with a time that has not come yet",
    "clipped": "values beyond the policy's bounds, counted as the nearer bound",
    "dropped": "mirrored requests that the shadow had no room for, which are missing",
    "odd": "values that cannot be read",
    "unplaced": "requests between two samples of a counter across a change of the split",
}
"""Count of `ExcludedRecords` -> what it counts, as a verdict says it."""


def report_excluded_records(verdict: Verdict, left: ExcludedRecords) -> Verdict:
    """The verdict with every count that is not zero in its sentence and its details; an ERROR where one is too large.

    Law: without anything left out the verdict is what it was.
    """
    counts = {name: int(getattr(left, name)) for name in EXCLUSION_REASON_TEXTS}
    found = {name: n for name, n in counts.items() if n}
    if not found:
        return verdict
    named = f" ({left.what}; request {', '.join(left.requests)})" if left.odd and left.requests else ""
    said = ", ".join(
        f"{n:,} {EXCLUSION_REASON_TEXTS[name]}{named if name == 'odd' else ''}" for name, n in found.items()
    )
    rows = tuple(
        {
            "left out": EXCLUSION_REASON_TEXTS[name],
            "n": n,
            **({"requests": list(left.requests)} if name == "odd" else {}),
        }
        for name, n in found.items()
    )
    verdict = replace(verdict, reason=f"{verdict.reason}; left out: {said}", details=(*verdict.details, *rows))
    if problem := _too_much(left):
        return replace(verdict, outcome=Outcome.ERROR, reason=f"{problem}; {verdict.reason}", culprit="")
    if verdict.outcome is Outcome.PASS and left.dropped > MAX_MISSING_MIRRORED_SHARE * max(left.records, 1):
        missing = (
            f"not decided: {left.dropped:,} of {left.records:,} mirrored requests are missing, and at most"
            f" {as_percent(MAX_MISSING_MIRRORED_SHARE)} may be"
        )
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=f"{missing}; {verdict.reason}")
    return verdict


def _too_much(left: ExcludedRecords) -> str:
    """Why the records cannot be judged; empty when they can."""
    total = max(left.records, 1)
    if left.repeated >= _MIN_DECIDING_RECORDS and left.repeated > _MAX_REPEATED_SHARE * total:
        return (
            f"{left.repeated:,} of {left.records:,} records repeat the id of another request, and only"
            f" {left.records - left.repeated:,} were counted: each request needs an X-Request-Id of its own, or none"
        )
    if left.odd >= _MIN_DECIDING_RECORDS and left.odd > _MAX_ODD_SHARE * total:
        return f"{left.odd:,} of {left.records:,} records cannot be read: {left.what or 'see the requests'}"
    return ""
