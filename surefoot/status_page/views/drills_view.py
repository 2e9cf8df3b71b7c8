"""Describe a model's rollback drills, what they have proven, and whether one is due."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surefoot.core.drills.drill_events import DrillFinished, DrillResult, describe_drill
from surefoot.core.drills.drill_faults import FAULTS
from surefoot.core.drills.drill_state import TABLETOP_MODE
from surefoot.core.durations import format_duration
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.recovery.drill import DrillSection
from surefoot.reports.incident_page import format_time

_MODES = {"twin": "in a twin", "live": "in production", TABLETOP_MODE: "tabletop, with a person"}
_NONE = "-"
"""What a cell shows that has no value."""


@dataclass(frozen=True, slots=True)
class _ResultRow:
    """What a drill has shown under one fault, in words.

    Attributes:
        fault: The fault.
        what: What goes wrong with it, as one sentence.
        tone: "good" or "bad".
        found: Which gate has seen it, or that none has.
        requests: Requests that the faulty version was asked until then.
        decided: Time from the onset to the decision.
        restored: Time from the decision until the good version served everywhere.
        cause: The cause that was named.
        right: Whether that is the cause.
        problem: What is wrong; empty where the way back works.
    """

    fault: str
    what: str
    tone: str
    found: str
    requests: str
    decided: str
    restored: str
    cause: str
    right: str
    problem: str


@dataclass(frozen=True, slots=True)
class _DrillView:
    """One drill.

    Attributes:
        event: What it has shown.
        at: When it ended, UTC.
        mode: Where it was.
        tone: "good", "bad", or "warn" for one that proves nothing.
        outcome: "passed", "failed" or "exercise".
        told: What it has shown, as one sentence.
        took: How long it took.
        rows: What it has shown under each fault.
    """

    event: DrillFinished
    at: str
    mode: str
    tone: str
    outcome: str
    told: str
    took: str
    rows: tuple[_ResultRow, ...]


@dataclass(frozen=True, slots=True)
class _ProofView:
    """Whether drills have proven the way back.

    Attributes:
        tone: "good", "bad" or "warn".
        verdict: Whether it is proven, as one sentence.
        problem: Why no version is promoted now; empty where drills hold nothing back.
    """

    tone: str
    verdict: str
    problem: str


@dataclass(frozen=True, slots=True)
class _DrillsView:
    """All drills of a model.

    Attributes:
        proof: Whether the way back is proven.
        asked: What the policy asks for.
        due: When the next one is due; empty where none is asked for.
        live: The live drill that is under way; empty without one.
        drills: The drills, the latest first.
        fallback: What the latest check of the fallback has found, the latest first.
    """

    proof: _ProofView
    asked: str
    due: str
    live: str
    drills: tuple[_DrillView, ...]
    fallback: tuple[tuple[str, str, str], ...]


def view_rollback_proof(ledger: Ledger, section: DrillSection | None, now: float) -> _ProofView:
    """Say whether drills have proven the way back.

    Args:
        ledger: What the journal says of the model.
        section: The policy's section; None where the policy has none, or cannot be read.
        now: Time of the policy's clock [Unix seconds].
    """
    state = ledger.drills
    problem = state.promotion_problem(ledger.model, section, now)
    failed = state.last is not None and not state.last.passed
    if state.passed_at is None:
        verdict = f"no drill has proven the way back{': the last one has failed' if failed else ' yet'}"
        return _ProofView("bad" if problem or failed else "warn", verdict, problem)
    verdict = f"the way back was proven {format_duration(now - state.passed_at)} ago"
    verdict += ", which is too long" if problem else ""
    verdict += "; the last drill has failed" if failed else ""
    return _ProofView("bad" if problem else "warn" if failed else "good", verdict, problem)


def view_drills(ledger: Ledger, entries: Sequence[Entry], section: DrillSection | None, now: float) -> _DrillsView:
    """Describe all drills of a model.

    Args:
        ledger: What the journal says of it.
        entries: Its entries, in order; those of other kinds are left out.
        section: The policy's section; None where the policy has none, or cannot be read.
        now: Time of the policy's clock [Unix seconds].
    """
    state = ledger.drills
    proof = view_rollback_proof(ledger, section, now)
    due = ""
    if section is not None:
        left = state.last_at + section.every - now
        due = "now" if state.is_due(section, now) else f"in {format_duration(left)}"
    live = state.live
    return _DrillsView(
        proof,
        _asked(section),
        due,
        ""
        if live is None
        else f"version {live.champion.number} is in both arms ({live.drill}), with {live.weight:g} % of the units in"
        f" the candidate's, until {format_time(live.until)} UTC at the latest",
        tuple(_drills(entries))[::-1],
        tuple(_fallback_checks(entries))[::-1],
    )


def _asked(section: DrillSection | None) -> str:
    """What the policy asks for."""
    if section is None:
        return "the policy asks for no drills: 'drill: {every: 7d, expires: 14d}' schedules them"
    return (
        f"one every {format_duration(section.every)}; no version is promoted on a proof older than"
        f" {format_duration(section.expires)}"
    )


def _drills(entries: Iterable[Entry]) -> Iterable[_DrillView]:
    for entry in entries:
        if entry.kind != DrillFinished.__name__:
            continue
        event = decode_event(entry.kind, entry.data)
        if not isinstance(event, DrillFinished):
            continue
        tone, outcome = ("good", "passed") if event.passed else ("bad", "failed")
        if event.mode == TABLETOP_MODE:
            tone, outcome = "warn", "exercise"
        yield _DrillView(
            event,
            format_time(entry.at),
            _MODES.get(event.mode, event.mode),
            tone,
            outcome,
            describe_drill(event),
            format_duration(event.took_s),
            tuple(_row(result) for result in event.results),
        )


def _row(result: DrillResult) -> _ResultRow:
    right = {True: "yes", False: "no", None: _NONE}[result.cause_right]
    return _ResultRow(
        fault=result.fault.value,
        what=FAULTS[result.fault].what,
        tone="good" if result.ok else "bad",
        found=(result.gate or "detected") if result.detected else "not detected",
        requests=_NONE if result.requests is None else f"{result.requests:,}",
        decided=_NONE if result.detect_s is None else format_duration(result.detect_s),
        restored=_NONE if result.restore_ms is None else format_duration(result.restore_ms / 1000.0),
        cause=result.cause or _NONE,
        right=right,
        problem=result.problem,
    )


def _fallback_checks(entries: Iterable[Entry]) -> Iterable[tuple[str, str, str]]:
    """When the fallback was tried, the tone of the result, and the result."""
    for entry in entries:
        if entry.kind == FallbackDrilled.__name__:
            event = decode_event(entry.kind, entry.data)
            if isinstance(event, FallbackDrilled):
                yield format_time(entry.at), "bad" if event.problem else "good", describe_event(event)
