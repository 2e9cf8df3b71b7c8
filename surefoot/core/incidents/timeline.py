"""Build the timeline of an incident from the journal."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.domain import Outcome, RolloutKind, Version
from surefoot.core.errors import SurefootError
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import (
    Effect,
    EffectDone,
    EffectIntended,
    EndDecided,
    Event,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    decode_event,
)
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.policy.parse import parse_policy
from surefoot.core.tables.data_events import DataRestored


class Moment(StrEnum):
    """A moment of an incident; the value is what people read."""

    ONSET = "onset"
    FIRST_SIGN = "first sign"
    DETECTED = "detected"
    DECIDED = "rollback decided"
    TRAFFIC_BACK = "traffic back"
    LAST_ANSWER = "last answer of the version"
    REGISTRY_RESTORED = "registry restored"
    DATA_RESTORED = "data restored"
    ENDED = "rollback ended"


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One moment of an incident.

    Attributes:
        moment: What it is.
        at: When [Unix seconds].
        text: What happened, as one sentence.
        actor: Who or what did it; empty for what was found in the prediction log.
        seq: Sequence of the journal entry; 0 for what was found in the prediction log.
    """

    moment: Moment
    at: float
    text: str
    actor: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class AnsweredPeriod:
    """When callers got answers of the version, as the prediction log says.

    Attributes:
        first: Time of the first of them [Unix seconds].
        last: Time of the last [Unix seconds].
    """

    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened when, in one incident.

    Attributes:
        rows: Its moments, in the order of time.
    """

    rows: tuple[TimelineRow, ...]

    def at(self, moment: Moment) -> float | None:
        """When a moment was, the last of its kind [Unix seconds]; None where it was not."""
        return next((row.at for row in reversed(self.rows) if row.moment is moment), None)

    def between(self, first: Moment, last: Moment) -> float | None:
        """Time from one moment to another [seconds], at least 0; None where one of them was not."""
        began, ended = self.at(first), self.at(last)
        return None if began is None or ended is None else max(ended - began, 0.0)

    @property
    def time_to_detect(self) -> float | None:
        """From the onset to the detection [seconds]."""
        return self.between(Moment.ONSET, Moment.DETECTED)

    @property
    def time_to_restore(self) -> float | None:
        """From the detection until traffic was back [seconds]."""
        return self.between(Moment.DETECTED, Moment.TRAFFIC_BACK)


def build_timeline(entries: Sequence[Entry], incident: Incident, answered: AnsweredPeriod | None = None) -> Timeline:
    """Find the moments of an incident in the journal.

    A version on trial is taken to have been bad from its first answer on. A champion was good when it was promoted: its
    trouble began after what the last look that found nothing could see, which is what had labels by then.

    Args:
        entries: The whole journal of the model.
        incident: The incident.
        answered: When callers got answers of the version; None where that is not known.
    """
    read = [(entry, decode_event(entry.kind, entry.data)) for entry in entries]
    last = next((entry.seq for entry, event in read if _ends(event, incident)), None)
    told = [(entry, event) for entry, event in read if last is None or entry.seq <= last or _is_of(event, incident)]
    rows = [*_found(told, incident), *_restored(told, incident)]
    detected = next((row.at for row in rows if row.moment is Moment.DETECTED), incident.at)
    rows += _onset(told, incident, detected, answered)
    if answered is not None:
        rows.append(TimelineRow(Moment.LAST_ANSWER, answered.last, _ANSWERED.format(incident.version.number)))
    order = list(Moment)
    return Timeline(tuple(sorted(rows, key=lambda row: (row.at, order.index(row.moment)))))


_ANSWERED = "version {} answered a caller for the last time before the rollback had ended"


_DEFAULT_WINDOW_S = 28 * 86400.0
"""The window of a watch whose policy cannot be read [seconds]."""
_SIGN_WINDOWS = 1.5
"""How long before its detection a sign still belongs to an incident [windows]: labels are late, looks may be."""
_LAST_CLEAN_LOOK = (
    "the trouble began after this: the last look of the standing watch that found nothing had labels up to here"
)


def _is_of(event: Event, incident: Incident) -> bool:
    """Whether an event belongs to the rollout that took the version back."""
    return bool(incident.rollback) and getattr(event, "rollout", "") == incident.rollback


def _ends(event: Event, incident: Incident) -> bool:
    return isinstance(event, RolloutEnded) and _is_of(event, incident)


def _found(read: Sequence[tuple[Entry, Event]], incident: Incident) -> list[TimelineRow]:
    """Detection and decision."""
    rows: list[TimelineRow] = []
    for entry, event in read:
        said = _detects(event, incident)
        if said and not any(row.moment is Moment.DETECTED for row in rows):
            rows.append(TimelineRow(Moment.DETECTED, entry.at, said, entry.actor, entry.seq))
        decided = _decides(event, incident)
        if decided and not any(row.moment is Moment.DECIDED for row in rows):
            if not any(row.moment is Moment.DETECTED for row in rows):
                said = f"found by a person or a program, not by a gate: {decided}"
                rows.append(TimelineRow(Moment.DETECTED, entry.at, said, entry.actor, entry.seq))
            rows.append(TimelineRow(Moment.DECIDED, entry.at, decided, entry.actor, entry.seq))
    return rows


def _detects(event: Event, incident: Incident) -> str:
    """What an event says that detects the trouble; empty for every other event."""
    digest = incident.version.digest
    match event:
        case GateJudged() if event.verdict.outcome is Outcome.FAIL and event.rollout == incident.rollback:
            return f"gate {event.verdict.gate} fails: {event.verdict.reason}"
        case ChampionJudged() if event.verdict.outcome is Outcome.FAIL and event.champion.digest == digest:
            return f"gate {event.verdict.gate} of the standing watch fails: {event.verdict.reason}"
        case ChampionWatched() if event.alarms and event.champion.digest == digest:
            return f"the standing watch alarms: {event.alarms[0]}"
        case IncidentOpened() if event.incident == incident.name and not event.rollback:
            return event.reason
        case _:
            return ""


def _decides(event: Event, incident: Incident) -> str:
    """Why an event decides that the version is taken back; empty for every other event."""
    if not _is_of(event, incident):
        return ""
    match event:
        case RolloutOpened() if event.kind == RolloutKind.ROLLBACK:
            return event.reason
        case EndDecided():
            return event.reason
        case _:
            return ""


def _restored(read: Iterable[tuple[Entry, Event]], incident: Incident) -> list[TimelineRow]:
    """Traffic, registry and data after the decision, and the end."""
    rows: list[TimelineRow] = []
    pending: dict[int, Effect] = {}
    decided = False
    for entry, event in read:
        if not _is_of(event, incident):
            continue
        decided = decided or bool(_decides(event, incident))
        if not decided:
            continue
        match event:
            case EffectIntended():
                pending[entry.seq] = event.effect
            case EffectDone() if event.intent in pending:
                rows += _effect_row(entry, pending.pop(event.intent), event.took_ms, incident.version)
            case DataRestored():
                found = "nothing had to be undone" if event.already else f"digest {event.after[:19]}"
                said = f"table {event.name} holds its checkpoint again: {found}"
                rows.append(TimelineRow(Moment.DATA_RESTORED, entry.at, said, entry.actor, entry.seq))
            case RolloutEnded():
                rows.append(
                    TimelineRow(Moment.ENDED, entry.at, f"ended as {event.terminal_stage}", entry.actor, entry.seq)
                )
            case _:
                pass
    return rows


def _effect_row(entry: Entry, effect: Effect, took_ms: float, version: Version) -> list[TimelineRow]:
    """The moment that an applied effect is; none where it leaves traffic with the version."""
    if isinstance(effect, SetSplit):
        shared = effect.candidate is not None and effect.weight > 0.0
        back = effect.champion.digest != version.digest and not shared
        if back:
            said = f"version {effect.champion.number} answers everything, {took_ms:.0f} ms after the command"
            return [TimelineRow(Moment.TRAFFIC_BACK, entry.at, said, entry.actor, entry.seq)]
        return []
    if isinstance(effect, SetAlias):
        what = "is removed" if effect.number is None else f"points to version {effect.number}"
        return [TimelineRow(Moment.REGISTRY_RESTORED, entry.at, f"alias {effect.alias} {what}", entry.actor, entry.seq)]
    return []


def _onset(
    read: Sequence[tuple[Entry, Event]], incident: Incident, detected: float, answered: AnsweredPeriod | None
) -> list[TimelineRow]:
    """When the trouble began, and its first sign."""
    own = next((event for _, event in read if isinstance(event, RolloutOpened) and _is_of(event, incident)), None)
    if own is not None and own.kind == RolloutKind.PROMOTION:
        return _onset_of_trial(read, incident, answered)
    clean: TimelineRow | None = None
    sign: TimelineRow | None = None
    window = _watch_window(read, incident)
    for entry, event in read:
        if entry.at >= detected or not isinstance(event, ChampionWatched):
            continue
        if event.champion.digest != incident.version.digest:
            continue
        found = (*event.alarms, *event.early)
        if not found and sign is None:
            seen = entry.at - event.label_delay
            clean = TimelineRow(Moment.ONSET, seen, _LAST_CLEAN_LOOK, entry.actor, entry.seq)
        elif found and sign is None and entry.at >= detected - _SIGN_WINDOWS * window:
            sign = TimelineRow(Moment.FIRST_SIGN, entry.at, found[0], entry.actor, entry.seq)
    if clean is None:
        clean = _promotion(read, incident)
    return [row for row in (clean, sign) if row is not None]


def _watch_window(read: Iterable[tuple[Entry, Event]], incident: Incident) -> float:
    """How far back a look of the standing watch sees, by the policy of the champion's promotion [seconds].

    What is seen within it may be the trouble that is detected in the end, though later looks no longer see it: a
    drift becomes the past that it is compared with.
    """
    for _, event in read:
        if isinstance(event, RolloutOpened) and event.rollout == incident.opened.rollout and event.policy:
            with suppress(SurefootError, ValueError):
                watch = parse_policy(event.policy).watch
                return watch.window if watch else _DEFAULT_WINDOW_S
    return _DEFAULT_WINDOW_S


def _onset_of_trial(
    read: Iterable[tuple[Entry, Event]], incident: Incident, answered: AnsweredPeriod | None
) -> list[TimelineRow]:
    """The first answer of a version on trial, or the first split that gave it callers."""
    if answered is not None:
        said = f"version {incident.version.number} answered a caller for the first time"
        return [TimelineRow(Moment.ONSET, answered.first, said)]
    for entry, event in read:
        if _is_of(event, incident) and isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            given = event.effect.candidate is not None and event.effect.weight > 0.0
            if given or event.effect.champion.digest == incident.version.digest:
                said = f"version {incident.version.number} is given its first callers"
                return [TimelineRow(Moment.ONSET, entry.at, said, entry.actor, entry.seq)]
    return []


def _promotion(read: Iterable[tuple[Entry, Event]], incident: Incident) -> TimelineRow | None:
    """The end of the champion's promotion: nothing is known of a time at which it was still well."""
    for entry, event in read:
        if isinstance(event, RolloutEnded) and event.rollout == incident.opened.rollout:
            said = "the version was promoted, and no look of the standing watch found it well after that"
            return TimelineRow(Moment.ONSET, entry.at, said, entry.actor, entry.seq)
    return None
