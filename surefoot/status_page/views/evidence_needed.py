"""Estimate the evidence that each undecided gate still needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.core.domain import FigureKind, Outcome, Verdict
from surefoot.core.durations import format_duration, format_estimated_duration
from surefoot.core.errors import InvariantBroken
from surefoot.core.journal.events import GateJudged
from surefoot.core.judging.evidence import Evidence, PairedSums, SlicedCounts
from surefoot.core.judging.evidence_json import decode_evidence
from surefoot.core.verdicts.pass_forecast import REQUEST_TRIAL, round_forecast
from surefoot.core.verdicts.quantities import as_percent
from surefoot.reports.rollout_plots import TimedGateEvaluation

_LOOKS = 6
"""Latest looks of a step whose growth is the present traffic [count]."""
_FEWEST = 10
"""Fewer observations than these tell no pace [count]."""
_SPREAD = 1.2816
"""Standard deviations that eight of ten counts lie within [standard deviations]."""
_HELD_OUTCOMES = frozenset({Outcome.INCONCLUSIVE, Outcome.NO_DATA})


@dataclass(frozen=True, slots=True)
class EvidenceNeeded:
    """What an undecided gate waits for.

    Attributes:
        labels: How many labels have matured; empty where the gate needs none.
        needed: What is still needed, and when it is expected, a sentence each; empty where nothing can be said.
    """

    labels: str = ""
    needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pace:
    """How fast observations come at present: between `slow` and `fast` [count per second], over `span` [seconds]."""

    slow: float
    fast: float
    span: float


def evidence_needed(looks: Sequence[TimedGateEvaluation], now: float, *, waits: bool) -> EvidenceNeeded:
    """What a gate has counted, and what it still needs.

    Args:
        looks: Every look of the gate in its rollout, in order.
        now: Time of the policy's clock [Unix seconds].
        waits: Whether more evidence can come: False for a rollout that is over, or whose end is decided.
    """
    if not looks:
        return EvidenceNeeded()
    at, last = looks[-1]
    evidence = _evidence(last)
    labels = _matured_labels(last.verdict, evidence)
    if not waits or last.verdict.outcome not in _HELD_OUTCOMES:
        return EvidenceNeeded(labels)
    figures = {one.kind: one for one in last.verdict.figures}
    demanded, what = _demanded(last, evidence)
    sentences = [f"this step demands {demanded:,} more {what}"] if demanded else []
    low, high = float(demanded), float(demanded)
    counted = REQUEST_TRIAL
    if FigureKind.EQUAL_PASSES_BY in figures:
        first, by, seen = (
            figures[kind].value
            for kind in (FigureKind.EQUAL_PASSES_FROM, FigureKind.EQUAL_PASSES_BY, FigureKind.EQUAL_PASSES_SEEN)
        )
        counted = figures[FigureKind.EQUAL_PASSES_BY].unit
        sentences.append(_forecast_sentence(first - seen, by - seen, seen, counted))
        low, high = (max(low, first - seen), max(high, by - seen)) if by > seen else (0.0, 0.0)
    if high > 0.0 and counted == REQUEST_TRIAL and not _is_sliced(evidence):
        sentences += _expected(low, high, _pace(looks), now - at)
    return EvidenceNeeded(labels, tuple(sentences))


def _evidence(event: GateJudged) -> Evidence | None:
    """The counters of a look; None where they were not kept, or cannot be read."""
    if not event.evidence:
        return None
    try:
        return decode_evidence(event.evidence)
    except InvariantBroken:  # it costs the page a sentence; `surefoot verify` says that it is broken
        return None


def _matured_labels(verdict: Verdict, evidence: Evidence | None) -> str:
    """How many requests have their label, of those that are old enough to have one."""
    if isinstance(evidence, PairedSums) and evidence.requests:
        share = as_percent(evidence.labelled / evidence.requests)
        told = f"{evidence.labelled:,} of {evidence.requests:,} requests that are old enough have their label ({share})"
        late = f"; {evidence.late:,} labels came too late to count" if evidence.late else ""
        return told + late
    covered = next((one.value for one in verdict.figures if one.kind is FigureKind.LABEL_COVERAGE), None)
    return "" if covered is None else f"{as_percent(covered)} of the requests that are old enough have their label"


def _demanded(event: GateJudged, evidence: Evidence | None) -> tuple[int, str]:
    """Requests that the step demands and that have not come, and what they are."""
    least = event.level.min_requests if event.level else 0
    if isinstance(evidence, PairedSums):
        return max(least - evidence.labelled, 0), "labelled requests"
    recent = getattr(evidence, "recent", None)
    return (0 if recent is None else max(least - recent, 0)), "requests"


def _forecast_sentence(low: float, high: float, seen: float, trial: str) -> str:
    """How many more trials an equal candidate needs, as an interval."""
    if high <= 0.0:
        return (
            f"no forecast: {seen:,.0f} {trial}s are counted, more than 9 of 10 candidates that equal the champion need"
        )
    span = f"between {round_forecast(low)} and {round_forecast(high)}" if low > 0.0 else f"up to {round_forecast(high)}"
    return f"{span} more {trial}s until a pass, if it equals the champion (8 of 10 cases)"


def _is_sliced(evidence: Evidence | None) -> bool:
    """Whether the slice that decides may be another one at each look, so that its growth is no pace."""
    return isinstance(evidence, SlicedCounts) or (isinstance(evidence, PairedSums) and any(evidence.slices))


def _pace(looks: Sequence[TimedGateEvaluation]) -> _Pace | None:
    """How fast observations have come over the latest looks of the step; None where that is not known."""
    last = looks[-1][1]
    mine = [(at, one.verdict.n) for at, one in looks if (one.stage, one.step) == (last.stage, last.step)][-_LOOKS:]
    counts = [n for _, n in mine]
    grown, span = counts[-1] - counts[0], mine[-1][0] - mine[0][0]
    if counts != sorted(counts) or grown < _FEWEST or span <= 0.0:
        return None
    spread = _SPREAD * math.sqrt(grown)
    return _Pace((grown - spread) / span, (grown + spread) / span, span)


def _expected(low: float, high: float, pace: _Pace | None, age: float) -> list[str]:
    """When so many observations will have come at the present pace, as an interval; nothing where that is not known.

    Args:
        low: Fewest observations [count].
        high: Most observations [count].
        pace: The pace; None where it is not known.
        age: Time since they were counted [seconds].
    """
    if pace is None:
        return []
    soon, late = low / pace.fast - age, high / pace.slow - age
    if late <= 0.0:
        return []
    first, by = format_estimated_duration(max(soon, 0.0)), format_estimated_duration(late)
    when = f"within {by}" if soon <= 0.0 else f"in about {by}" if first == by else f"in {first} to {by}"
    return [f"expected {when}, at the traffic of the last {format_duration(pace.span)}"]
