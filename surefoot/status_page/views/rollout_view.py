"""Describe one rollout for its page: its gates, what it waits for, its split and its timeline."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from surefoot.core.assignment import describe_candidate_share
from surefoot.core.domain import Outcome, RolloutKind, Stage, Verdict
from surefoot.core.durations import format_duration
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_effect, describe_event
from surefoot.core.journal.events import (
    Effect,
    EffectDone,
    EffectIntended,
    EffectRefused,
    GateJudged,
    SetSplit,
    decode_event,
)
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.violations import Violation
from surefoot.core.served_versions.version_status import current_outcome, is_failed_end, rollout_title
from surefoot.core.state_machine import gate_evaluation_interval
from surefoot.core.verdicts.quantities import describe_accepted, describe_details, describe_figure, describe_measured
from surefoot.reports.incident_page import format_time

_TONES = {Outcome.PASS: "good", Outcome.FAIL: "bad"}
_MOST_ENTRIES = 300
"""Entries of the timeline that a page shows, the latest ones [count]."""
_MOST_DETAILS = 30
"""Rows of a verdict's details that a page shows [count]."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """The last verdict of a gate.

    Attributes:
        verdict: What it answered.
        tone: "good", "bad" or "warn": the colour of its badge, which says the outcome in words as well.
        measured: Estimate and interval in the gate's unit; empty where it gave no number.
        accepted: What the owner accepts; empty where that is no number.
        figures: Further numbers: (label, number with its unit).
        details: Slices, features or expectations, a row each.
    """

    verdict: Verdict
    tone: str
    measured: str
    accepted: str
    figures: tuple[tuple[str, str], ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One entry of the journal for people.

    Attributes:
        seq: Its sequence.
        at: When, UTC.
        actor: Who or what caused it.
        text: What happened, as one sentence.
        tone: "good", "bad", "warn", or empty.
    """

    seq: int
    at: str
    actor: str
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class RolloutView:
    """What a page shows of a rollout.

    Attributes:
        id: Its id.
        title: What it does.
        outcome: Stage that it stands in or ended in, with what came later.
        reason: Why it stands there.
        tone: "good", "bad" or "warn".
        is_open: Whether it is under way.
        awaits_approval: Whether people have to approve it now.
        where: Stage and step in words, with the share of the traffic.
        since: When the stage was entered, UTC.
        waits: What it waits for, a sentence each.
        gates: The last verdict of each gate.
        candidate: Number of the candidate, or of the version that a rollback goes back to.
        champion: Number of the other one.
    """

    id: str
    title: str
    outcome: str
    reason: str
    tone: str
    is_open: bool
    awaits_approval: bool
    where: str
    since: str
    waits: tuple[str, ...]
    gates: tuple[GateRow, ...]
    candidate: str
    champion: str


def view_rollout(ledger: Ledger, rollout: Rollout, now: float) -> RolloutView:
    """Describe one rollout.

    Args:
        ledger: What the journal says of its model.
        rollout: One of its rollouts.
        now: Time of the policy's clock [Unix seconds].
    """
    stage, reason = current_outcome(ledger, rollout)
    failed = is_failed_end(rollout.opened.kind, stage) or stage is Stage.FAST_ROLLED_BACK
    tone = "bad" if failed else "good" if stage.is_terminal else "warn"
    if rollout.opened.kind == RolloutKind.ROLLBACK and stage is Stage.FAST_ROLLED_BACK:
        tone = "good"
    title = rollout_title(rollout)
    return RolloutView(
        id=rollout.opened.rollout,
        title=title,
        outcome=str(stage),
        reason=reason.removeprefix(f"{title}: "),
        tone=tone,
        is_open=not rollout.stage.is_terminal,
        where=_where(ledger, rollout),
        awaits_approval=rollout.stage is Stage.AWAITING_APPROVAL and rollout.ending is None,
        since=format_time(rollout.since or rollout.opened_at),
        waits=tuple(_waits(rollout, now)),
        gates=tuple(build_gate_row(verdict) for verdict in rollout.verdicts.values()),
        candidate=rollout.opened.candidate.number,
        champion=rollout.opened.champion.number,
    )


def _where(ledger: Ledger, rollout: Rollout) -> str:
    """The stage in words, with the step and the share of the traffic."""
    if rollout.stage is not Stage.RAMPING:
        return f"{rollout.stage}{' (paused)' if rollout.paused else ''}"
    steps = len(rollout.opened.stepped.weights) if rollout.opened.stepped else _steps(rollout)
    of = f" of {steps}" if steps else ""
    split = ledger.split
    share = f": {describe_candidate_share(split.weight, split.units)} of the units" if split and split.candidate else ""
    return f"Ramping, step {rollout.step + 1}{of}{share}{' (paused)' if rollout.paused else ''}"


def read_rollout_policy(rollout: Rollout) -> Policy | None:
    """The policy that the rollout was opened with; None where this edition cannot read it."""
    try:
        return parse_policy(rollout.opened.policy)
    except (Violation, ValueError):  # the policy of an old edition costs the page a forecast, and nothing else
        return None


def _steps(rollout: Rollout) -> int:
    policy = read_rollout_policy(rollout)
    return len(policy.ramp) if policy else 0


def _waits(rollout: Rollout, now: float) -> Iterator[str]:
    """What an open rollout waits for, and until when."""
    if rollout.stage.is_terminal:
        return
    if rollout.ending:
        yield f"its end is decided ({rollout.ending.terminal_stage}): traffic first, then the registry"
        return
    if rollout.paused:
        yield f"it is paused: {rollout.paused.reason}"
    for verdict in rollout.verdicts.values():
        if verdict.outcome is not Outcome.PASS:
            yield f"gate {verdict.gate} is {verdict.outcome}: {verdict.reason}"
    policy = read_rollout_policy(rollout)
    if policy is None or rollout.opened.kind != RolloutKind.PROMOTION:
        return
    if hold := _hold(rollout, policy):
        left = rollout.entered_at + hold - now
        yield (
            f"{format_duration(left)} of {format_duration(hold)} are left here"
            if left > 0
            else (f"the {format_duration(hold)} of this step are over: it goes on once every gate passes")
        )
    every = gate_evaluation_interval(rollout, policy)
    if math.isfinite(every):
        due = max(rollout.looked_at, rollout.entered_at) + every
        when = f"in {format_duration(due - now)}" if due > now else "now"
        yield f"the next look is due {when}; one comes every {format_duration(every)}"


def _hold(rollout: Rollout, policy: Policy) -> float:
    """How long the stage lasts at least [seconds]; 0 where it has no such time."""
    match rollout.stage:
        case Stage.RAMPING if rollout.step < len(policy.ramp):
            return policy.ramp[rollout.step].hold
        case Stage.LIVE_SHADOWING if policy.live_shadow:
            return policy.live_shadow.seconds
        case Stage.BAKING:
            return policy.bake.seconds
        case _:
            return 0.0


def build_gate_row(verdict: Verdict) -> GateRow:
    """A verdict with its numbers in words."""
    figures = tuple((one.name, describe_figure(one, verdict)) for one in verdict.figures)
    details = tuple(describe_details(row, verdict) for row in verdict.details[:_MOST_DETAILS])
    tone = _TONES.get(verdict.outcome, "warn")
    return GateRow(verdict, tone, describe_measured(verdict), describe_accepted(verdict), figures, details)


def group_evaluations_by_gate(entries: Sequence[Entry]) -> dict[str, list[tuple[float, GateJudged]]]:
    """Every look of a rollout, by gate, in order."""
    found: dict[str, list[tuple[float, GateJudged]]] = defaultdict(list)
    for entry in entries:
        if entry.kind == GateJudged.__name__:
            event = decode_event(entry.kind, entry.data)
            if isinstance(event, GateJudged) and event.verdict.metric != "validation":
                found[event.verdict.gate].append((entry.at, event))
    return found


def list_split_changes(entries: Sequence[Entry]) -> list[tuple[float, float]]:
    """The candidate's share after each change of the split: (time [Unix seconds], share [percent])."""
    wanted: dict[int, SetSplit] = {}
    found: list[tuple[float, float]] = []
    for entry in entries:
        if entry.kind not in {EffectIntended.__name__, EffectDone.__name__}:
            continue
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            wanted[entry.seq] = event.effect
        elif isinstance(event, EffectDone) and event.intent in wanted:
            effect = wanted[event.intent]
            found.append((entry.at, effect.weight if effect.candidate else 0.0))
    return found


def timeline(entries: Sequence[Entry], *, everything: bool) -> list[TimelineRow]:
    """Entries as sentences, the latest first.

    Args:
        entries: Entries of a model, in order.
        everything: Whether intents and verdicts that repeat the one before are shown too.
    """
    rows: list[TimelineRow] = []
    said: dict[tuple[str, str, int], Outcome] = {}
    intents: dict[int, Effect] = {}
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        tone = ""
        if isinstance(event, GateJudged):
            key = event.verdict.gate, str(event.stage), event.step
            if not everything and said.get(key) is event.verdict.outcome:
                continue
            said[key] = event.verdict.outcome
            tone = _TONES.get(event.verdict.outcome, "warn")
        elif isinstance(event, EffectRefused):
            tone = "bad"
        sentence = " ".join(describe_event(event).split())
        if isinstance(event, EffectIntended):
            intents[entry.seq] = event.effect
            if not everything:
                continue
        elif isinstance(event, EffectDone) and event.intent in intents:
            sentence = f"{describe_effect(intents[event.intent])}: {sentence}"
        rows.append(TimelineRow(entry.seq, format_time(entry.at), entry.actor, sentence, tone))
    return rows[: -_MOST_ENTRIES - 1 : -1]
