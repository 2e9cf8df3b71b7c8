"""Judge a measurement by its quantiles, such as the 99th percentile of latency."""

import math
from collections.abc import Sequence

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.gates.bad_event_rate import (
    MAX_EPOCHS,
    candidate_serves_all_traffic,
    compute_harm_evidence,
    forecast_trials_to_pass,
    merge_strata,
)
from surefoot.core.judging.evidence import BadEventStratum, MeasurementCounts, MeasurementStratum
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import MeasurementGate
from surefoot.core.stats.change_point import likely_failure_start
from surefoot.core.stats.histogram import BUCKET_RATIO, Histogram, bucket_edge, bucket_of, count_exceedances
from surefoot.core.stats.merge_evidence import merge_log_evidence
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, NO_HARM_FACTORS, epoch_evidence_increments, log_evidence
from surefoot.core.stats.sample_ratio import sample_ratio_evidence
from surefoot.core.verdicts.live_decision import LiveEvidence, decide_live_gate
from surefoot.core.verdicts.pass_forecast import forecast_clause
from surefoot.core.verdicts.sentence_parts import interval_text, margin_clause, worse_since_clause
from surefoot.core.verdicts.verdict_builders import make_verdict

MIN_VALUES_BEYOND_QUANTILE = 5
"""Measurements that the champion must have beyond a quantile before it is frozen [count]: 10 in all for the median,
50 for p90, 500 for p99; below that its place is a matter of luck."""


def _summed(strata: list[MeasurementStratum], side: str) -> Histogram:
    total = Histogram({})
    for stratum in strata:
        total = total + Histogram(dict(getattr(stratum, side)))
    return total


def _strata(strata: list[MeasurementStratum], mine: int, theirs: int) -> list[BadEventStratum]:
    """Exceedances of each arm's own edge."""
    return [
        count_exceedances(Histogram(dict(s.candidate)), Histogram(dict(s.champion)), s.share, s.epoch, mine, theirs)
        for s in strata
    ]


def judge_measurement(gate: MeasurementGate, found: MeasurementCounts, level: DecisionThresholds) -> Verdict:
    """FAIL when some quantile is beyond its margin and the arms are proved to differ; PASS when every one is within.

    Law: counts at bucket edges are exact, so the verdict does not depend on who added what first.
    """
    strata = [s for s in found.strata if s.candidate or s.champion]
    before, candidate, champion = (
        Histogram(dict(found.baseline)),
        _summed(strata, "candidate"),
        _summed(strata, "champion"),
    )
    n = candidate.total + champion.total
    if not candidate.total:
        return make_verdict(gate, Outcome.NO_DATA, f"the candidate has answered no {found.trial} yet", n=n)
    highest = max(gate.quantiles)
    history = math.ceil(MIN_VALUES_BEYOND_QUANTILE / (1.0 - highest) - 1e-9)  # 1 - 0.9 is a little below 0.1
    if before.total < history:
        reason = (
            f"the champion has only {before.total:,} measurements from before the rollout; p{highest * 100:g} takes"
            f" {history:,}"
        )
        return make_verdict(gate, Outcome.NO_DATA, reason, n=n)
    margin = gate.margin or 0.0
    rows, starts, waits, lines = [], [], [], []
    for quantile in gate.quantiles:
        line = bucket_of(before.quantile(quantile)) + 1
        guess = before.above(line) / before.total
        tight = _strata(strata, line + _steps(1.0 + margin), line)
        # Alone, there is no champion to share the machine's bad minutes with: only beyond the margin is harm.
        single = candidate_serves_all_traffic(tight)
        harmed = tight if single else _strata(strata, line, line)
        by_epoch = epoch_evidence_increments(harmed, guess, 1.0, 0.0, HARM_FACTORS)
        harm, threshold = compute_harm_evidence(by_epoch, level)
        wide = merge_strata(_strata(strata, line + _steps(1.0 + level.allowance * margin), line))
        safe = log_evidence(wide, guess, 1.0, 0.0, NO_HARM_FACTORS)
        beside = champion.quantile(quantile) if champion.total else bucket_edge(line)
        rows.append((quantile, harm, threshold, safe, candidate.quantile(quantile), beside))
        starts.append((harm, likely_failure_start(by_epoch, starts=MAX_EPOCHS)))
        equal = _equal(champion if champion.total >= history else before, line, 1.0 + level.allowance * margin)
        waits.append((safe, forecast_trials_to_pass(equal, 1.0, 0.0, wide, n, found.trial, level)))
        lines.append((line, guess, threshold))
    harm = merge_log_evidence([row[1] for row in rows], [1.0 / len(rows)] * len(rows))
    worst = max(rows, key=lambda row: row[4] / row[5] if row[5] > 0.0 else math.inf)
    _, _, threshold, _, mine, beside = worst
    limit, unit = beside * (1.0 + margin), found.unit
    now = _now(strata, max(starts)[1], rows, level)
    broken = (
        f"{_told(*now[:3], unit)}{now[3]}: {_shown(now[1] - now[2], now[2], '+')} {unit}; at most"
        f" {_shown(now[2] * (1.0 + margin), now[2])}"
        f" {unit} is accepted"
    )
    # What a pass waits for is the quantile of which least is proved, not the one that looks worst.
    (safe, wanted), least = min(zip(waits, rows, strict=True), key=lambda one: (one[0][0], one[1]))

    def spoken(row: tuple[float, float, float, float, float, float]) -> str:
        at, guessed, needs = lines[rows.index(row)]
        ends = _ends(strata, at, guessed, needs + math.log(len(rows)), level)
        low, high = (None if end is None else _shown(row[5] * (end - 1.0), row[5], "+") for end in ends)
        interval = interval_text(low, high, f" {unit}")
        passes = margin_clause(level, f"{_shown(row[5] * level.allowance * margin, row[5], '+')} {unit}")
        apart = f"{_shown(row[4] - row[5], row[5], '+')} {unit} ({interval})"
        return f"{_told(row[0], row[4], row[5], unit)}: {apart}; {passes}"

    told = {row: spoken(row) for row in {worst, least}}
    counted = merge_strata(_strata(strata, 10**6, 10**6))
    seen = LiveEvidence(
        harm=harm,
        safe=safe,
        split=sample_ratio_evidence(counted),
        beyond=now[1] > now[2] * (1.0 + margin),
        n=n,
        recent=found.recent,
        threshold=threshold,
        failed=broken,
        passed=told[worst],
        undecided=f"not decided: {told[least]}{forecast_clause(wanted, level)}",
        forecast=wanted,
        fields={
            "estimate": mine - beside,
            "margin": limit - beside,
            "unit": unit,
            "trials": ", ".join(f"{s.candidate:,} of {s.candidate + s.champion:,}" for s in counted),
            "figures": (
                *(
                    VerdictFigure(FigureKind.CANDIDATE_QUANTILE, row[4], unit, f"candidate p{row[0] * 100:g}")
                    for row in rows
                ),
                *(
                    VerdictFigure(FigureKind.CHAMPION_QUANTILE, row[5], unit, f"champion p{row[0] * 100:g}")
                    for row in rows
                ),
                VerdictFigure(FigureKind.CANDIDATE_TRIALS, candidate.total, found.trial),
            ),
        },
    )
    return decide_live_gate(gate, seen, level)


def _told(quantile: float, mine: float, beside: float, unit: str) -> str:
    """A quantile of both arms in words."""
    mine_, beside_ = _shown(mine, beside), _shown(beside, beside)
    return f"p{quantile * 100:g} is {mine_} {unit} on the candidate, {beside_} {unit} on the champion"


def _shown(value: float, near: float, sign: str = "") -> str:
    """A measurement with as many decimals as show two digits of one that is as large as another."""
    decimals = min(max(2 - math.floor(math.log10(near)), 1), 9) if near > 0.0 else 1
    return format(value, f"{sign}.{decimals}f")


def _now(
    strata: list[MeasurementStratum],
    start: int,
    rows: Sequence[tuple[float, float, float, float, float, float]],
    level: DecisionThresholds,
) -> tuple[float, float, float, str]:
    """Worst quantile since the candidate seems to have broken: (which, candidate, champion, words for when)."""
    late = [s for s in strata if s.epoch >= start]
    candidate, champion = _summed(late, "candidate"), _summed(late, "champion")
    found = [
        (
            quantile,
            candidate.quantile(quantile) if candidate.total else 0.0,
            beside if not champion.total else champion.quantile(quantile),
        )
        for quantile, _, _, _, _, beside in rows
    ]
    which, mine, beside = max(found, key=lambda row: row[1] / row[2] if row[2] > 0.0 else math.inf)
    return which, mine, beside, worse_since_clause(start, MAX_EPOCHS, level) if len(late) < len(strata) else ""


def _equal(known: Histogram, line: int, factor: float) -> tuple[float, float]:
    """Shares of (champion, an equal candidate) above their edges, from what is known of the champion."""
    return known.above(line) / known.total, known.above(line + _steps(factor)) / known.total


_MAX_BUCKETS_BEYOND = 256
"""Buckets beyond an edge at which an interval is looked for [count]: 160 times the quantile, either way."""


def _ends(
    strata: list[MeasurementStratum], line: int, guess: float, threshold: float, level: DecisionThresholds
) -> tuple[float | None, float | None]:
    """Factors between the two versions' quantiles that the counts do not exclude; None for an end they do not reach.

    Law: an end is where the counts begin to prove a quantile above it (harm) or below it (safety), at the levels of the
        gate; what proves one factor proves all beyond it, so bisection works.
    """

    def proved(steps: int, grid: tuple[float, ...], needed: float) -> bool:
        return log_evidence(merge_strata(_strata(strata, line + steps, line)), guess, 1.0, 0.0, grid) >= needed

    def bisect(inner: int, outer: int, grid: tuple[float, ...], needed: float) -> float | None:
        """The bucket nearest to the inner one that is excluded."""
        if not proved(outer, grid, needed):
            return None
        while abs(outer - inner) > 1:
            middle = (inner + outer) // 2
            inner, outer = (inner, middle) if proved(middle, grid, needed) else (middle, outer)
        return float(BUCKET_RATIO**outer)

    low = bisect(_MAX_BUCKETS_BEYOND, -_MAX_BUCKETS_BEYOND, HARM_FACTORS, threshold)
    high = bisect(-_MAX_BUCKETS_BEYOND, _MAX_BUCKETS_BEYOND, NO_HARM_FACTORS, -math.log(level.beta))
    return low, high


def _steps(factor: float) -> int:
    """Buckets that a factor is wide; rounded up, so that a margin is never judged as less than it is."""
    return math.ceil(math.log(factor) / math.log(BUCKET_RATIO) - 1e-9)
