"""Summarise how long and how well each version has served, and its standing, such as champion or retired."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from surefoot.core.domain import PROMOTED_STAGES, Outcome, RolloutKind, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import EffectDone, EffectIntended, GateJudged, RolloutOpened, SetSplit, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.served_version_events import ServiceCounted, VersionCounts
from surefoot.core.policy.policy_types import Metric
from surefoot.core.served_versions.quarantine import Quarantine


class Standing(StrEnum):
    """Standing of a version today, such as champion, on trial or quarantined."""

    CHAMPION = "champion"
    ON_TRIAL = "on trial"
    PROVEN_GOOD = "proven-good"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class ServiceSummary:
    """How one version has served.

    Attributes:
        version: The version.
        alone_s: How long it answered everything [seconds].
        shared_s: How long it answered a part of the units [seconds].
        first_at: When callers first got its answers [Unix seconds].
        counts: Requests, labels and loss that were counted; None where none were.
        verdicts: Verdicts on it in all its rollouts, by outcome [count].
        counted_until: Until when they were counted [Unix seconds]; 0 where they were not.
        standing: Where it stands.
        reason: Why it stands there.
    """

    version: Version
    alone_s: float = 0.0
    shared_s: float = 0.0
    first_at: float = 0.0
    counts: VersionCounts | None = None
    verdicts: Mapping[Outcome, int] = field(default_factory=dict)
    counted_until: float = 0.0
    standing: Standing = Standing.RETIRED
    reason: str = ""

    @property
    def score(self) -> float | None:
        """Mean loss of its answers [unit of the metric]; None where no label has come."""
        if self.counts is None or self.counts.loss is None:
            return None
        return math.sqrt(self.counts.loss) if self.counts.metric == Metric.RMSE else self.counts.loss


@dataclass(slots=True)
class _Times:
    """Times of every version so far, and the split that is in force."""

    records: dict[str, ServiceSummary] = field(default_factory=dict)
    split: SetSplit | None = None
    since: float = 0.0

    def close(self, at: float) -> None:
        """Count the time until then for the versions of the split in force."""
        if self.split is None:
            return
        trial = self.split.candidate is not None and not self.split.is_live_drill
        lasted, shared = max(at - self.since, 0.0), trial and self.split.weight > 0.0
        self._add(self.split.champion, 0.0 if shared else lasted, lasted if shared else 0.0)
        if self.split.candidate is not None and shared:
            self._add(self.split.candidate, 0.0, lasted)
        self.since = at

    def _add(self, version: Version, alone: float, shared: float) -> None:
        known = self.records.get(version.digest) or ServiceSummary(version, first_at=self.since)
        self.records[version.digest] = replace(
            known, version=version, alone_s=known.alone_s + alone, shared_s=known.shared_s + shared
        )


def service_summaries(
    ledger: Ledger, entries: Iterable[Entry], now: float, latest: Iterable[VersionCounts] = ()
) -> tuple[ServiceSummary, ...]:
    """How every version that callers had answers of has served, in the order in which they came.

    Args:
        ledger: What the journal says now.
        entries: The whole journal of the model.
        now: Until when the split in force is counted [Unix seconds].
        latest: What was counted of the time after the last count in the journal.
    """
    times, intents = _Times(), dict[int, SetSplit]()
    opened: dict[str, RolloutOpened] = {}
    counts: dict[str, VersionCounts] = {}
    verdicts: dict[str, Counter[Outcome]] = defaultdict(Counter)
    counted_until = 0.0
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        match event:
            case RolloutOpened():
                opened[event.rollout] = event
            case EffectIntended() if isinstance(event.effect, SetSplit):
                intents[entry.seq] = event.effect
            case EffectDone() if event.intent in intents:
                times.close(entry.at)
                times.split, times.since = intents[event.intent], entry.at
            case GateJudged() if event.rollout in opened:
                verdicts[opened[event.rollout].candidate.digest][event.verdict.outcome] += 1
            case ServiceCounted():
                counted_until = event.until
                _add_counts(counts, event.versions)
            case _:
                pass
    times.close(now)
    _add_counts(counts, latest)
    made = []
    for record in times.records.values():
        standing, reason = _standing(ledger, record.version)
        made.append(
            replace(
                record,
                counts=counts.get(record.version.number),
                verdicts=dict(verdicts[record.version.digest]),
                counted_until=counted_until,
                standing=standing,
                reason=reason,
            )
        )
    return tuple(made)


def last_served_at(entries: Iterable[Entry], version: Version, now: float) -> float | None:
    """When a version last answered callers, as the journal says [Unix seconds]; None when it never did.

    Args:
        entries: The whole journal of the model.
        version: The version.
        now: The time, for a version that answers callers still [Unix seconds].
    """
    intents, serves, last = dict[int, SetSplit](), False, None
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            intents[entry.seq] = event.effect
        elif isinstance(event, EffectDone) and event.intent in intents:
            split = intents[event.intent]
            shared = split.candidate is not None and split.weight > 0.0 and split.candidate.digest == version.digest
            last = entry.at if serves else last
            serves = shared or split.champion.digest == version.digest
    return now if serves else last


def _add_counts(counts: dict[str, VersionCounts], more: Iterable[VersionCounts]) -> None:
    """Add counts of other requests; a loss of another metric than the latest is left out."""
    for one in more:
        known = counts.get(one.number)
        counts[one.number] = one if known is None else _sum(known, one)


def _sum(one: VersionCounts, other: VersionCounts) -> VersionCounts:
    requests, labels = one.requests + other.requests, one.labels + other.labels
    parts = [part for part in (one, other) if part.loss is not None]
    metric = parts[-1].metric if parts else other.metric or one.metric
    parts = [part for part in parts if part.metric == metric]
    scored = sum(part.scored for part in parts)
    loss = sum((part.loss or 0.0) * part.scored for part in parts) / scored if scored else None
    return VersionCounts(one.number, requests, labels, scored, loss, metric)


def _standing(ledger: Ledger, version: Version) -> tuple[Standing, str]:
    """Where a version stands, and why."""
    rollout = ledger.rollout
    if ledger.champion and version.digest == ledger.champion.digest:
        return Standing.CHAMPION, _promotion_reason(ledger, version)
    if rollout and rollout.opened.kind == RolloutKind.PROMOTION and version.digest == rollout.opened.candidate.digest:
        return Standing.ON_TRIAL, f"{rollout.stage}: {rollout.reason}"
    if held := ledger.quarantined.get(version.digest):
        return Standing.QUARANTINED, quarantine_reason(held)
    if any(version.digest == one.digest for one in ledger.proven):
        return Standing.PROVEN_GOOD, _promotion_reason(ledger, version)
    last = next(reversed(ledger.attempts(version)), None)
    return Standing.RETIRED, f"{last.stage}: {last.reason}" if last else "it served before"


def _promotion_reason(ledger: Ledger, version: Version) -> str:
    promoted = [item for item in ledger.attempts(version) if item.stage in PROMOTED_STAGES]
    if promoted:
        return f"{promoted[-1].stage}: {promoted[-1].reason}"
    return "the registry's champion when Surefoot came"


def quarantine_reason(held: Quarantine) -> str:
    """Why a version is quarantined, with the end that says so."""
    return f"{held.stage}: {held.reason}"


def quarantined_without_serving(ledger: Ledger, records: Iterable[ServiceSummary]) -> Mapping[str, Quarantine]:
    """Quarantined versions that callers never had answers of, by digest."""
    served = {record.version.digest for record in records}
    return {digest: held for digest, held in ledger.quarantined.items() if digest not in served}
