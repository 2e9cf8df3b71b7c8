"""Judge the candidate's mean of a bounded value, such as revenue up to a cap."""

import math

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS, compute_harm_evidence
from surefoot.core.judging.evidence import BadEventStratum, ValueCounts, ValueStratum
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import ValueGate
from surefoot.core.stats.bounded_mean import VALUE_LEVELS, arm_means, mean_evidence_increments
from surefoot.core.stats.change_point import likely_failure_start
from surefoot.core.stats.rate_eprocess import log_mean_exp
from surefoot.core.stats.sample_ratio import sample_ratio_evidence
from surefoot.core.verdicts.live_decision import LiveEvidence, decide_live_gate
from surefoot.core.verdicts.pass_forecast import PassForecast, forecast_clause, forecast_pass
from surefoot.core.verdicts.sentence_parts import interval_text, margin_clause, worse_since_clause
from surefoot.core.verdicts.verdict_builders import make_verdict

_BISECTION_STEPS = 14
"""Halvings of an interval until its end is known to a ten-thousandth of the width [count]."""
_MIN_SLOPE = 0.01
"""Least share of the champion's mean that a pass can be held against, however wide the margin of a small step is."""


def _counted(strata: list[ValueStratum]) -> list[BadEventStratum]:
    """How many trials each arm has, as events of which none is bad."""
    return [BadEventStratum(s.share, 0, sum(s.candidate), 0, sum(s.champion), s.epoch) for s in strata]


def _needed(strata: list[ValueStratum], room: float, level: DecisionThresholds, trial: str) -> PassForecast | None:
    """When an equal candidate passes; bets grow by the room squared over the noise."""
    cells = [
        (number / (VALUE_LEVELS - 1), n)
        for s in strata
        for side in (s.candidate, s.champion)
        for number, n in enumerate(side)
    ]
    total = sum(n for _, n in cells)
    mean = sum(value * n for value, n in cells) / total
    share = strata[-1].share
    noise = sum((value - mean) ** 2 * n for value, n in cells) / total
    if room <= 0.0 or noise <= 0.0 or share >= 1.0:
        return None
    nats = room * room / (2.0 * noise * (1.0 / share + 1.0 / (1.0 - share)))
    return forecast_pass(nats, level.beta, total, trial)


def judge_bounded_value(gate: ValueGate, found: ValueCounts, level: DecisionThresholds) -> Verdict:
    """Judge a mean; values beyond the cap count as the cap, so that one lucky trial does not decide."""
    strata = [s for s in found.strata if sum(s.candidate) + sum(s.champion)]
    candidate, champion = sum(sum(s.candidate) for s in strata), sum(sum(s.champion) for s in strata)
    n = candidate + champion
    if not candidate or not champion:
        arm = "champion" if candidate else "candidate"
        return make_verdict(gate, Outcome.NO_DATA, f"no {found.trial} of the {arm} has a value yet", n=n)
    if found.center is None:
        return make_verdict(gate, Outcome.NO_DATA, "no value of the champion is known from before the rollout", n=n)
    both = arm_means(strata)
    if both is None:
        return make_verdict(gate, Outcome.NO_DATA, "no epoch has values of both arms", n=n)
    width = gate.cap - gate.floor
    old, new = (gate.floor + value * width for value in both)
    margin = gate.margin or 0.0
    room = margin * abs(old) if gate.relative else margin
    # A relative margin is a slope of the null line, an absolute one its offset: neither looks at what came out.
    wide = level.allowance * margin
    lean = -1.0 if gate.higher_is_better else 1.0
    slope, offset = (max(1.0 + lean * wide, _MIN_SLOPE), 0.0) if gate.relative else (1.0, min(wide / width, 1.0))
    harmed = mean_evidence_increments(strata, found.center, 0.0, harm=True, higher_is_better=gate.higher_is_better)
    harm, threshold = compute_harm_evidence(harmed, level)
    # Only what happened since it seems to have broken is held against the limit: a good past must not hide it.
    start = likely_failure_start(harmed, starts=MAX_EPOCHS)
    since = arm_means([s for s in strata if s.epoch >= start]) or both
    before, now = (gate.floor + value * width for value in since)
    kept = mean_evidence_increments(
        strata, found.center, offset, harm=False, higher_is_better=gate.higher_is_better, slope=slope
    )
    safe = log_mean_exp([sum(column) for column in zip(*kept.values(), strict=True)]) if kept else 0.0
    lost = old - new if gate.higher_is_better else new - old
    name = gate.column or "value"
    shown = f"{name} per {found.trial} is {new:.4g} on the candidate, {old:.4g} on the champion: {new - old:+.3g}"
    limit = old - room if gate.higher_is_better else old + room
    late = (
        f" ({now - before:+.3g}{worse_since_clause(start, MAX_EPOCHS, level)})"
        if start > min(s.epoch for s in strata)
        else ""
    )
    wide_room = wide * abs(old) if gate.relative else wide
    wanted = _needed(strata, wide_room / width, level, found.trial)
    ends = _ends(gate, strata, found.center, threshold, level)
    low, high = (None if end is None else f"{end * width:+.3g}" for end in ends)
    passes = margin_clause(level, f"{wide_room:.3g} {'less' if gate.higher_is_better else 'more'}")
    told = f"{shown} ({interval_text(low, high)}); {passes}"
    counted = _counted(strata)
    seen = LiveEvidence(
        harm=harm,
        safe=safe,
        split=sample_ratio_evidence(counted),
        beyond=(before - now if gate.higher_is_better else now - before)
        > (margin * abs(before) if gate.relative else margin),
        n=n,
        recent=found.recent,
        threshold=threshold,
        failed=f"{shown}{late}; {'at least' if gate.higher_is_better else 'at most'} {limit:.4g} is accepted",
        passed=told,
        undecided=f"not decided: {told}{forecast_clause(wanted, level)}",
        forecast=wanted,
        fields={
            "estimate": lost,
            "margin": room,
            "unit": name,
            "trials": f"{candidate:,} of {n:,} {found.trial}s",
            "figures": (
                VerdictFigure(FigureKind.CANDIDATE_MEAN, new, name),
                VerdictFigure(FigureKind.CHAMPION_MEAN, old, name),
                VerdictFigure(FigureKind.CANDIDATE_TRIALS, candidate, found.trial),
            ),
        },
    )
    return decide_live_gate(gate, seen, level)


def _ends(
    gate: ValueGate, strata: list[ValueStratum], center: float, threshold: float, level: DecisionThresholds
) -> tuple[float | None, float | None]:
    """Differences candidate minus champion that the values do not exclude [share of the width].

    Returns:
        Lower and upper end; None where the values reach none.

    Law: the worse end is at the level to fail, the better one at the level to pass; what proves one difference proves
        all beyond it, so bisection works.
    """

    def proved(loss: float, needed: float, *, above: bool) -> bool:
        """Whether the true loss surely lies above (or below) this one."""
        harm, better = (above, gate.higher_is_better) if loss >= 0.0 else (not above, not gate.higher_is_better)
        made = mean_evidence_increments(strata, center, abs(loss), harm=harm, higher_is_better=better)
        return bool(made) and log_mean_exp([sum(column) for column in zip(*made.values(), strict=True)]) >= needed

    def end(needed: float, *, above: bool) -> float | None:
        outer, inner = (-1.0, 1.0) if above else (1.0, -1.0)
        if not proved(outer, needed, above=above):
            return None
        for _ in range(_BISECTION_STEPS):
            middle = 0.5 * (outer + inner)
            outer, inner = (middle, inner) if proved(middle, needed, above=above) else (outer, middle)
        return outer

    low, high = end(threshold, above=True), end(-math.log(level.beta), above=False)
    if gate.higher_is_better:
        return (None if high is None else -high), (None if low is None else -low)
    return low, high
