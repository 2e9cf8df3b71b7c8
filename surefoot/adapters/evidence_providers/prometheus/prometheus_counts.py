"""Count both versions' failures and latencies from Prometheus counters."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from surefoot.adapters.evidence_providers.prometheus.counter_increases import (
    LOOKBACK_S,
    CounterIncrease,
    counter_increases,
)
from surefoot.adapters.evidence_providers.prometheus.prometheus_api import PrometheusApi, Samples
from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure
from surefoot.core.domain import Arm, EvidenceKind, Outcome, Split
from surefoot.core.durations import format_duration
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    BucketCounts,
    Evidence,
    MeasurementCounts,
    MeasurementStratum,
    MissingEvidence,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.evidence.evidence_section import PrometheusSection
from surefoot.core.policy.policy_types import LatencyGate, Metric
from surefoot.core.stats.histogram import BUCKET_RATIO

_BASELINE_WINDOW_S = 7 * 86400.0
"""How far back the champion's own latencies count [seconds]."""
_ON_AN_EDGE = 1e-6
_MS = {"s": 1000.0, "ms": 1.0}
_Cell = tuple[float, int]
"""Share of the candidate, and epoch."""


@dataclass(frozen=True, slots=True)
class SplitWithStart:
    """A split, and when it came into force [Unix seconds]."""

    since: float
    split: Split


def uses_prometheus_counters(section: PrometheusSection, question: EvidenceRequest) -> bool:
    """Whether the evidence of a question is counted in Prometheus."""
    if question.kind not in {EvidenceKind.LIVE, EvidenceKind.BAKE}:
        return False
    if question.gate.metric is Metric.ERROR_RATE:
        return section.errors is not None
    return isinstance(question.gate, LatencyGate) and section.latency is not None


class PrometheusCounts:
    """Counts what one question asks.

    Law: an increase counts under the split and in the epoch of its second sample. One across a change of the split
        counts nowhere, and the verdict says how many there were.
    """

    def __init__(
        self,
        section: PrometheusSection,
        api: PrometheusApi,
        question: EvidenceRequest,
        periods: Sequence[SplitWithStart],
        reach: float,
    ) -> None:
        """Nothing is asked yet.

        Args:
            section: What is counted.
            api: The server.
            question: The question.
            periods: Every split that was in force, oldest first.
            reach: How far back the champion's past is looked at [seconds].
        """
        self._section, self._api, self._question, self._reach = section, api, question, reach
        self._periods = periods
        self._alone = question.kind == EvidenceKind.BAKE

    def gather(self) -> Evidence:
        """The counters of both versions; a server that cannot tell gives an outcome of its own."""
        try:
            requests = self._samples(self._section.requests)
            if missing := self._missing(requests):
                return missing
            placed, unplaced = self._placed(requests)
            if not placed:
                return MissingEvidence(Outcome.NO_DATA, "no request has been counted under this rollout yet")
            recent = sum(one.count for one, _, _ in placed if one.end > self._question.since)
            left = ExcludedRecords(records=sum(one.count for one, _, _ in placed) + unplaced, unplaced=unplaced)
            first = min(one.end for one, _, _ in placed)
            if self._question.gate.metric is Metric.ERROR_RATE:
                made: Evidence = replace(self._failures(placed, first), recent=recent, left=left)
            else:
                made = replace(self._latencies(first), recent=recent, left=left)
        except ProviderFailure as error:
            return MissingEvidence(Outcome.ERROR, f"{error.problem}: {error}")
        return made

    def _samples(self, selector: str) -> Samples:
        return self._api.read_samples(selector, self._question.opened - LOOKBACK_S, self._question.until)

    def _missing(self, samples: Samples) -> MissingEvidence | None:
        """Why the counters cannot speak of the question; None when they can."""
        question, place = self._question, self._api.place
        if not any(samples.values()):
            reason = f"{place} answers, and has no sample of {self._section.requests}"
            return MissingEvidence(Outcome.NO_DATA, reason)
        newest = max(found[-1][0] for found in samples.values() if found)
        age = question.until - newest
        if question.stale_after and age > question.stale_after:
            allowed = format_duration(question.stale_after)
            reason = f"the newest sample of {place} is {format_duration(age)} old; after {allowed} (stale_after)"
            return MissingEvidence(Outcome.STALE, f"{reason} nothing is decided")
        versions = {dict(labels).get(self._section.version_label) for labels in samples}
        wanted = {question.candidate.number} if self._alone else {question.champion.number, question.candidate.number}
        absent = sorted(wanted - versions)
        began = next((one.since for one in self._periods if self._counts(one.split)), question.until)
        if absent and question.until - began > LOOKBACK_S:
            reason = f"partial: {place} has no series of version {', '.join(absent)} in {self._section.requests}"
            return MissingEvidence(Outcome.ERROR, f"{reason} (label '{self._section.version_label}')")
        return None

    def _counts(self, split: Split) -> bool:
        """Whether requests under a split are evidence of the rollout."""
        if split.rollout != self._question.rollout:
            return False
        if self._alone:
            return split.weight <= 0.0 and split.champion.number == self._question.candidate.number
        return split.weight > 0.0 and split.candidate is not None

    def _split_at(self, at: float) -> SplitWithStart | None:
        return next((one for one in reversed(self._periods) if one.since <= at), None)

    def _placed(self, samples: Samples) -> tuple[list[tuple[CounterIncrease, float, str]], int]:
        """Increases under the rollout, with share and arm; requests across a change of the split [count]."""
        question = self._question
        sides = {question.candidate.number: Arm.CANDIDATE.value}
        if not self._alone:
            sides[question.champion.number] = Arm.CHAMPION.value
        made, unplaced = [], 0
        for one in counter_increases(samples, question.opened):
            side = sides.get(dict(one.labels).get(self._section.version_label, ""))
            begin, end = self._split_at(one.begin), self._split_at(one.end)
            if side is None or end is None or not self._counts(end.split):
                continue
            if begin != end:
                unplaced += one.count
                continue
            made.append((one, 1.0 if self._alone else end.split.weight / 100.0, side))
        return made, unplaced

    def _cells(
        self,
        placed: Sequence[tuple[CounterIncrease, float, str]],
        first: float,
        key: Callable[[CounterIncrease], float],
    ) -> dict[_Cell, dict[str, dict[float, int]]]:
        """Sums of increases by share and epoch, then by arm and key."""
        made: dict[_Cell, dict[str, dict[float, int]]] = defaultdict(
            lambda: {Arm.CANDIDATE.value: defaultdict(int), Arm.CHAMPION.value: defaultdict(int)}
        )
        length = max(self._question.epoch, 1.0)
        for one, share, side in placed:
            epoch = min(MAX_EPOCHS - 1, max(int((one.end - first) // length), 0))
            made[share, epoch][side][key(one)] += one.count
        return made

    def _failures(self, placed: Sequence[tuple[CounterIncrease, float, str]], first: float) -> BadEventCounts:
        """Failed and other requests of each arm."""
        errors = self._section.errors or ""
        failed, _ = self._placed(self._samples(errors))
        asked = self._cells(placed, first, lambda _one: 0.0)
        bad = self._cells(failed, first, lambda _one: 0.0)
        strata = []
        for (share, epoch), arms in sorted(asked.items()):
            trial, control = (
                (min(bad[share, epoch][side][0.0], arms[side][0.0]), arms[side][0.0])
                for side in (Arm.CANDIDATE.value, Arm.CHAMPION.value)
            )
            good, beside = trial[1] - trial[0], control[1] - control[0]
            strata.append(BadEventStratum(share, trial[0], good, control[0], beside, epoch))
        history = sum(one.count for one in self._past(self._section.requests, self._reach))
        broken = sum(one.count for one in self._past(errors, self._reach))
        return BadEventCounts(tuple(strata), broken / history if history else None, "request", 0, history)

    def _latencies(self, first: float) -> MeasurementCounts:
        """Histograms of each arm, from buckets that hold all that is not above their bound."""
        placed, _ = self._placed(self._samples(self._section.latency or ""))
        cells = self._cells(placed, first, self._bound)
        past: dict[float, int] = defaultdict(int)
        for one in self._past(self._section.latency or "", _BASELINE_WINDOW_S):
            past[self._bound(one)] += one.count
        strata = tuple(
            MeasurementStratum(
                share,
                self._buckets(arms[Arm.CANDIDATE.value]),
                self._buckets(arms[Arm.CHAMPION.value]),
                epoch,
            )
            for (share, epoch), arms in sorted(cells.items())
        )
        return MeasurementCounts(strata, self._buckets(past), "ms", 0, "request")

    def _past(self, selector: str, reach: float) -> Iterator[CounterIncrease]:
        """Increases of the champion's counter before the rollout; once it serves no more, until now."""
        question = self._question
        until = question.until if self._alone and question.gate.metric is Metric.ERROR_RATE else question.opened
        samples = self._api.read_steps(selector, question.opened - reach, until)
        for one in counter_increases(samples, question.opened - reach):
            if dict(one.labels).get(self._section.version_label) == question.champion.number:
                yield one

    def _bound(self, one: CounterIncrease) -> float:
        return float(dict(one.labels).get("le", "inf"))

    def _buckets(self, cumulative: dict[float, int]) -> BucketCounts:
        """The judge's buckets of a histogram whose counts hold those of all lower bounds."""
        made: dict[int, int] = defaultdict(int)
        before, last = 0, 0
        for bound in sorted(cumulative):
            count = max(cumulative[bound] - before, 0)
            before = max(cumulative[bound], before)
            if math.isfinite(bound):
                last = histogram_bucket_number(bound * _MS[self._section.latency_unit])
            else:
                last += 1  # above the largest bound: how far is not known
            if count:
                made[last] += count
        return tuple(sorted(made.items()))


def histogram_bucket_number(bound: float) -> int:
    """Number of the judge's bucket that ends at a bound, or holds it.

    Args:
        bound: Largest value of a bucket of Prometheus [ms].
    """
    place = math.log(bound) / math.log(BUCKET_RATIO)
    return round(place) - 1 if abs(place - round(place)) < _ON_AN_EDGE else math.floor(place)
