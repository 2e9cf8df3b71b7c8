"""Judge from counts by traffic split (strata) and time (epochs) whether the candidate has too many bad events."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import BadEventGate, Metric
from surefoot.core.stats import power
from surefoot.core.stats.absolute_rate import evidence_against_rate_limit
from surefoot.core.stats.change_point import likely_failure_start, log_evidence_at_any_start, log_mixture_over_starts
from surefoot.core.stats.rate_eprocess import (
    HARM_FACTORS,
    NO_HARM_FACTORS,
    degradation_interval,
    epoch_evidence_increments,
    log_evidence,
    log_mean_exp,
    mantel_haenszel_rates,
    open_ended_interval,
)
from surefoot.core.stats.sample_ratio import sample_ratio_evidence
from surefoot.core.verdicts.live_decision import LiveEvidence, decide_live_gate
from surefoot.core.verdicts.pass_forecast import PassForecast, forecast_clause, forecast_pass
from surefoot.core.verdicts.quantities import as_percent
from surefoot.core.verdicts.sentence_parts import (
    RateDifference,
    margin_clause,
    worse_since_clause,
)
from surefoot.core.verdicts.verdict_builders import make_verdict

MAX_EPOCHS = 24
"""Epochs in which a candidate may begin to break, over a ramp or a bake [count]."""
ASSUMED_CHAMPION_RATE = 0.001
"""Guess of a champion's rate of which nothing is known [probability]; a wrong guess costs power, never validity."""
_UNHEALTHY_FACTOR = 2.0
"""A champion that fails this many times as often as before the rollout is unhealthy itself [ratio]."""
_PLAN_POWER = 0.8
"""How sure a plan is to see what it looks for [probability]."""


def candidate_serves_all_traffic(strata: Sequence[BadEventStratum]) -> bool:
    """Whether the candidate answers everything, so that only a frozen baseline is left to compare with."""
    return all(s.share >= 1.0 for s in strata)


def merge_strata(strata: Sequence[BadEventStratum]) -> list[BadEventStratum]:
    """Strata of the same split in one, whenever they were."""
    sums: dict[float, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for s in strata:
        for index, n in enumerate((s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good)):
            sums[s.share][index] += n
    return [BadEventStratum(share, *cells) for share, cells in sorted(sums.items())]


def compute_harm_evidence(found: dict[int, tuple[float, ...]], level: DecisionThresholds) -> tuple[float, float]:
    """Log evidence of harm at any moment until now, and what it must reach.

    While the end is in sight a false alarm is limited in all; a bake may go on for ever, so there the time between
    two false alarms is: MAX_EPOCHS / alpha epochs, which is at most alpha in the MAX_EPOCHS epochs of the bake.
    """
    if level.forever:
        return log_evidence_at_any_start(found), math.log(MAX_EPOCHS / level.alpha)
    return log_mixture_over_starts(found, starts=MAX_EPOCHS), -math.log(level.alpha)


def judge_bad_event_rate(gate: BadEventGate, found: BadEventCounts, level: DecisionThresholds) -> Verdict:
    """Judge growth against the champion, the absolute limit, or both with half of the level each."""
    n = sum(s.candidate + s.champion for s in found.strata)
    candidate = sum(s.candidate for s in found.strata)
    if not candidate:
        return make_verdict(gate, Outcome.NO_DATA, f"the candidate has answered no {found.trial} yet", n=n)
    if gate.limit is None:
        return _growth(gate, found, level)
    if gate.margin is None:
        return _absolute(gate, found, level)
    half = replace(level, alpha=level.alpha / 2.0)
    both = [_growth(gate, found, half), _absolute(gate, found, half)]
    return next((v for v in both if v.outcome is Outcome.FAIL), None) or next(
        (v for v in both if v.outcome is not Outcome.PASS), both[0]
    )


def _growth(gate: BadEventGate, found: BadEventCounts, level: DecisionThresholds) -> Verdict:
    strata = [s for s in found.strata if s.candidate + s.champion]
    merged = merge_strata(strata)
    candidate = sum(s.candidate for s in strata)
    single = candidate_serves_all_traffic(strata)
    if single and found.baseline is None:
        return make_verdict(
            gate, Outcome.NO_DATA, "the candidate serves alone and no rate of the champion is known", n=candidate
        )
    guess = found.baseline if found.baseline is not None else ASSUMED_CHAMPION_RATE
    if single and found.history:
        # Alone the past is all there is to compare with, and a short one is not taken at its word.
        guess = min(guess + 2.0 * math.sqrt(guess * (1.0 - guess) / found.history) + 3.0 / found.history, 1.0)
    margin = gate.margin or 0.0
    growth, points = (margin, 0.0) if gate.relative else (0.0, margin)
    rates = _observed_rates(merged, guess)
    limit = rates[0] * (1.0 + growth) + points
    s = 1.0 if single else 0.0
    found_by_epoch = epoch_evidence_increments(strata, guess, 1.0 + s * growth, s * points, HARM_FACTORS)
    harm, threshold = compute_harm_evidence(found_by_epoch, level)
    late, since = _late(strata, found_by_epoch, level)
    now = _observed_rates(merge_strata(late), guess)
    wide = level.allowance
    safe = log_evidence(merged, guess, 1.0 + wide * growth, wide * points, NO_HARM_FACTORS)
    low, high = degradation_interval(merged, guess, growth, points, level.alpha, level.beta)
    unit = points or growth * max(guess, 1e-6)
    what = _failure_text(gate)
    n = sum(s.candidate + s.champion for s in strata)
    apart = RateDifference(gate.relative, margin)
    interval = apart.interval(rates[0], open_ended_interval(low, high))
    shown = (
        f"{as_percent(rates[1])} of the candidate's {candidate:,} {found.trial}s {what}, against"
        f" {as_percent(rates[0])} of the"
        f" champion's: {_and(apart.difference(*rates), interval)}; {margin_clause(level, apart.accepted(wide))}"
    )
    broken = (
        f"{as_percent(now[1])} of the candidate's {sum(x.candidate for x in late):,} {found.trial}s {what}, against"
        f" {as_percent(now[0])} of the champion's{since}: {_and(apart.difference(*now), '' if since else interval)};"
        " up to"
        f" {apart.accepted()} is accepted"
    )
    accepted = now[0] * (1.0 + growth) + points
    wanted = forecast_trials_to_pass(
        (rates[0], rates[0]), 1.0 + wide * growth, wide * points, merged, n, found.trial, level
    )
    seen = LiveEvidence(
        harm=harm,
        safe=safe,
        split=sample_ratio_evidence(merged),
        beyond=now[1] > accepted,
        n=n,
        recent=found.recent,
        threshold=threshold,
        failed=broken,
        passed=shown,
        undecided=f"not decided: {shown}{forecast_clause(wanted, level)}",
        forecast=wanted,
        fields={
            "estimate": rates[1] - rates[0],
            "lower": low * unit,
            "upper": high * unit,
            "margin": limit - rates[0],
            "unit": "share",
            "trials": _shares(merged, found.trial),
            "figures": (
                VerdictFigure(FigureKind.CANDIDATE_RATE, rates[1], "share"),
                VerdictFigure(FigureKind.CHAMPION_RATE, rates[0], "share"),
                VerdictFigure(FigureKind.CANDIDATE_TRIALS, candidate, found.trial),
            ),
        },
    )
    verdict = decide_live_gate(gate, seen, level)
    if verdict.outcome is Outcome.FAIL or seen.has_sample_ratio_mismatch:
        return verdict
    reason = _unhealthy(gate, found, strata, level)
    return replace(verdict, outcome=Outcome.BASELINE_UNHEALTHY, reason=reason) if reason else verdict


def _failure_text(gate: BadEventGate) -> str:
    """What a bad trial does, in words."""
    return "have no label in time" if gate.metric is Metric.MISSING_LABEL else "fail"


def _and(difference: str, interval: str) -> str:
    """A difference and its interval, if there is one."""
    return f"{difference} ({interval})" if interval else difference


def _observed_rates(strata: Sequence[BadEventStratum], guess: float) -> tuple[float, float]:
    """Rates of (champion, candidate) [probability]; the champion's is a guess where the candidate serves alone."""
    candidate = sum(s.candidate for s in strata)
    return mantel_haenszel_rates(strata) or (guess, sum(s.candidate_bad for s in strata) / max(candidate, 1))


def _late(
    strata: Sequence[BadEventStratum], found: dict[int, tuple[float, ...]], level: DecisionThresholds
) -> tuple[list[BadEventStratum], str]:
    """What happened since the candidate seems to have broken, and words for when that was.

    Only this is held against the limit: a good past must not hide a bad present.
    """
    start = likely_failure_start(found, starts=MAX_EPOCHS)
    late = [s for s in strata if s.epoch >= start]
    return late, worse_since_clause(start, MAX_EPOCHS, level) if len(late) < len(strata) else ""


def forecast_trials_to_pass(
    rates: tuple[float, float],
    slope: float,
    offset: float,
    strata: Sequence[BadEventStratum],
    n: int,
    trial: str,
    level: DecisionThresholds,
) -> PassForecast | None:
    """Forecast how many trials a pass takes for a candidate with these rates, at the split of the moment."""
    nats = power.evidence_growth(strata[-1].share, rates[1], rates[0], slope, offset, harm=False)
    return forecast_pass(nats, level.beta, n, trial)


def _shares(strata: Sequence[BadEventStratum], trial: str) -> str:
    """What each split was, and what became of it."""
    return ", ".join(
        f"{as_percent(s.candidate / (s.candidate + s.champion))} of {s.candidate + s.champion:,} {trial}s instead of"
        f" {as_percent(s.share)}"
        for s in strata
    )


def _by_epoch(cells: Sequence[tuple[int, int, int]]) -> dict[int, tuple[int, int]]:
    sums: dict[int, tuple[int, int]] = {}
    for epoch, bad, good in cells:
        old = sums.get(epoch, (0, 0))
        sums[epoch] = (old[0] + bad, old[1] + good)
    return sums


def _unhealthy(
    gate: BadEventGate, found: BadEventCounts, strata: Sequence[BadEventStratum], level: DecisionThresholds
) -> str:
    """Why neither arm can be judged: the champion itself has left its own past far behind; empty when it has not."""
    # Units are bad once any request of theirs is, and the past is counted in requests: the two are no comparison.
    if found.baseline is None or found.trial == "unit" or candidate_serves_all_traffic(strata):
        return ""
    margin = gate.margin or 0.0
    growth, points = (margin, 0.0) if gate.relative else (0.0, margin)
    # A short past is not taken at its word: three more failures than it saw would have been no surprise.
    before = found.baseline + 3.0 / found.history if found.history else found.baseline
    limit = min(_UNHEALTHY_FACTOR * before * (1.0 + growth) + points, 1.0 - 1e-6)
    old = _by_epoch([(s.epoch, s.champion_bad, s.champion_good) for s in strata])
    bad, good = (sum(cell[index] for cell in old.values()) for index in range(2))
    if not bad + good or bad / (bad + good) <= limit:
        return ""
    if log_mixture_over_starts(evidence_against_rate_limit(old, max(limit, 1e-6)), starts=MAX_EPOCHS) < -math.log(
        level.alpha
    ):
        return ""
    what = "has no label in time for" if gate.metric is Metric.MISSING_LABEL else "fails on"
    return (
        f"the champion itself {what} {as_percent(bad / (bad + good))} of its {bad + good:,} {found.trial}s, after"
        f" {as_percent(found.baseline)} before the rollout: the cause is not the candidate, and nothing is promoted"
        " meanwhile"
    )


def _absolute(gate: BadEventGate, found: BadEventCounts, level: DecisionThresholds) -> Verdict:
    """The candidate alone against an absolute limit, such as a service level objective."""
    strata = [s for s in found.strata if s.candidate + s.champion]
    limit = min(max(gate.limit or 0.0, 1e-6), 1.0 - 1e-6)
    mine = _by_epoch([(s.epoch, s.candidate_bad, s.candidate_good) for s in strata])
    bad, good = (sum(cell[index] for cell in mine.values()) for index in range(2))
    found_by_epoch = evidence_against_rate_limit(mine, limit)
    harm, threshold = compute_harm_evidence(found_by_epoch, level)
    safe = log_mean_exp(evidence_against_rate_limit({0: (bad, good)}, limit, NO_HARM_FACTORS)[0])
    rate = bad / (bad + good)
    late, since = _late(strata, found_by_epoch, level)
    now = sum(s.candidate_bad for s in late) / max(sum(s.candidate for s in late), 1)
    what = f"{as_percent(rate)} of the candidate's {bad + good:,} {found.trial}s {_failure_text(gate)}"
    shown = f"{what}; at most {as_percent(limit)} is accepted"
    seen = LiveEvidence(
        harm=harm,
        safe=safe,
        split=sample_ratio_evidence(merge_strata(strata)),
        beyond=now > limit,
        n=bad + good,
        recent=found.recent,
        threshold=threshold,
        failed=f"{shown}: it uses the error budget {now / limit:.1f} times as fast as it may{since}",
        passed=f"{shown}",
        undecided=f"not decided: {shown}, and it is not yet proved to stay below that",
        fields={
            "estimate": rate,
            "margin": limit,
            "unit": "share",
            "trials": _shares(merge_strata(strata), found.trial),
            "figures": (
                VerdictFigure(FigureKind.CANDIDATE_RATE, rate, "share"),
                VerdictFigure(FigureKind.BURN_RATE, rate / limit, "times the budget"),
                VerdictFigure(FigureKind.CANDIDATE_TRIALS, bad + good, found.trial),
            ),
        },
    )
    return decide_live_gate(gate, seen, level)
