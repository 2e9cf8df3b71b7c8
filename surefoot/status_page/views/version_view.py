"""Describe one version of a model: what became of it, and why."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter

from surefoot.core.domain import RolloutKind, Version
from surefoot.core.drills.drill_events import DrillFinished
from surefoot.core.durations import format_duration
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.codec import get_journal_name
from surefoot.core.journal.events import (
    CandidateRefused,
    EffectDone,
    EffectIntended,
    GateJudged,
    RolloutOpened,
    decode_event,
)
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.served_version_events import ServiceCounted
from surefoot.core.served_versions.promotion_card import PromotionCard, describe_traffic_shares, promotion_cards
from surefoot.core.served_versions.quarantine import Quarantine
from surefoot.core.served_versions.service_summary import (
    ServiceSummary,
    Standing,
    quarantine_reason,
    service_summaries,
)
from surefoot.core.served_versions.version_checks import VersionChecks, latest_checks
from surefoot.core.served_versions.version_status import VersionStatus
from surefoot.core.tables.data_events import DataCheckpointed, DataCheckpointRefused, DataProved
from surefoot.reports.incident_page import format_time
from surefoot.status_page.views.rollout_view import GateRow, RolloutView, build_gate_row, view_rollout

_TONES = {
    Standing.CHAMPION: "good",
    Standing.PROVEN_GOOD: "good",
    Standing.ON_TRIAL: "warn",
    Standing.QUARANTINED: "bad",
    Standing.RETIRED: "warn",
}
_SERVED = frozenset(map(get_journal_name, (EffectIntended, EffectDone, ServiceCounted)))
"""Kinds of entries that say how long a version has served, and what it has answered."""
_CHECKED = frozenset(
    map(get_journal_name, (DataCheckpointed, DataCheckpointRefused, DataProved, DrillFinished, FallbackDrilled))
)
"""Kinds of entries that say what was rehearsed."""
_NEVER_SERVED = "never served"
"""Where a version stands of which callers had no answer."""


@dataclass(frozen=True, slots=True)
class _CardView:
    """The section that a promotion adds to the version's model card.

    Attributes:
        card: The promotion.
        replaced_at: When it had all requests, UTC.
        gates: The last verdict of each gate up to then.
        way: The shares of the traffic on the way up.
        outcome: How it went on: "kept", "baking" or "taken back".
        after: Why, in words.
        tone: "good", "bad" or "warn".
    """

    card: PromotionCard
    replaced_at: str
    gates: tuple[GateRow, ...]
    way: str
    outcome: str
    after: str
    tone: str


@dataclass(frozen=True, slots=True)
class _VersionView:
    """What a page shows of a version.

    Attributes:
        number: Version.
        standing: Where it stands.
        tone: "good", "bad" or "warn".
        reason: Why it stands there.
        digests: SHA-256 of its files, each once; more than one where the number was given to other files later.
        facts: What it served and how well: name and value.
        made: Who made it, its ticket and its provenance, as the latest attempt has recorded them: name and value.
        quarantine: Why it may not be promoted; None where it may.
        attempts: Promotions of it and rollbacks that concern it, the latest first.
        beside: Promotions of other versions in which it was the champion [count].
        refusals: When it was refused without a rollout, and why, the latest first.
        cards: Its sections of a model card, the latest first.
        checks: Latest rehearsals that concern it; None where there were none.
        incidents: Incidents about it, the latest first.
    """

    number: str
    standing: str
    tone: str
    reason: str
    digests: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    made: tuple[tuple[str, str], ...]
    quarantine: Quarantine | None
    attempts: tuple[RolloutView, ...]
    beside: int
    refusals: tuple[tuple[str, str], ...]
    cards: tuple[_CardView, ...]
    checks: VersionChecks | None
    incidents: tuple[Incident, ...]


def known_versions(ledger: Ledger, statuses: Mapping[str, VersionStatus]) -> dict[str, tuple[Version, ...]]:
    """Every version that the journal names, with each artifact that had its number; none where none was known."""
    found: dict[str, dict[str, Version]] = {number: {} for number in (*statuses, *ledger.refusals)}
    named = [both for one in ledger.rollouts.values() for both in (one.opened.champion, one.opened.candidate)]
    held = [one.version for one in ledger.quarantined.values()]
    for version in (*named, *ledger.proven, *held, *([ledger.champion] if ledger.champion else [])):
        found.setdefault(version.number, {})[version.digest] = version
    return {number: tuple(versions.values()) for number, versions in found.items()}


def view_version(
    ledger: Ledger,
    number: str,
    versions: Sequence[Version],
    entries: Sequence[Entry],
    by_rollout: Mapping[str, Sequence[Entry]],
    now: float,
) -> _VersionView:
    """Describe one version.

    Args:
        ledger: What the journal says of its model.
        number: The version.
        versions: The artifacts that had its number.
        entries: The model's entries without verdicts, in order.
        by_rollout: The entries of each rollout.
        now: Time of the policy's clock [Unix seconds].
    """
    promotions = [one for one in _rollouts(ledger, RolloutKind.PROMOTION) if one.opened.candidate.number == number]
    rollbacks = [
        one for one in _rollouts(ledger, RolloutKind.ROLLBACK) if number in {_from(one), one.rollback_target.number}
    ]
    mine = sorted([*promotions, *rollbacks], key=lambda one: one.opened_at, reverse=True)
    attempts = {one.opened.rollout for one in promotions}
    verdicts = _verdicts([by_rollout.get(one, ()) for one in attempts])
    relevant = merge(_of_kinds(entries, _SERVED, attempts), verdicts, key=attrgetter("seq"))
    served = [one for one in service_summaries(ledger, relevant, now) if one.version.number == number]
    quarantine = next((one for one in ledger.quarantined.values() if one.version.number == number), None)
    standing, tone, reason = _standing(served, quarantine, ledger, number, promotions)
    about = {one.opened.rollout for one in mine}
    whole = merge(*(by_rollout.get(one, ()) for one in about), key=attrgetter("seq"))
    cards = [card for card in promotion_cards(whole) if card.opened.candidate.number == number]
    latest = promotions[-1].opened if promotions else None
    return _VersionView(
        number,
        standing,
        tone,
        reason,
        tuple(one.digest for one in versions),
        tuple(_facts(served)),
        ()
        if latest is None
        else (
            ("made by", ", ".join(latest.authors)),
            ("change ticket", latest.ticket),
            *((f"provenance: {kind}", what) for kind, what in latest.provenance.items()),
        ),
        quarantine,
        tuple(view_rollout(ledger, one, now) for one in mine),
        sum(one.opened.champion.number == number for one in _rollouts(ledger, RolloutKind.PROMOTION)),
        tuple(_refusals(entries, number)),
        tuple(_card_view(card) for card in reversed(cards)),
        _checks(ledger.model, entries).get(number),
        tuple(one for one in ledger.incidents.known.values() if one.version.number == number)[::-1],
    )


def _rollouts(ledger: Ledger, kind: RolloutKind) -> list[Rollout]:
    return [one for one in ledger.rollouts.values() if one.opened.kind == kind]


def _from(rollback: Rollout) -> str:
    """The version that a rollback takes back."""
    return rollback.opened.champion.number


def _verdicts(rollouts: Iterable[Sequence[Entry]]) -> list[Entry]:
    """The verdicts of rollouts, in order."""
    found = [one for entries in rollouts for one in entries if one.kind == get_journal_name(GateJudged)]
    return sorted(found, key=attrgetter("seq"))


def _of_kinds(entries: Iterable[Entry], kinds: Collection[str], rollouts: Collection[str]) -> Iterator[Entry]:
    """Entries of these kinds, and those that open these rollouts: to decode all others costs a page its time."""
    opening = get_journal_name(RolloutOpened)
    for entry in entries:
        if entry.kind in kinds or (entry.kind == opening and entry.data.get("rollout") in rollouts):
            yield entry


def _checks(model: str, entries: Sequence[Entry]) -> Mapping[str, VersionChecks]:
    """The latest checks of each version."""
    rollouts = {str(one.data.get("rollout")) for one in entries if one.kind in _CHECKED}
    return latest_checks(model, _of_kinds(entries, _CHECKED, rollouts))


def _standing(
    served: Sequence[ServiceSummary],
    quarantine: Quarantine | None,
    ledger: Ledger,
    number: str,
    promotions: Sequence[Rollout],
) -> tuple[str, str, str]:
    """Where a version stands, the tone of that, and why."""
    if served:
        last = served[-1]
        return last.standing.value, _TONES[last.standing], last.reason
    if quarantine is not None:
        return Standing.QUARANTINED.value, "bad", quarantine_reason(quarantine)
    if promotions and not promotions[-1].stage.is_terminal:
        return Standing.ON_TRIAL.value, "warn", f"{promotions[-1].stage}: {promotions[-1].reason}"
    if refused := ledger.refusals.get(number):
        return _NEVER_SERVED, "warn", refused.reason
    if promotions:
        return _NEVER_SERVED, "warn", f"{promotions[-1].stage}: {promotions[-1].reason}"
    return _NEVER_SERVED, "warn", "callers had no answer of it"


def _facts(served: Sequence[ServiceSummary]) -> Iterator[tuple[str, str]]:
    """What a version served and how well, as names and values."""
    for one in served:
        counts = one.counts
        yield "answered everything for", format_duration(one.alone_s) if one.alone_s else "never"
        yield "answered a part for", format_duration(one.shared_s) if one.shared_s else "never"
        yield "first answer", f"{format_time(one.first_at)} UTC"
        if counts is not None:
            yield "requests", f"{counts.requests:,}"
            yield "matured labels", f"{counts.labels:,}"
        if counts is not None and one.score is not None:
            yield f"{counts.metric} on {counts.scored:,} answers", f"{one.score:.4g}"
        if one.verdicts:
            yield "verdicts", ", ".join(f"{outcome} {count:,}" for outcome, count in one.verdicts.items())
        if counts is not None:
            yield "counted until", f"{format_time(one.counted_until)} UTC"


def _refusals(entries: Sequence[Entry], number: str) -> Iterator[tuple[str, str]]:
    """When a version was refused without a rollout, and why, the latest first."""
    for entry in reversed(entries):
        if entry.kind == CandidateRefused.__name__ and entry.data.get("number") == number:
            event = decode_event(entry.kind, entry.data)
            if isinstance(event, CandidateRefused):
                yield format_time(entry.at), event.reason


def _card_view(card: PromotionCard) -> _CardView:
    outcome, after, tone = "kept", "every gate passed to the end of the bake", "good"
    if card.taken_back:
        outcome, after, tone = "taken back", card.taken_back, "bad"
    elif card.ended is None:
        outcome, after, tone = "baking", "it is still watched after the promotion", "warn"
    gates = tuple(build_gate_row(verdict) for verdict in card.verdicts)
    return _CardView(card, format_time(card.promoted_at), gates, describe_traffic_shares(card), outcome, after, tone)
