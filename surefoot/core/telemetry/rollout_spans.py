"""Map the runs of the journal to spans, with one trace for each rollout."""

from surefoot.core.domain import Verdict
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import GateJudged, Paused
from surefoot.core.telemetry.journal_runs import JournalRun, RunChange, RunResult
from surefoot.core.telemetry.span import AttributeValue, Span, SpanEvent, derive_id_bytes

_MOST_EVENTS = 128
"""Events of one span that are kept, as OpenTelemetry's libraries do [count]."""


def rollout_span(change: RunChange) -> Span | None:
    """The span of a run of the journal that has ended; None for one that begins.

    Law: the same journal entry gives the same span, so that a collector that gets it again can tell.

    Args:
        change: What began or ended.
    """
    if change.result is None:
        return None
    run = change.run
    kept = change.moments[:_MOST_EVENTS]
    return Span(
        trace_id=trace_id(run),
        span_id=_span_id(run.began),
        parent_id=b"" if run.is_rollout else _span_id(run.root),
        name=f"{run.began.model} {run.name}",
        began=run.began.wall,
        ended=max(change.entry.wall, run.began.wall),
        attributes=_attributes(change),
        events=tuple(_event(entry, event) for entry, event in kept),
        error=change.reason if change.result is RunResult.FAIL else "",
        dropped_events=len(change.moments) - len(kept),
    )


def trace_id(run: JournalRun) -> bytes:
    """Id of the trace of a rollout: the same for all of its spans."""
    return derive_id_bytes(f"rollout {run.root.hash}", 16)


def _span_id(entry: Entry) -> bytes:
    return derive_id_bytes(f"span {entry.hash}", 8)


def _attributes(change: RunChange) -> dict[str, AttributeValue]:
    run, opened = change.run, change.run.opened
    told: dict[str, AttributeValue] = {
        "surefoot.model": run.began.model,
        "surefoot.rollout": opened.rollout,
        "surefoot.kind": opened.kind.value,
        "surefoot.run": run.kind.value,
        "surefoot.champion": opened.champion.number,
        "surefoot.candidate": opened.candidate.number,
        "surefoot.candidate.digest": opened.candidate.digest,
        "surefoot.entry": run.began.seq,
        "surefoot.actor": run.began.actor,
        "surefoot.step": run.step,
        "surefoot.result": str(change.result),
    }
    if change.reason:
        told["surefoot.reason"] = change.reason
    return told


def _event(entry: Entry, event: GateJudged | Paused) -> SpanEvent:
    if isinstance(event, Paused):
        told: dict[str, AttributeValue] = {"surefoot.gate": event.gate, "surefoot.outcome": event.outcome.value}
        return SpanEvent("paused", entry.wall, told)
    return SpanEvent("verdict", entry.wall, {"surefoot.look": event.look, **_verdict(event.verdict)})


def _verdict(verdict: Verdict) -> dict[str, AttributeValue]:
    """The numbers of a verdict; none of its texts, which may quote values of requests."""
    told: dict[str, AttributeValue] = {
        "surefoot.gate": verdict.gate,
        "surefoot.outcome": verdict.outcome.value,
        "surefoot.observations": verdict.n,
    }
    numbers = {"estimate": verdict.estimate, "lower": verdict.lower, "upper": verdict.upper, "margin": verdict.margin}
    return {**told, **{f"surefoot.{name}": value for name, value in numbers.items() if value is not None}}
