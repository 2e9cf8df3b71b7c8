"""Build views of the MLflow runs that show rollouts and stage transitions, from journal entries."""

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from surefoot.core.domain import RolloutKind, Stage, Verdict
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_rollout
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    EffectRefused,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    StageEntered,
    as_json,
    decode_event,
)
from surefoot.core.journal.served_version_events import ExposureListed, RollbackTargetChanged

EntryKey = tuple[int, str]
"""Sequence and hash of the entry that a run shows."""

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
_GOOD = frozenset({Stage.PROMOTED, Stage.FAST_PROMOTED})
_GIVEN_UP = frozenset({Stage.SUPERSEDED, Stage.WITHDRAWN})
_LONGEST = 4000  # MLflow cuts or refuses longer tags, depending on its database [characters]
_EFFECTS = ("seq", "effect", "done", "took_ms", "reconciled", "reason")


@dataclass(frozen=True, slots=True)
class JudgedGate:
    """The last answer of a gate before a transition.

    Attributes:
        seq: Sequence of the entry that holds it.
        event: The answer, with the look it was given at.
    """

    seq: int
    event: GateJudged

    @property
    def verdict(self) -> Verdict:
        """The answer itself."""
        return self.event.verdict


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as MLflow should show it.

    Attributes:
        key: The entry it shows.
        parent: The rollout's entry; None for the rollout itself.
        name: Name for people.
        started: Wall time of the entry [ms].
        ended: Wall time of its end; None while it goes on [ms].
        status: MLflow's word for how it ended; RUNNING while it goes on.
        head: Sequence of the last transition that it knows of.
        params: What never changes.
        tags: What the latest projection says.
        metrics: Finite numbers only.
        judged: Answers that led to the transition.
        course: Every look of the rollout at these gates until the transition, with its time [Unix seconds].
        tables: JSON artifacts by file name.
    """

    key: EntryKey
    parent: EntryKey | None
    name: str
    started: int
    ended: int | None
    status: str
    head: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    judged: tuple[JudgedGate, ...] = ()
    course: tuple[tuple[float, GateJudged], ...] = ()
    tables: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class _OpenRollout:
    """What a rollout has gathered since its last transition."""

    entry: Entry
    event: RolloutOpened
    ordinal: int = 0
    step: int = 0
    last: Entry | None = None
    stage: Stage = Stage.SUBMITTED
    status: str = RUNNING
    reason: str = ""
    target: str = ""
    exposed: tuple[int, ExposureListed] | None = None
    intents: dict[int, EffectIntended] = field(default_factory=dict)
    judged: dict[str, JudgedGate] = field(default_factory=dict)
    looks: list[tuple[float, GateJudged]] = field(default_factory=list)
    effects: list[dict[str, object]] = field(default_factory=list)

    @property
    def key(self) -> EntryKey:
        return self.entry.seq, self.entry.hash


def make_run_views(entries: Iterable[Entry]) -> list[RunView]:
    """Make the runs that show the journal entries, a rollout's run before those of its transitions.

    Transitions of a rollout whose opening is not among the entries are left out.
    """
    rollouts: dict[str, _OpenRollout] = {}
    transitions: list[RunView] = []
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, RolloutOpened):
            rollouts[event.rollout] = _OpenRollout(entry, event, reason=event.reason)
            continue
        rollout = rollouts.get(getattr(event, "rollout", ""))
        if rollout is None:
            continue
        match event:
            case GateJudged():
                rollout.judged[event.verdict.gate] = JudgedGate(entry.seq, event)
                rollout.looks.append((entry.at, event))
            case EffectIntended():
                rollout.intents[entry.seq] = event
            case EffectDone() | EffectRefused():
                rollout.effects.append(_effect(entry.seq, rollout.intents.get(event.intent), event))
            case RollbackTargetChanged():
                rollout.target = event.target.number
            case ExposureListed():
                rollout.exposed = entry.seq, event
            case StageEntered() | RolloutEnded():
                transitions.append(_transition(entry, event, rollout))
            case _:
                pass
    return [*map(_rollout, rollouts.values()), *transitions]


def _transition(entry: Entry, event: StageEntered | RolloutEnded, rollout: _OpenRollout) -> RunView:
    """The run of one transition; what the rollout had gathered goes with it."""
    if isinstance(event, StageEntered):
        rollout.stage, rollout.step, status = event.stage, event.step, FINISHED
    else:
        rollout.stage, status = event.terminal_stage, _status(rollout.event.kind, event.terminal_stage)
        rollout.status = status
    rollout.ordinal, rollout.last, rollout.reason = rollout.ordinal + 1, entry, event.reason
    judged, effects = tuple(rollout.judged.values()), rollout.effects
    rollout.judged, rollout.effects = {}, []
    asked = {j.verdict.gate for j in judged}
    course = tuple((at, look) for at, look in rollout.looks if look.verdict.gate in asked)
    tables: dict[str, object] = {}
    if judged:
        tables["verdicts.json"] = [
            {"seq": j.seq, "stage": j.event.stage, "step": j.event.step, "look": j.event.look, **as_json(j.verdict)}
            for j in judged
        ]
    if effects:
        tables["effects.json"] = {"columns": _EFFECTS, "data": [[row.get(key) for key in _EFFECTS] for row in effects]}
    return RunView(
        key=(entry.seq, entry.hash),
        parent=rollout.key,
        name=f"{rollout.ordinal:02} {rollout.stage}{_weight(rollout)}",
        started=_ms(entry),
        ended=_ms(entry),
        status=status,
        head=entry.seq,
        params={
            **_identity(entry, rollout.event.rollout),
            "surefoot.stage": str(rollout.stage),
            "surefoot.step": str(rollout.step),
        },
        tags={**_note(event.reason, entry), **{j.verdict.gate: str(j.verdict.outcome) for j in judged}},
        metrics={**_metrics([j.verdict for j in judged]), **_took(effects)},
        judged=judged,
        course=course,
        tables=tables,
    )


def _rollout(rollout: _OpenRollout) -> RunView:
    """The run of a rollout, as far as the entries tell."""
    entry, event = rollout.entry, rollout.event
    over = rollout.status != RUNNING and rollout.last is not None
    seen, listed = rollout.exposed or (0, None)
    return RunView(
        key=rollout.key,
        parent=None,
        name=f"{describe_rollout(event, short=True)} ({event.rollout.removeprefix('sha256:')[:8]})",
        started=_ms(entry),
        ended=_ms(rollout.last) if over and rollout.last else None,
        status=rollout.status,
        head=max(seen, rollout.last.seq if rollout.last else entry.seq),
        params={
            **_identity(entry, event.rollout),
            "surefoot.kind": event.kind,
            "surefoot.model": entry.model,
            "surefoot.candidate": event.candidate.number,
            "surefoot.candidate_digest": event.candidate.digest,
            "surefoot.champion": event.champion.number,
            "surefoot.champion_digest": event.champion.digest,
            "surefoot.policy_digest": event.policy_digest,
        },
        tags={
            **_note(event.reason, entry),
            "surefoot.stage": str(rollout.stage),
            "surefoot.reason": rollout.reason[:_LONGEST],
            **({"surefoot.target": rollout.target} if rollout.target else {}),
        },
        metrics={"exposure.requests": float(listed.requests)} if listed else {},
        tables={"policy.json": event.policy, **({"exposure.json": as_json(listed)} if listed else {})},
    )


def _identity(entry: Entry, rollout: str) -> dict[str, str]:
    return {
        "surefoot.seq": str(entry.seq),
        "surefoot.hash": entry.hash,
        "surefoot.rollout": rollout,
        "surefoot.actor": entry.actor,
        "surefoot.at": dt.datetime.fromtimestamp(entry.at, dt.UTC).isoformat(timespec="milliseconds"),
    }


def _note(reason: str, entry: Entry) -> dict[str, str]:
    """What MLflow's own pages show beside the name."""
    return {"mlflow.note.content": reason[:_LONGEST], "mlflow.user": entry.actor, "mlflow.source.name": "surefoot"}


def _status(kind: str, terminal_stage: Stage) -> str:
    """How a rollout ended; a rollback that went back has done what it was for."""
    if terminal_stage in _GIVEN_UP:
        return KILLED
    return (
        FINISHED
        if terminal_stage in _GOOD or (kind == RolloutKind.ROLLBACK and terminal_stage is Stage.FAST_ROLLED_BACK)
        else FAILED
    )


def _weight(rollout: _OpenRollout) -> str:
    """The share of a ramp's step, or of a live shadow, for the name, as the policy of the rollout says."""
    plan = rollout.event.stepped
    if plan is not None:
        return f" {plan.weights[rollout.step]:g} %" if rollout.stage is Stage.RAMPING else ""
    steps = rollout.event.policy.get("steps")
    if not isinstance(steps, list):
        return ""
    if rollout.stage is Stage.LIVE_SHADOWING:
        shadows = [step["shadow"] for step in steps if isinstance(step, Mapping) and "shadow" in step]
        return "".join(f" {shadow['share']:g} %" for shadow in shadows if shadow.get("source") == "live")
    if rollout.stage is not Stage.RAMPING:
        return ""
    weights = [step["weight"] for step in steps if isinstance(step, Mapping) and "weight" in step]
    return f" {weights[rollout.step]:g} %" if rollout.step < len(weights) else f" step {rollout.step}"


def _ms(entry: Entry) -> int:
    return round(entry.wall * 1000.0)


def _effect(seq: int, intent: EffectIntended | None, event: EffectDone | EffectRefused) -> dict[str, object]:
    effect = {"name": type(intent.effect).__name__, **as_json(intent.effect)} if intent else None
    if isinstance(event, EffectRefused):
        return {"seq": seq, "effect": effect, "done": False, "reason": event.reason}
    return {"seq": seq, "effect": effect, "done": True, "took_ms": event.took_ms, "reconciled": event.reconciled}


def _took(effects: Sequence[Mapping[str, object]]) -> dict[str, float]:
    times = {f"effect.{number}.took_ms": row.get("took_ms") for number, row in enumerate(effects, start=1)}
    return {name: float(value) for name, value in times.items() if isinstance(value, int | float)}


def _metrics(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Numbers by gate; MLflow stores an infinity as 1.8e308 and NaN as a number, so neither is sent."""
    found: dict[str, float | None] = {}
    for verdict in verdicts:
        gate = _name(verdict.gate)
        for key in ("estimate", "lower", "upper", "margin", "n"):
            found[f"{gate}.{key}"] = getattr(verdict, key)
        for figure in verdict.figures:
            found[f"{gate}.{_name(figure.name)}"] = figure.value
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def _name(text: str) -> str:
    """A name that MLflow takes for a metric."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")[:100] or "unnamed"
